"""A counter, for trying things out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch, Extent
from rayflume.component import Component, Context, component, option
from rayflume.errors import SourceFailed
from rayflume.interfaces import Json, StreamPosition
from rayflume.sources._stream import stream_prefix

_IDLE_MS = 100


@component
class Seq(Component):
    """Count: the bodies are the decimal numbers from 0. Rows: one per number, as fast as asked for.

    Guarantee: replayable, so exactly once with a durable channel: after a restart the count goes on
    where the channel stands. Without `total_events` it fills whatever room the channel has.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"

    id: str | None = option(
        "Name of this source in the name of its stream; the part's name if absent.",
        default=None,
        min_length=1,
    )
    batch_size: int = option(
        "Rows of a batch. Flume's default is 1; here a batch is one call to another process.",
        default=1000,
        ge=1,
        le=10_000_000,
    )
    total_events: int | None = option(
        "How many numbers there are in all; no end if absent.", default=None, ge=0, example=100_000
    )

    def build(self, context: Context) -> SeqSource:
        return SeqSource(self, context)


class SeqSource:
    """Hands out numbers. Implements interfaces.PollableSource. Nothing in it blocks."""

    idle_ms = _IDLE_MS

    def __init__(self, options: Seq, context: Context) -> None:
        self.prefix = stream_prefix(context, options.id)
        self._stream = f"{self.prefix}seq/0"
        self._batch_size = options.batch_size
        self._end = options.total_events
        self._next = 0
        self._accepted = 0
        self._cut = 0

    def start(self, positions: Mapping[str, StreamPosition]) -> None:
        position = positions.get(self._stream)
        if position is not None:
            self._next = self._accepted = position.next

    def poll(self) -> EventBatch | None:
        stop = self._next + self._batch_size
        if self._end is not None:
            stop = min(stop, self._end)
        if self._cut > self._next:
            stop = min(stop, self._cut)
        if stop <= self._next:
            return None
        numbers = pa.array(np.arange(self._next, stop, dtype=np.int64))
        body = pc.cast(pc.cast(numbers, pa.string()), pa.binary())
        extent = Extent(self._stream, self._next, stop, stop - self._next)
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
        """The end is what was handed out so far, or `total_events` if there is one."""
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
