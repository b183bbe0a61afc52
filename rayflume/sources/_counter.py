"""Sources that make their rows: how many there are, and where they go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from rayflume.batch import EventBatch, Extent
from rayflume.clock import Clock
from rayflume.errors import SourceFailed
from rayflume.interfaces import Json, StreamPosition

_IDLE_MS = 100
_PACED_IDLE_MS = 10

Bodies = Callable[[int, int], pa.BinaryArray]
"""The bodies of rows `[start, stop)`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`end`: how many rows there are in all (None: no end). `per_second`: 0 for no limit."""

    batch_size: int
    end: int | None = None
    per_second: int = 0


class CounterSource:
    """Hands out rows that follow from their number. Implements interfaces.PollableSource.

    Nothing in it blocks.
    """

    def __init__(self, prefix: str, name: str, limits: Limits, bodies: Bodies) -> None:
        self.prefix = prefix
        self.idle_ms = _PACED_IDLE_MS if limits.per_second else _IDLE_MS
        self._stream = f"{prefix}{name}/0"
        self._limits = limits
        self._end = limits.end
        self._bodies = bodies
        self._next = 0
        self._accepted = 0
        self._cut = 0
        self._pace: _Pace | None = None

    def paced(self, clock: Clock) -> CounterSource:
        """With a clock the limit per second is kept."""
        if self._limits.per_second:
            self._pace = _Pace(self._limits.per_second, clock)
        return self

    def start(self, positions: Mapping[str, StreamPosition]) -> None:
        position = positions.get(self._stream)
        if position is not None:
            self._next = self._accepted = position.next

    def poll(self) -> EventBatch | None:
        stop = self._next + self._limits.batch_size
        if self._pace is not None:
            stop = min(stop, self._next + self._pace.allowed())
        if self._end is not None:
            stop = min(stop, self._end)
        if self._cut > self._next:
            stop = min(stop, self._cut)
        if stop <= self._next:
            return None
        extent = Extent(self._stream, self._next, stop, stop - self._next)
        body = self._bodies(self._next, stop)
        if self._pace is not None:
            self._pace.used(extent.rows)
        self._next = stop
        return EventBatch(body, {}, (extent,))

    def rewind(self, stream: str, next: int, stop: int = 0) -> None:
        """Raises SourceFailed for a stream that is not this source's."""
        if stream != self._stream:
            raise SourceFailed(f"the stream {stream!r} is not of this counter: {self._stream!r} is")
        self._next, self._cut = next, stop

    def accepted(self, batch: EventBatch) -> None:
        self._accepted = max([self._accepted, *(extent.end for extent in batch.extents)])

    def note_end(self, unterminated: bool = False) -> None:
        """The end is what was handed out so far, or the given one if there is one."""
        if self._end is None:
            self._end = self._next

    def at_end(self) -> bool:
        return self._end is not None and self._next >= self._end

    def retired(self) -> list[str]:
        # The stream stays known for ever: were it forgotten, the same count would start again.
        return []

    def describe(self) -> dict[str, Json]:
        return {"next": self._next, "accepted": self._accepted, "end": self._end}

    def stop(self) -> None:
        """Nothing is open."""


class _Pace:
    """So many rows a second: what was not used is kept for one second, no longer."""

    def __init__(self, per_second: int, clock: Clock) -> None:
        self._per_second = per_second
        self._clock = clock
        self._since_ms = clock.monotonic_ms()
        self._allowed = 0.0

    def allowed(self) -> int:
        now = self._clock.monotonic_ms()
        self._allowed += (now - self._since_ms) * self._per_second / 1000
        self._allowed = min(self._allowed, self._per_second)
        self._since_ms = now
        return int(self._allowed)

    def used(self, rows: int) -> None:
        self._allowed -= rows
