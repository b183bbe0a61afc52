"""The time of a journal, by which keys and retired streams age: it never goes back and never jumps.

While the journal is open it goes on with the monotonic clock, whatever the wall clock does. What
passed while it was closed only the wall clock can say, and that may be wrong: so it counts for at
most a given time per opening, and never backwards.
"""

from __future__ import annotations

from dataclasses import dataclass

from rayflume.clock import Clock
from rayflume.journal.segment import Meta

CLOSED_SHARE = 4
"""One opening ages nothing by more than this part of the shortest retention."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment in the journal's time, and what the wall clock showed then. Milliseconds."""

    now_ms: int
    wall_ms: int

    def to_meta(self) -> Meta:
        """As a record keeps it."""
        return {"now": self.now_ms, "wall": self.wall_ms}


def later(known: Stamp | None, meta: Meta) -> Stamp | None:
    """The newest moment, given a further record. Records of before had the wall clock alone."""
    now_ms: int | None = meta.get("now")
    if now_ms is None or (known is not None and now_ms < known.now_ms):
        return known
    return Stamp(now_ms, meta.get("wall", now_ms))


class JournalTime:
    """The running time of one open journal."""

    def __init__(self, clock: Clock, last: Stamp | None, closed_max_ms: int) -> None:
        self._clock = clock
        self._opened_ms = clock.monotonic_ms()
        wall_ms = clock.now_ms()
        closed_ms = 0 if last is None else max(0, min(wall_ms - last.wall_ms, closed_max_ms))
        self._base_ms = wall_ms if last is None else last.now_ms + closed_ms

    def stamp(self) -> Stamp:
        """Now."""
        passed_ms = self._clock.monotonic_ms() - self._opened_ms
        return Stamp(self._base_ms + passed_ms, self._clock.now_ms())
