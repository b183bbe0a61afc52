"""Times as text -> epoch milliseconds, by a pattern of Joda letters as Flume has it. Vectorised."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TOKEN = re.compile(
    r"''|'(?P<text>(?:[^']|'')*)'|(?P<letters>([A-Za-z])\3*)|(?P<other>.)", re.DOTALL
)
_SUPPORTED = "y M d D H k h K a m s S Z E, and text in single quotes"
_CENTURY_BACK = 80
"""A year of two digits is one of the hundred that begin so long before this one: Joda's pivot year
is 30 years back, and its hundred begins 50 before the pivot.
"""
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MillisPattern:
    """A pattern made ready. `timezone`: the zone of times that do not name their offset."""

    regex: str
    timezone: str
    this_year: int = 2000

    @staticmethod
    def compile(pattern: str, timezone: str, this_year: int = 2000) -> MillisPattern:
        """`this_year`: years with two digits are near it.

        Raises ValueError for a letter that is not supported or an unknown zone.
        """
        seen: set[str] = set()
        parts = [_part(match, pattern, seen) for match in _TOKEN.finditer(pattern)]
        if not seen:
            raise ValueError(f"the time pattern {pattern!r} reads nothing; use {_SUPPORTED}")
        try:
            pc.assume_timezone(pa.array([0], pa.timestamp("ms")), timezone)
        except pa.ArrowInvalid:
            raise ValueError(
                f"{timezone!r} is not a time zone; write one such as UTC or Europe/Oslo"
            ) from None
        return MillisPattern(rf"(?i)\A{''.join(parts)}\z", timezone, this_year)

    def parse(self, text: pa.StringArray) -> pa.StringArray:
        """Milliseconds since 1970 as text, null where the text is null or is no such time."""
        found = pc.extract_regex(text, self.regex)
        mask = found.is_valid()
        hits = found.filter(mask)
        names = [field.name for field in hits.type]
        values = dict(zip(names, hits.flatten(), strict=True))
        millis, good = self._millis(values, len(hits))
        column = pa.array(millis, pa.int64(), mask=~good).cast(pa.string())
        return pc.replace_with_mask(pa.nulls(len(text), pa.string()), mask, column)

    def _millis(
        self, values: Mapping[str, pa.StringArray], rows: int
    ) -> tuple[_Ints, npt.NDArray[np.bool_]]:
        def number(name: str, default: int) -> _Ints:
            if name not in values:
                return np.full(rows, default, np.int64)
            return np.asarray(values[name].cast(pa.int64()))

        year, day = number("y", 1970), number("d", 1)
        if "yy" in values:
            year = _near(number("yy", 0), self.this_year)
        month = _month_numbers(values["MMM"]) if "MMM" in values else number("M", 1)
        minute, second = number("m", 0), number("s", 0)
        hour, in_range = _hour(number, values)
        months = ((year - 1970) * 12 + np.clip(month, 1, 12) - 1).astype("datetime64[M]")
        first = months.astype("datetime64[D]").astype(np.int64)
        last = (months + 1).astype("datetime64[D]").astype(np.int64) - first
        good = (month >= 1) & (month <= 12) & (day >= 1) & (day <= last)
        good &= in_range & (minute < 60) & (second < 60)
        if "D" in values:
            of_year = number("D", 1)
            first = (year - 1970).astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
            leap = ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)
            good &= (of_year >= 1) & (of_year <= 365 + leap)
            day = of_year
        seconds = (((first + day - 1) * 24 + hour) * 60 + minute) * 60 + second
        millis = seconds * 1000 + (_fraction(values["S"]) if "S" in values else 0)
        if "Z" in values:
            return millis - _offset(values["Z"]), good
        zoned = pc.assume_timezone(
            pa.array(millis, pa.timestamp("ms")),
            self.timezone,
            ambiguous="earliest",
            nonexistent="earliest",
        )
        return np.asarray(zoned.cast(pa.int64())), good


def _part(match: re.Match[str], pattern: str, seen: set[str]) -> str:
    """The regular expression of one token; its group name is noted in `seen`."""
    letters = match["letters"]
    if letters is None:
        text = match["other"] or (match["text"] or "").replace("''", "'") or "'"
        if match["other"] == "'":
            raise ValueError(f"the time pattern {pattern!r} has a quote that is not closed")
        return re.sub(r"([^\w\s])", r"\\\1", text)
    letter, length = letters[0], len(letters)
    name = "MMM" if letter == "M" and length >= 3 else letter.replace("Y", "y")
    name = "yy" if name == "y" and length == 2 else name
    expressions = {
        "y": r"\d{4}",
        "yy": r"\d{2}",
        "D": r"\d{1,3}",
        "a": "[ap]m",
        "MMM": "|".join(_MONTHS) if length == 3 else "[a-z]{3,9}",
        "S": rf"\d{{1,{max(length, 3)}}}" if length < 10 else "",
        "Z": r"z|[+-]\d\d:?\d\d",
        "E": "[a-z]+",
    } | dict.fromkeys("MdHkhKms", r"\d{1,2}")
    expression = expressions.get(name)
    if not expression or (name == "y" and length not in (1, 4)) or length > 9:
        raise ValueError(
            f"the letters {letters!r} of the time pattern {pattern!r} are not supported; "
            f"use {_SUPPORTED}"
        )
    if name == "E":
        return expression
    if name in seen:
        raise ValueError(f"the time pattern {pattern!r} has {letters!r} twice")
    seen.add(name)
    return f"(?P<{name}>{expression})"


def _near(year: _Ints, this_year: int) -> _Ints:
    """The year with these last two digits in the hundred of _CENTURY_BACK."""
    first = this_year - _CENTURY_BACK
    return first + (year - first) % 100


def _hour(
    number: Callable[[str, int], _Ints], values: Mapping[str, pa.StringArray]
) -> tuple[_Ints, npt.NDArray[np.bool_]]:
    """Hour of the day from H (0 to 23), k (1 to 24), or K (0 to 11) or h (1 to 12) with `a`."""
    name = next((name for name in "HkhK" if name in values), "H")
    given = number(name, 0)
    low, high = {"H": (0, 23), "k": (1, 24), "h": (1, 12), "K": (0, 11)}[name]
    good = np.asarray((given >= low) & (given <= high))
    if name in "Hk":
        return given % 24, good
    hour = given % 12
    if "a" in values:
        hour = hour + 12 * np.asarray(pc.equal(pc.utf8_lower(values["a"]), "pm"))
    return hour, good


def _month_numbers(names: pa.StringArray) -> _Ints:
    """1 to 12; 0 for a word that is no month."""
    short = pc.utf8_slice_codeunits(pc.utf8_lower(names), 0, 3)
    index = pc.index_in(short, pa.array(_MONTHS))
    return np.asarray(pc.fill_null(index, -1).cast(pa.int64())) + 1


def _fraction(digits: pa.StringArray) -> _Ints:
    """Digits behind the point as milliseconds, the rest cut off."""
    padded = pc.utf8_slice_codeunits(pc.utf8_rpad(digits, 3, "0"), 0, 3)
    return np.asarray(padded.cast(pa.int64()))


def _offset(text: pa.StringArray) -> _Ints:
    """`+01:30`, `+0130`, `Z` as milliseconds."""
    digits = pc.replace_substring(text, ":", "")
    utc = pc.equal(pc.utf8_lower(digits), "z")
    digits = pc.if_else(utc, "+0000", digits)
    sign = np.where(np.asarray(pc.starts_with(digits, "-")), -1, 1)
    hours = np.asarray(pc.utf8_slice_codeunits(digits, 1, 3).cast(pa.int64()))
    minutes = np.asarray(pc.utf8_slice_codeunits(digits, 3, 5).cast(pa.int64()))
    return np.asarray(sign * (hours * 60 + minutes) * 60_000, np.int64)
