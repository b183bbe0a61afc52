"""A journal with a backlog, written through the channel itself, without Ray."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.experiments._feed import Feed, now_us
from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.channels.file import Capacity, File
from rayflume.clock import SystemClock
from rayflume.component import Context
from rayflume.interfaces import PutOutcome, PutRequest
from rayflume.metrics import Metrics

_BATCH_ROWS = 20_000
_STREAM = "bench/fill"


def open_channel(directory: Path) -> JournaledChannel:
    """A file channel in this process, open."""
    capacity = Capacity(events=10**9, bytes=64 * 2**30)
    context = Context("bench", "fill", SystemClock(), Metrics(), directory)
    channel = File(directory=str(directory), capacity=capacity).build(context)
    channel.open()
    return channel


def fill(directory: Path, size: int) -> int:
    """Put clickstream lines of about `size` bytes into the journal. Returns the rows. Blocks."""
    feed, channel, start = Feed(), open_channel(directory), 0
    total = int(size / feed.line_bytes)
    try:
        while start < total:
            body = _bodies(feed, min(_BATCH_ROWS, total - start))
            stop = start + len(body)
            extents = (Extent(_STREAM, start, stop, len(body)),)
            payload = EventBatch(body, {}, extents).encode()
            request = PutRequest("fill", extents, payload, zlib.crc32(payload), len(body))
            reply = channel.put(request)
            if reply.outcome is not PutOutcome.STORED:
                raise RuntimeError(f"the backlog was not taken: {reply}")
            start = stop
    finally:
        channel.close()
    return total


def _bodies(feed: Feed, count: int) -> pa.BinaryArray:
    data = np.frombuffer(feed.lines(count, now_us()), np.uint8)
    ends = np.flatnonzero(data == ord("\n")) + 1
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    lines = pa.BinaryArray.from_buffers(pa.binary(), len(ends), buffers)
    return pc.binary_replace_slice(lines, -1, 2**31 - 1, b"")
