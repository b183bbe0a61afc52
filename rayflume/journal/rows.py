"""Where each row of a journal lies: position -> segment, offset, length. Pure, in memory, per Put
record.

Invariants: positions grow from segment to segment and from record to record; a gap is a record
that was lost to damage. 32 bytes per record, whatever its size.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rayflume.interfaces import RowRange, RowRef
from rayflume.journal.intervals import Intervals


def _numbers() -> array[int]:
    return array("Q")


@dataclass
class _Segment:
    name: str
    starts: array[int] = field(default_factory=_numbers)
    stops: array[int] = field(default_factory=_numbers)
    offsets: array[int] = field(default_factory=_numbers)
    before: array[int] = field(default_factory=_numbers)
    """Bytes of the records before this one, so that a range is measured without a walk."""
    bytes: int = 0

    def ref(self, i: int, start: int, stop: int) -> RowRef:
        first = max(start, self.starts[i])
        last = min(stop, self.stops[i])
        return RowRef(
            self.name,
            self.offsets[i],
            self.length(i),
            first - self.starts[i],
            last - self.starts[i],
            first,
        )

    def runs(self) -> Iterator[RowRange]:
        """The positions of its rows, records that follow each other without a gap in one."""
        first = self.starts[0]
        for stop, following in zip(self.stops, self.starts[1:], strict=False):
            if stop != following:
                yield first, stop
                first = following
        yield first, self.stops[-1]

    def length(self, i: int) -> int:
        following = self.before[i + 1] if i + 1 < len(self.before) else self.bytes
        return following - self.before[i]

    def bytes_before(self, position: int) -> int:
        """Bytes of all rows of this segment below `position`; within a record, in proportion."""
        i = bisect_right(self.starts, position) - 1
        if i < 0:
            return 0
        rows = self.stops[i] - self.starts[i]
        inside = min(position, self.stops[i]) - self.starts[i]
        return self.before[i] + self.length(i) * inside // max(rows, 1)


class RowIndex:
    """Index of all Put records with rows that are in the journal's segments."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []

    def add(self, segment: str, offset: int, length: int, rows: RowRange) -> None:
        """Note one Put record; positions must grow. A record without rows needs no entry."""
        if rows[0] == rows[1]:
            return
        if not self._segments or self._segments[-1].name != segment:
            self._segments.append(_Segment(segment))
        last = self._segments[-1]
        last.starts.append(rows[0])
        last.stops.append(rows[1])
        last.offsets.append(offset)
        last.before.append(last.bytes)
        last.bytes += length

    def refs(self, start: int, stop: int) -> Iterator[RowRef]:
        """The records that hold rows of `[start, stop)`, in order, each with its part of the
        rows.
        """
        for segment in self._overlapping(start, stop):
            i = max(bisect_right(segment.starts, start) - 1, 0)
            while i < len(segment.starts) and segment.starts[i] < stop:
                if segment.stops[i] > start:
                    yield segment.ref(i, start, stop)
                i += 1

    def bytes_of(self, ranges: Iterable[RowRange]) -> int:
        """Bytes that the rows take in the journal."""
        return sum(
            segment.bytes_before(stop) - segment.bytes_before(start)
            for start, stop in ranges
            for segment in self._overlapping(start, stop)
        )

    def cut(self, start: int, stop: int, bytes_max: int) -> int:
        """The position up to which `[start, stop)` fills `bytes_max`: whole records, at least
        one.
        """
        total, end = 0, start
        for ref in self.refs(start, stop):
            total += ref.length
            if end > start and total > bytes_max:
                break
            end = ref.position + ref.rows
        return end if end > start else stop

    def missing(self, ranges: Iterable[RowRange]) -> Intervals:
        """The positions of `ranges` that no record holds: they were lost to damage."""
        missing = Intervals(ranges)
        for segment in self._segments:
            for start, stop in segment.runs():
                missing.remove(start, stop)
        return missing

    def needed(self, unfinished: Intervals) -> set[str]:
        """Names of the segments that hold an unfinished row."""
        return {s.name for s in self._segments if unfinished.overlaps(s.starts[0], s.stops[-1])}

    def rows_at(self, ref: RowRef) -> int:
        """How many rows the record has in which `ref` lies."""
        for segment in self._segments:
            if segment.name == ref.segment:
                i = bisect_right(segment.starts, ref.position) - 1
                return int(segment.stops[i] - segment.starts[i])
        return ref.rows

    @property
    def stop(self) -> int:
        """The position behind the last row."""
        return self._segments[-1].stops[-1] if self._segments else 0

    def drop(self, segment: str) -> None:
        """Forget a segment that was removed."""
        self._segments = [s for s in self._segments if s.name != segment]

    def _overlapping(self, start: int, stop: int) -> Iterator[_Segment]:
        for segment in self._segments:
            if segment.starts[0] < stop and start < segment.stops[-1]:
                yield segment
