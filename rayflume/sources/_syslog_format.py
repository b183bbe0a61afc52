"""A message form of the user's own: Flume's `format.regex`, `.search`, `.replace`, `.dateFormat`.

The expression is tried before the two RFCs, on each message whose priority can be read, and must
fit the whole of it. Its groups are, by their order, priority, version, time, host and message.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.regexes import Replacement
from rayflume.regexes.columns import Matcher
from rayflume.sources._syslog_times import LocalTimes, Moments
from rayflume.spans import Mask, as_text, not_utf8
from rayflume.time_patterns import MillisPattern

_PARTS = 5
_TIME = 2
_YEAR = "yyyy "


@dataclass(frozen=True)
class CustomRows:
    """Which rows had the form, and their parts, in the order of the groups: an array per part with
    a value per row of the block. `timed`: the time could be read; it is in `millis`.
    """

    rows: Mask
    parts: tuple[pa.BinaryArray, ...]
    timed: Mask
    millis: Moments

    def filled(self, slot: int) -> Mask:
        """Rows with a part that is not empty."""
        return np.asarray(pc.greater(pc.binary_length(self.parts[slot]), 0))

    def over(self, slot: int, others: pa.BinaryArray) -> pa.BinaryArray:
        """The part where a row had the form, and what `others` have elsewhere."""
        return pc.if_else(pa.array(self.rows), self.parts[slot], others)


@dataclass(frozen=True)
class TimeForm:
    """How the times of a form are read. `search`, if any, is replaced in them before.

    Without a year in `pattern` the one of RFC 3164's times is taken.
    """

    pattern: MillisPattern
    yearless: bool
    search: Matcher | None = None
    replace: Replacement | None = None

    @staticmethod
    def compile(pattern: str, zone: str, this_year: int) -> tuple[MillisPattern, bool]:
        """A pattern of Java's SimpleDateFormat, and whether it has no year. Raises ValueError."""
        made = MillisPattern.compile(pattern, zone, this_year)
        yearless = "(?P<y" not in made.regex
        return MillisPattern.compile(
            _YEAR + pattern, zone, this_year
        ) if yearless else made, yearless

    def read(self, text: pa.StringArray, times: LocalTimes, now_ms: int) -> tuple[Moments, Mask]:
        """Milliseconds since 1970 UTC, and which of the texts are such times."""
        if self.search is not None and self.replace is not None:
            text = self.search.replaced(text, self.replace)
        if not self.yearless:
            return _numbers(self.pattern.parse(text))
        limits = times.limits(now_ms)
        year, bounds = int(limits[0]), times.to_utc(limits[1:])
        millis, timed = self._of_year(text, year)
        for beyond, other in ((millis > bounds[0], year - 1), (millis < bounds[1], year + 1)):
            if beyond.any():
                elsewhen, known = self._of_year(text, other)
                millis, timed = np.where(beyond, elsewhen, millis), np.where(beyond, known, timed)
        return millis, timed

    def _of_year(self, text: pa.StringArray, year: int) -> tuple[Moments, Mask]:
        return _numbers(self.pattern.parse(pc.binary_join_element_wise(f"{year:04}", text, " ")))


@dataclass(frozen=True)
class CustomFormat:
    """`matcher`: the expression, made to fit whole texts. `time`: None leaves times unread."""

    matcher: Matcher
    time: TimeForm | None = None

    @staticmethod
    def matcher_of(regex: str) -> Matcher:
        """Raises ValueError with a sentence for what is no expression of Java's."""
        Matcher.of(regex)
        return Matcher.of(rf"\A(?:{regex})\z")

    def find(
        self, lines: pa.BinaryArray, readable: Mask, times: LocalTimes, now_ms: int
    ) -> CustomRows:
        """The rows among the `readable` ones that have the form. In those that are not UTF-8 what
        is wrong becomes U+FFFD, as in Flume, for an expression is over text.
        """
        count = min(self.matcher.regex.groups, _PARTS)
        found = self.matcher.groups(_text(lines), count)
        rows = readable & np.asarray(found.is_valid())
        columns = [found.field(index) for index in range(count)]
        columns += [pa.nulls(len(lines), pa.string())] * (_PARTS - count)
        kept = [pc.if_else(pa.array(rows), pc.fill_null(column, ""), "") for column in columns]
        millis, timed = np.zeros(len(lines), np.int64), np.zeros(len(lines), np.bool_)
        if self.time is not None and rows.any():
            millis, timed = self.time.read(kept[_TIME], times, now_ms)
        return CustomRows(rows, tuple(c.cast(pa.binary()) for c in kept), timed & rows, millis)


def _numbers(millis: pa.StringArray) -> tuple[Moments, Mask]:
    known = np.asarray(millis.is_valid())
    return np.asarray(pc.fill_null(millis.cast(pa.int64()), 0)), known


def _text(lines: pa.BinaryArray) -> pa.StringArray:
    bad = not_utf8(lines)
    if not bad.any():
        return as_text(lines)
    # Python per row, but only for rows that are broken
    mended = [line.decode("utf-8", "replace") for line in lines.filter(pa.array(bad)).to_pylist()]
    plain = pc.if_else(pa.array(bad), b"", lines)
    return pc.replace_with_mask(as_text(plain), pa.array(bad), pa.array(mended, pa.string()))
