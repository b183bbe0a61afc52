"""A counter, for trying things out."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.component import Component, Context, component, option
from rayflume.sources._counter import CounterSource, Limits
from rayflume.sources._stream import stream_prefix


@component
class Seq(Component):
    """Count: the bodies are the decimal numbers from 0. Rows: one per number, as fast as asked for.

    Guarantee: replayable, so exactly once with a durable channel: after a restart the count goes on
    where the channel stands. Without `total_events` it fills whatever room the channel has.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"
    timeless: ClassVar[bool] = True

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

    def build(self, context: Context) -> CounterSource:
        limits = Limits(self.batch_size, self.total_events)
        return CounterSource(stream_prefix(context, self.id), "seq", limits, decimals)


def decimals(start: int, stop: int) -> pa.BinaryArray:
    """The numbers `[start, stop)` as text."""
    numbers = pa.array(np.arange(start, stop, dtype=np.int64))
    return pc.cast(pc.cast(numbers, pa.string()), pa.binary())
