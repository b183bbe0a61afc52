"""Rows of one size, as many as a channel takes: to measure what is behind a source."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from rayflume.component import Component, Context, component, option
from rayflume.sources._counter import Bodies, CounterSource, Limits
from rayflume.sources._stream import stream_prefix
from rayflume.units import ByteSize

_FILL = 127
_BATCH_BYTES_MAX = 64 * 2**20


@component
class Stress(Component):
    """Make rows of one size, each byte 127, as fast as the channel takes them. Flume's
    `org.apache.flume.source.StressSource`.

    A row that the channel has no room for is offered again, not skipped as in Flume, so rows that
    are attempted and rows that succeed are the same: the lower of the two bounds counts.

    Guarantee: replayable, so exactly once with a durable channel: after a restart the count goes on
    where the channel stands.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"
    timeless: ClassVar[bool] = True

    id: str | None = option(
        "Name of this source in the name of its stream; the part's name if absent.",
        default=None,
        min_length=1,
    )
    size: ByteSize = option("Bytes of a row.", default=500, le=2**24, example=200)
    batch_size: int = option(
        "Rows of a batch, fewer if they would have more than 64 MiB. Flume's default is 1; here a "
        "batch is one call to another process.",
        default=1000,
        ge=1,
        le=10_000_000,
    )
    max_total_events: int | None = option(
        "How many rows there are in all; no end if absent.", default=None, ge=0, example=1_000_000
    )
    max_successful_events: int | None = option(
        "The same, by Flume's other name.", default=None, ge=0
    )
    max_events_per_second: int = option(
        "Most rows a second on the average; 0: as fast as they are taken.", default=0, ge=0
    )

    def build(self, context: Context) -> CounterSource:
        bounds = [self.max_total_events, self.max_successful_events]
        end = min((bound for bound in bounds if bound is not None), default=None)
        batch_size = max(1, min(self.batch_size, _BATCH_BYTES_MAX // max(self.size, 1)))
        limits = Limits(batch_size, end, self.max_events_per_second)
        bodies = filled(self.size, batch_size)
        source = CounterSource(stream_prefix(context, self.id), "stress", limits, bodies)
        return source.paced(context.clock)


def filled(size: int, rows_max: int) -> Bodies:
    """Bodies of one size; all of them share one buffer, which nobody may change."""
    values = pa.py_buffer(np.full(size * rows_max, _FILL, np.uint8))
    offsets = pa.py_buffer(np.arange(rows_max + 1, dtype=np.int32) * np.int32(size))
    whole = pa.BinaryArray.from_buffers(pa.binary(), rows_max, [None, offsets, values])

    def bodies(start: int, stop: int) -> pa.BinaryArray:
        return whole.slice(0, stop - start)

    return bodies
