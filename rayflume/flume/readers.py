"""The text of a property -> the value of an option, as YAML would have it.

A reader gets the trimmed text and raises ValueError with a sentence when Flume could not read it.
None leaves the option out.
Numbers are Java's: a sign and digits, no underscores, no hexadecimals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rayflume.charsets import codec_of
from rayflume.regexes import JavaRegex

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

Reader = Callable[[str], "Json"]

_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?[dDfF]?")
_INT, _LONG = 2**31, 2**63
_PORT_MAX = 65_535
_MILLIS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
_BYTES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def text(value: str) -> Json:
    """As it stands. A value that a reader leaves as it is keeps its references to the environment,
    so that no secret is in a plan.
    """
    return value


def whole(value: str) -> int:
    """A whole number. Raises ValueError, also beyond Java's long."""
    if not _WHOLE.fullmatch(value) or not -_LONG <= int(value[:40]) < _LONG or len(value) > 40:
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def integer(value: str) -> int:
    """A whole number that Java's int holds; of a larger one Flume drops the part. Raises
    ValueError.
    """
    found = whole(value)
    if not -_INT <= found < _INT:
        raise ValueError(f"{value!r} is too large: numbers end at {_INT - 1}")
    return found


def positive(value: str) -> int:
    """A number of 1 or more. Raises ValueError for what Flume does not take either."""
    found = integer(value)
    if found < 1:
        raise ValueError(f"{value!r} is not positive")
    return found


def port(value: str) -> int:
    """A port. Raises ValueError for one that nobody can open; Flume tries it for ever."""
    found = whole(value)
    if not 0 <= found <= _PORT_MAX:
        raise ValueError(f"{value!r} is no port: ports are 0 to {_PORT_MAX}")
    return found


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


def single_blanks(value: str) -> Json:
    """A list that Flume splits at each blank, so that two side by side have a nameless item between
    them, and a tab is part of a name. Raises ValueError for both, as Flume does.
    """
    names = value.split(" ")
    if any(name != "".join(name.split()) or not name for name in names):
        raise ValueError("names are parted by exactly one blank, for Flume finds no channel else")
    return list(names)


def commas(value: str) -> Json:
    """A list, split at commas; blanks around the items do not count."""
    return [item.strip() for item in value.split(",") if item.strip()]


def millis(value: str) -> str:
    """A time in milliseconds -> the same with the largest unit that says it exactly."""
    return _in_units(whole(value), _MILLIS, "ms")


def seconds(value: str) -> str:
    """A time in seconds."""
    return _in_units(whole(value) * 1_000, _MILLIS, "ms")


def positive_millis(value: str) -> str:
    """A time in milliseconds that is not 0. Raises ValueError."""
    return millis(str(positive(value)))


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


def charset(value: str) -> str:
    """A character set by its Java name. Raises ValueError for one that nobody knows."""
    codec_of(value)
    return value


def pattern(value: str) -> str:
    """A regular expression. Raises ValueError for what is none of Java's."""
    JavaRegex.compile(value)
    return value


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
