"""A set of integers kept as sorted, disjoint, non-touching half-open intervals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from rayflume.interfaces import RowRange


class Intervals:
    """Row positions as few ranges. All methods take O(number of ranges touched + log n), the length
    O(1).
    """

    def __init__(self, ranges: Iterable[RowRange] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._length = 0
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Put `[start, stop)` into the set; what is there already stays."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._replace(first, last, [(start, stop)])

    def remove(self, start: int, stop: int) -> None:
        """Take `[start, stop)` out of the set; what is not there is ignored."""
        if start >= stop:
            return
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        if first >= last:
            return
        kept = [
            (self._starts[first], start),
            (stop, self._stops[last - 1]),
        ]
        self._replace(first, last, [(low, high) for low, high in kept if low < high])

    def _replace(self, first: int, last: int, ranges: list[RowRange]) -> None:
        self._length -= sum(self._stops[first:last]) - sum(self._starts[first:last])
        self._length += sum(stop - start for start, stop in ranges)
        self._starts[first:last] = [start for start, _ in ranges]
        self._stops[first:last] = [stop for _, stop in ranges]

    def take_first(self, stop_of: int) -> RowRange:
        """Remove and return the lowest rows, up to position `stop_of`, of the lowest range."""
        start, stop = self._starts[0], min(self._stops[0], stop_of)
        self.remove(start, stop)
        return start, stop

    def overlaps(self, start: int, stop: int) -> bool:
        """Whether any of `[start, stop)` is in the set."""
        first = bisect_right(self._stops, start)
        return first < len(self._starts) and self._starts[first] < stop and start < stop

    def clip(self, start: int, stop: int) -> list[RowRange]:
        """The parts of the set within `[start, stop)`, in order."""
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        return [
            (max(start, self._starts[i]), min(stop, self._stops[i])) for i in range(first, last)
        ]

    @property
    def first(self) -> int | None:
        """The lowest member, None when empty."""
        return self._starts[0] if self._starts else None

    @property
    def last(self) -> int | None:
        """One more than the highest member, None when empty."""
        return self._stops[-1] if self._stops else None

    def halves(self) -> list[Intervals]:
        """The lower and the upper half; of an odd number the upper one has one more."""
        first, second, half = Intervals(), Intervals(), self._length // 2
        for start, stop in self:
            cut = min(stop, start + max(0, half - len(first)))
            first.add(start, cut)
            second.add(cut, stop)
        return [first, second]

    def __iter__(self) -> Iterator[RowRange]:
        return iter(list(zip(self._starts, self._stops, strict=True)))

    def __len__(self) -> int:
        """How many integers are in the set."""
        return self._length

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __repr__(self) -> str:
        return f"Intervals({list(self)})"
