"""Which source streams, and which offsets of them, the rows of a file came from. Bounded.

The offsets of a row are those of what was read with it, `[start, end)` of an extent, so files of
several partitions can name the same offsets. A file keeps STREAMS_MAX streams with RANGES_MAX
ranges each (the last ones are joined over the gap between them). OTHER_STREAMS among them says that
rows came from further streams, too: those above the bound, and requests with an idempotency key,
of which each is a stream of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rayflume.batch import EventBatch
from rayflume.file_metadata import OTHER_STREAMS, RANGES_MAX, STREAMS_MAX
from rayflume.interfaces import RowRange
from rayflume.sinks._bucket import Ints

_RUNS_MAX = 256
"""Looked at for one piece of a batch; what is above counts as other streams."""


class Origins:
    """Where the rows of one batch came from: extents of one stream that follow each other are one
    run.
    """

    def __init__(self, batch: EventBatch) -> None:
        self.rows = batch.num_rows
        self.runs: list[tuple[str, int, int]] = []
        ends: list[int] = []
        row = 0
        for extent in batch.extents:
            row += extent.rows
            if not extent.rows:
                continue
            stream = OTHER_STREAMS if extent.keyed else extent.stream
            last = self.runs[-1] if self.runs else ("", 0, 0)
            if last[0] == stream and (extent.keyed or last[2] == extent.start):
                self.runs[-1] = (stream, last[1], extent.end)
                ends[-1] = row
            else:
                self.runs.append((stream, extent.start, extent.end))
                ends.append(row)
        self._ends = np.array(ends, dtype=np.int64)

    def of(self, rows: Ints | None) -> list[tuple[str, int, int]]:
        """The runs that rows of the batch, ascending, came from; None: all rows."""
        if rows is None or len(self.runs) < 2:
            found = self.runs
        else:
            places = np.unique(np.searchsorted(self._ends, rows, side="right"))
            found = [self.runs[place] for place in places[: _RUNS_MAX + 1].tolist()]
        if len(found) > _RUNS_MAX:
            return [*found[:_RUNS_MAX], (OTHER_STREAMS, 0, 0)]
        return found


class StreamRanges:
    """Of one file: stream -> the ranges of its units that rows came from, as they came."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[RowRange]] = {}

    def add(self, runs: Sequence[tuple[str, int, int]]) -> None:
        """Rows of these runs came into the file."""
        for stream, start, end in runs:
            ranges = self._ranges.get(stream)
            if ranges is None and len(self._ranges) < STREAMS_MAX:
                ranges = self._ranges.setdefault(stream, [])
            if ranges is None or stream == OTHER_STREAMS:
                self._ranges.setdefault(OTHER_STREAMS, [])
            elif ranges and ranges[-1][0] <= start <= ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], max(ranges[-1][1], end))
            elif len(ranges) < RANGES_MAX:
                ranges.append((start, end))
            else:
                low, high = ranges[-1]
                ranges[-1] = (min(low, start), max(high, end))

    def to_json(self) -> dict[str, list[list[int]]]:
        """For the metadata of a file."""
        return {name: [list(span) for span in ranges] for name, ranges in self._ranges.items()}
