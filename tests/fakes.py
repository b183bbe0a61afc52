"""Small real-enough parts for tests: rows, a context, a put."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from rayflume.batch import EventBatch, Extent
from rayflume.clock import Clock, ManualClock, SystemClock
from rayflume.component import Context
from rayflume.interfaces import Channel, PutReply, PutRequest
from rayflume.journal.reader import decode_rows
from rayflume.metrics import Metrics


def context(directory: Path, part: str = "wal", clock: Clock | None = None) -> Context:
    """A context for one part, with relative paths below `directory`."""
    return Context("test", part, clock or SystemClock(), Metrics(), directory)


def manual(directory: Path, part: str = "wal") -> tuple[Context, ManualClock]:
    """A context whose clock is walked by hand."""
    clock = ManualClock()
    return Context("test", part, clock, Metrics(), directory), clock


def request(
    bodies: Sequence[bytes | None], extents: Sequence[Extent], skip: str = ""
) -> PutRequest:
    """A put of these rows."""
    payload = EventBatch.from_events(bodies).encode()
    return PutRequest(
        "source", tuple(extents), payload, zlib.crc32(payload), len(bodies), skip=skip
    )


def put_numbers(channel: Channel, start: int, stop: int, stream: str = "s") -> PutReply:
    """Put the numbers `[start, stop)` as rows; the stream counts rows."""
    bodies = [str(i).encode() for i in range(start, stop)]
    return channel.put(request(bodies, [Extent(stream, start, stop, stop - start)]))


def bodies_of(channel: Channel, refs: Sequence[object]) -> list[bytes]:
    """The bodies of the rows that references point to."""
    rows: list[bytes] = []
    for ref in refs:
        [record] = channel.fetch([ref])  # type: ignore[list-item]
        rows += decode_rows(record, ref).body.to_pylist()  # type: ignore[arg-type]
    return rows
