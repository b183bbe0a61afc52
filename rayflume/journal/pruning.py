"""Which segments of a journal may go. Pure.

A segment can become free only when it is opened or rolled, when a row of it is committed or lost:
only those are looked at, however long the backlog is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rayflume.interfaces import RowRange
from rayflume.journal.intervals import Intervals
from rayflume.journal.rows import RowIndex


class Pruning:
    """The segments that may be free, and the commits that may not be durable yet."""

    def __init__(self, index: RowIndex, segments: Iterable[str]) -> None:
        self._index = index
        self._suspected = set(segments)
        self._committing: list[tuple[int, Sequence[RowRange]]] = []

    def suspect(self, segment: str) -> None:
        """A segment may be free now."""
        self._suspected.add(segment)

    def commit(self, seq: int, ranges: Sequence[RowRange]) -> None:
        """Record `seq` commits these rows; it counts once it is durable."""
        self._committing.append((seq, ranges))

    def free(self, unfinished: Intervals, synced: int, active: str) -> list[str]:
        """Segments that hold no unfinished row and none whose commit is not durable, sorted. They
        are named again until `removed`.
        """
        held: set[str] = set()
        waiting = []
        for seq, ranges in self._committing:
            segments = self._index.segments_of(ranges)
            if seq > synced:
                waiting.append((seq, ranges))
                held |= segments
            self._suspected |= segments
        self._committing = waiting
        needed = {s for s in self._suspected if self._index.holds(s, unfinished)}
        self._suspected -= needed
        return sorted(self._suspected - held - {active})

    def removed(self, segment: str) -> None:
        """A segment is gone."""
        self._suspected.discard(segment)
