"""The text of a property -> the value of an option, as YAML would have it.

A reader gets the trimmed text and raises ValueError with a sentence when Flume could not read it.
None leaves the option out.
Numbers are Java's: a sign and digits, no underscores, no hexadecimals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

Reader = Callable[[str], "Json"]

_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?[dDfF]?")
_LONG = 2**63
_MILLIS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
_BYTES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def text(value: str) -> Json:
    """As it stands. The only reader through which a reference to the environment stays one."""
    return value


def whole(value: str) -> int:
    """A whole number. Raises ValueError, also beyond Java's long."""
    if not _WHOLE.fullmatch(value) or not -_LONG <= int(value[:40]) < _LONG or len(value) > 40:
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def number(value: str) -> Json:
    """A number, whole where it is written so. Raises ValueError."""
    if not _NUMBER.fullmatch(value):
        raise ValueError(f"{value!r} is not a number")
    return int(value) if _WHOLE.fullmatch(value) else float(value.rstrip("dDfF"))


def flag(value: str) -> bool:
    """`true` in any case is true, everything else is false."""
    return value.lower() == "true"


def inverted(value: str) -> bool:
    """For an option that says the opposite."""
    return not flag(value)


def words(value: str) -> Json:
    """A list, split at any white space."""
    return list(value.split())


def commas(value: str) -> Json:
    """A list, split at commas; blanks around the items do not count."""
    return [item.strip() for item in value.split(",") if item.strip()]


def millis(value: str) -> str:
    """A time in milliseconds -> the same with the largest unit that says it exactly."""
    return _in_units(whole(value), _MILLIS, "ms")


def seconds(value: str) -> str:
    """A time in seconds."""
    return _in_units(whole(value) * 1_000, _MILLIS, "ms")


def size(value: str) -> str:
    """A size in bytes -> the same with the largest binary unit that says it exactly."""
    return _in_units(whole(value), _BYTES, "B")


def _in_units(count: int, units: tuple[tuple[str, int], ...], smallest: str) -> str:
    if count < 0:
        raise ValueError(f"{count} is negative")
    for unit, factor in units:
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return f"{count}{smallest}"


def one_of(choices: Mapping[str, Json]) -> Reader:
    """The value of a word, matched without regard to case. Raises ValueError naming all of them."""
    folded = {word.lower(): value for word, value in choices.items()}

    def read(value: str) -> Json:
        if value.lower() not in folded:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
        return folded[value.lower()]

    return read


def unless(off: str, read: Reader) -> Reader:
    """As `read`, but the text `off` (such as `0` or `none`) leaves the option out: rayflume's own
    default applies.
    """

    def value_of(value: str) -> Json:
        return None if value.lower() == off else read(value)

    return value_of
