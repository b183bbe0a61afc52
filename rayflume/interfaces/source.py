"""The contracts of sources: one that is asked for rows, and one that others call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from rayflume.batch import EventBatch
from rayflume.interfaces.values import Json, StreamPosition


class PollableSource(Protocol):
    """A source that is asked for its next batch. One thread calls it; none of its methods sleeps.

    S1  `start` gets the positions of all streams of this source, the lowest over its required
        channels.
    S2  `poll` returns the next batch with extents that follow each other without a gap per stream,
        or None when there is nothing to read now. What it returned counts as handed out: the next
        poll goes on behind it.
    S3  A batch has at most about `batch_bytes` of bodies, one row more at most.
    S4  `rewind(stream, next)`: forget what was handed out of this stream from `next` on and read
        it again. If the place cannot be found again the source says so with SourceFailed. With
        `stop`, the end of an extent of an earlier life, no extent that is read anew crosses it.
    S5  `accepted(batch)`: every required channel has it durably. Only now may the input be renamed
        or deleted.
    S6  `note_end` fixes the present end of the input; `at_end` is true once all up to it (or, for
        finite input, all of it) was handed out. A source without an end is at its end only after
        `note_end`.
    S7  `retired` names streams that cannot come back, once each, and only after they were accepted
        to the end.
    """

    @property
    def prefix(self) -> str:
        """What the names of all streams of this source begin with: `<host id>/<source id>/`."""
        ...

    @property
    def idle_ms(self) -> int:
        """How long to wait after a poll that found nothing."""
        ...

    def start(self, positions: Mapping[str, StreamPosition]) -> None: ...
    def poll(self) -> EventBatch | None: ...
    def rewind(self, stream: str, next: int, stop: int = 0) -> None: ...
    def accepted(self, batch: EventBatch) -> None: ...
    def note_end(self, unterminated: bool = False) -> None:
        """With `unterminated`, a last line without its newline is a row."""
        ...

    def at_end(self) -> bool: ...
    def retired(self) -> list[str]: ...
    def describe(self) -> dict[str, Json]:
        """What an operator wants to know: open files, lag in bytes, unread unterminated lines."""
        ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one batch: rows stored or already there, and keyed streams with another body
    (not stored).
    """

    rows: int
    conflicts: tuple[str, ...] = ()


Ingest: TypeAlias = Callable[[EventBatch], Ingested]
"""Intercept, select and put one batch. Blocks until durable in every required channel.

Raises ChannelFull or ChannelClosed: nothing of it may be acknowledged; the same batch may be
offered again.
"""


class ServerSource(Protocol):
    """A source that others call (HTTP). It owns a thread with an event loop and puts by calling
    `ingest`.

    V1  `start` returns once it listens; OptionError when the port is taken. `ingest` is called
        from its threads.
    V2  A client gets its success only after `ingest` returned for its rows.
    V3  `drain` refuses new requests (503) and returns once those in hand are answered. Blocks.
    V4  `stop` closes the socket; requests that have no answer get none.
    """

    @property
    def prefix(self) -> str:
        """What the names of all streams of this source begin with, keyed ones excepted."""
        ...

    def start(self, positions: Mapping[str, StreamPosition], ingest: Ingest) -> None: ...
    def drain(self) -> None: ...
    def retired(self) -> list[str]: ...
    def describe(self) -> dict[str, Json]: ...
    def stop(self) -> None: ...
