"""A source of my own: it reads numbered rows, here from a function, elsewhere from a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal
from urllib.parse import quote

import pyarrow as pa

from rayflume.batch import EventBatch, Extent
from rayflume.component import Component, Context, option
from rayflume.errors import SourceFailed
from rayflume.interfaces import Json, StreamPosition


class MySource(Component):
    """Read rows that have a number each, and can be read again from any number on."""

    kind = "source"
    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"
    """For `rayflume validate`: it can read again what no channel has yet."""

    batch_size: int = option("Rows of a batch.", default=1000, ge=1, le=1_000_000)
    total: int | None = option("How many rows there are; no end if absent.", default=None, ge=0)

    def build(self, context: Context) -> MyReader:
        return MyReader(self, context)

    def read(self, start: int, stop: int) -> list[bytes]:
        """The rows `[start, stop)`, fewer when there are no more now: put your own reading here.

        It must give the same rows for the same numbers whenever it is asked. Raise
        rayflume.errors.Retry when the service does not answer: it is asked again.
        """
        stop = stop if self.total is None else min(stop, self.total)
        return [b"row %d" % number for number in range(start, stop)]


class MyReader:
    """Implements rayflume.interfaces.PollableSource. One thread calls it; nothing may sleep."""

    idle_ms = 100

    def __init__(self, options: MySource, context: Context) -> None:
        self.prefix = f"{quote(context.host_id, safe='')}/{quote(context.part, safe='')}/"
        self._options = options
        self._stream = f"{self.prefix}rows/0"
        self._next = 0
        self._cut = 0
        self._end: int | None = options.total

    def start(self, positions: Mapping[str, StreamPosition]) -> None:
        """Go on where the channels stand."""
        position = positions.get(self._stream)
        if position is not None:
            self._next = position.next

    def poll(self) -> EventBatch | None:
        stop = self._next + self._options.batch_size
        if self._end is not None:
            stop = min(stop, self._end)
        if self._cut > self._next:
            stop = min(stop, self._cut)
        rows = self._options.read(self._next, stop) if stop > self._next else []
        if not rows:
            return None
        start, self._next = self._next, self._next + len(rows)
        extent = Extent(self._stream, start, self._next, len(rows))
        return EventBatch(pa.array(rows, pa.binary()), {}, (extent,))

    def rewind(self, stream: str, next: int, stop: int = 0) -> None:
        """Some channel has not what was handed out: hand it out again from `next` on."""
        if stream != self._stream:
            raise SourceFailed(f"the stream {stream!r} is not of this source")
        self._next, self._cut = next, stop

    def accepted(self, batch: EventBatch) -> None:
        """Every required channel has it: what was read may now be deleted, if you wish."""

    def note_end(self, unterminated: bool = False) -> None:
        """Without an end of its own it ends where it is now."""
        if self._end is None:
            self._end = self._next

    def at_end(self) -> bool:
        return self._end is not None and self._next >= self._end

    def retired(self) -> list[str]:
        """Streams that never come back, once each; this one always may."""
        return []

    def describe(self) -> dict[str, Json]:
        """What an operator wants to know."""
        return {"next": self._next, "end": self._end}

    def stop(self) -> None:
        """Close what is open."""
