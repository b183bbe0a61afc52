"""Markers of complete partitions: the option, and what a delivery notes for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from rayflume.batch import EventBatch
from rayflume.clock import Clock
from rayflume.completeness import MarkerRules
from rayflume.component import option
from rayflume.sinks._span import Spans
from rayflume.sinks._split import Piece, Split
from rayflume.units import Millis

IDLE_MIN_MS = 10_000


class Complete(BaseModel):
    """When a partition is marked as complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: Millis = option(
        "How far the watermark must have passed the end of a partition. Rows that are later than "
        "that land all the same; a file beside the marker says so.",
        default=600_000,
        example="10min",
    )
    idle_timeout: Millis = option(
        "A source, or one of its files, of which nothing came for so long stops holding the "
        "watermark as soon as the source has nothing left to read and to put. What the source has "
        "not seen does not count: let it be far longer than its `scan_interval`, `poll_delay` and "
        "`linger`. One that can't be reached holds it for as long as the plan has it.",
        default=300_000,
        ge=IDLE_MIN_MS,
        example="5min",
    )
    future_limit: Millis = option(
        "Event times so far ahead of this host's clock do not move the watermark.",
        default=3_600_000,
        example="1h",
    )
    file: str = option(
        "Name of the marker in the directory of its partition. It begins with `_`, so that Spark, "
        "Hive and pyarrow pass it over; DuckDB and Polars read `**/*.parquet`. Sinks that share a "
        "path need different ones.",
        default="_SUCCESS",
        pattern=r"^_[A-Za-z0-9_.-]{1,100}$",
    )

    @field_validator("file")
    @classmethod
    def _no_data(cls, value: str) -> str:
        if value.endswith(".parquet"):
            raise ValueError("readers would take it for data: leave out .parquet")
        return value

    def rules(self) -> MarkerRules:
        """As plain values."""
        return MarkerRules(self.after, self.idle_timeout, self.future_limit, self.file)


@dataclass
class Noted:
    """What one delivery tells the channel: stream (of keyed ones: source) -> lowest and highest
    event time, and directory -> end of its time. Milliseconds.
    """

    times: dict[str, tuple[int, int]] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Noting:
    """Notes event times and partitions of what is written. Thread-safe."""

    spans: Spans
    future_limit_ms: int
    clock: Clock

    def countable(self, batch: EventBatch, split: Split) -> tuple[EventBatch, Split]:
        """Batch and split to note the event times of: without those too far ahead, and with
        requests that have a key as rows of their source.
        """
        if any(extent.keyed for extent in batch.extents):
            extents = (
                replace(extent, stream=batch.source, token=b"") if extent.keyed else extent
                for extent in batch.extents
            )
            batch = replace(batch, extents=tuple(extents))
        times = split.times
        assert times is not None
        good = np.flatnonzero(times <= self.clock.now_ms() + self.future_limit_ms)
        if len(good) < len(times):
            origin = good if split.time_origin is None else split.time_origin[good]
            split = replace(split, times=times[good], time_origin=origin)
        return batch, split

    def note_partitions(self, known: dict[str, int], split: Split, ingest_ms: int) -> None:
        """The ends of the partitions that rows of this batch go to. `ingest_ms`: the time of rows
        without event time.
        """
        for piece in split.pieces:
            if piece.directory not in known and piece.table.num_rows:
                end_ms = self.spans.end_of(_time_in(piece, split, ingest_ms))
                if end_ms is not None:
                    known[piece.directory] = end_ms


def _time_in(piece: Piece, split: Split, ingest_ms: int) -> int:
    """The event time of the first row of a piece."""
    row = 0 if piece.origin is None else int(piece.origin[0])
    times, origin = split.times, split.time_origin
    if times is None:
        return ingest_ms
    if origin is None:
        return int(times[row])
    place = int(np.searchsorted(origin, row))
    found = place < len(origin) and int(origin[place]) == row
    return int(times[place]) if found else ingest_ms
