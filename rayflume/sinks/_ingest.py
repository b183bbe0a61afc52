"""What time rows get that have none of their own, so that a lost file can be built anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rayflume.batch import EventBatch
from rayflume.clock import Clock
from rayflume.interfaces import Json, RowRange


class IngestTimes:
    """Of one delivery: when it began or, with `unit`, when rows were written, in steps of `unit`
    milliseconds. All in epoch milliseconds.
    """

    def __init__(self, clock: Clock, unit: int = 0) -> None:
        self.begun_ms = clock.now_ms()
        self._clock = clock
        self._unit = unit
        self._spans: list[tuple[int, int, int]] = []

    def at(self, position: int, rows: int) -> int:
        """The time of the journal rows `[position, position + rows)`, which are written now."""
        if not self._unit:
            return self.begun_ms
        now, stop = self._clock.now_ms(), position + rows
        start, end, ms = self._spans[-1] if self._spans else (0, -1, 0)
        if end == position and ms // self._unit == now // self._unit:
            self._spans[-1] = (start, stop, ms)
            return ms
        self._spans.append((position, stop, now))
        return now

    def note(self, ranges: Sequence[RowRange]) -> dict[str, Json]:
        """What a file keeps that has rows of these ranges."""
        if not self._unit:
            return {"begun_ms": self.begun_ms}
        low, high = min(start for start, _ in ranges), max(stop for _, stop in ranges)
        spans: list[Json] = [
            [start, stop, ms] for start, stop, ms in self._spans if start < high and stop > low
        ]
        return {"begun_ms": self.begun_ms, "clock": spans}


def timed(
    note: Mapping[str, Json], position: int, batch: EventBatch
) -> Iterator[tuple[int, EventBatch, int]]:
    """Rows read back, cut where their time changes: position, rows, time. `note`: that of their
    file.
    """
    spans = note.get("clock")
    if not isinstance(spans, list):
        yield position, batch, number(note.get("begun_ms"))
        return
    end = position + batch.num_rows
    for span in spans:
        start, stop, ms = (number(n) for n in span) if isinstance(span, list) else (0, 0, 0)
        first, last = max(start, position), min(stop, end)
        if first < last:
            yield first, batch.slice(first - position, last - first), ms


def number(value: Json) -> int:
    """A whole number of a note, 0 for anything else."""
    return value if isinstance(value, int) else 0
