"""Where each row of a journal lies: position -> segment, offset, length. Pure, in memory, per Put
record.

Invariants: positions grow from segment to segment and from record to record; a gap is a record
that was lost to damage. 32 bytes per record, whatever its size.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
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
    """Index of all Put records with rows that are in the journal's segments. However many segments
    there are, a range is found and measured in O(log n).
    """

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._by_name: dict[str, _Segment] = {}
        self._firsts: list[int] = []
        """The first position of each segment."""
        self._before: list[int] = []
        """Bytes of all rows in the segments before each, from some point on."""

    def add(self, segment: str, offset: int, length: int, rows: RowRange) -> None:
        """Note one Put record; positions must grow. A record without rows needs no entry."""
        if rows[0] == rows[1]:
            return
        if not self._segments or self._segments[-1].name != segment:
            self._before.append(self._bytes)
            self._firsts.append(rows[0])
            self._segments.append(_Segment(segment))
            self._by_name[segment] = self._segments[-1]
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
        return sum(self._bytes_below(stop) - self._bytes_below(start) for start, stop in ranges)

    def _bytes_below(self, position: int) -> int:
        i = bisect_right(self._firsts, position) - 1
        if i < 0:
            return self._before[0] if self._before else 0
        return self._before[i] + self._segments[i].bytes_before(position)

    @property
    def _bytes(self) -> int:
        return self._before[-1] + self._segments[-1].bytes if self._segments else 0

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

    def holds(self, segment: str, rows: Intervals) -> bool:
        """Whether a segment holds any of these rows."""
        found = self._by_name.get(segment)
        return found is not None and rows.overlaps(found.starts[0], found.stops[-1])

    def segments_of(self, ranges: Iterable[RowRange]) -> set[str]:
        """Names of the segments that hold any of these rows."""
        return {s.name for start, stop in ranges for s in self._overlapping(start, stop)}

    def rows_at(self, ref: RowRef) -> int:
        """How many rows the record has in which `ref` lies."""
        for segment in self._overlapping(ref.position, ref.position + 1):
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
        gone = self._by_name.pop(segment, None)
        if gone is None:
            return
        i = bisect_left(self._firsts, gone.starts[0])
        del self._segments[i], self._firsts[i], self._before[i]
        if i:
            # The first one goes without this: only differences count.
            self._before[i:] = [before - gone.bytes for before in self._before[i:]]

    def _overlapping(self, start: int, stop: int) -> Iterator[_Segment]:
        first = max(bisect_right(self._firsts, start) - 1, 0)
        segments = self._segments
        for i in range(first, bisect_left(self._firsts, stop)):
            if start < segments[i].stops[-1]:
                yield segments[i]


class SizedRows(Intervals):
    """Row positions, and the bytes that these rows take in the journal, counted as they change."""

    def __init__(self, index: RowIndex, ranges: Iterable[RowRange] = ()) -> None:
        self._index = index
        self._bytes: int | None = None
        super().__init__(ranges)

    @property
    def bytes(self) -> int:
        """Bytes in the journal. Counted when first asked for: by then the index must have all of
        these rows that it will have.
        """
        if self._bytes is None:
            self._bytes = self._index.bytes_of(self)
        return self._bytes

    def add(self, start: int, stop: int) -> None:
        """As Intervals. The index must have the rows already."""
        if self._bytes is not None and start < stop:
            inside = self._index.bytes_of(self.clip(start, stop))
            self._bytes += self._index.bytes_of([(start, stop)]) - inside
        super().add(start, stop)

    def remove(self, start: int, stop: int) -> None:
        """As Intervals. The index must have the rows still."""
        if self._bytes is not None and start < stop:
            self._bytes -= self._index.bytes_of(self.clip(start, stop))
        super().remove(start, stop)
