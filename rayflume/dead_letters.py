"""Dead letters: rows that could not become lake rows, whole, with where they came from and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayflume.batch import EventBatch

REASON_CHARS_MAX = 256
DEAD_SCHEMA = pa.schema(
    [
        pa.field("body", pa.binary()),
        pa.field("headers", pa.map_(pa.string(), pa.string())),
        pa.field("stream", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("position", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("time", pa.timestamp("us", "UTC")),
    ]
)
"""`offset`: start of the extent the row came from; `position`: the row's number in the journal."""


@dataclass(frozen=True)
class DeadRows:
    """Rows of a batch that go to the dead letters: ascending indices, and a reason for each."""

    rows: npt.NDArray[np.int64]
    reasons: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def all_of(batch: EventBatch, reason: str) -> DeadRows:
        return DeadRows(np.arange(batch.num_rows), [reason] * batch.num_rows)

    @staticmethod
    def of(found: Sequence[tuple[int, str]]) -> DeadRows:
        """From (index, reason) pairs in any order; no index twice."""
        ordered = sorted(found)
        return DeadRows(
            np.array([row for row, _ in ordered], dtype=np.int64), [why for _, why in ordered]
        )


def dead_table(batch: EventBatch, dead: DeadRows, position: int, time_ms: int) -> pa.RecordBatch:
    """The dead rows as a batch of DEAD_SCHEMA, in order. `position` is that of the batch's row
    0.
    """
    mask = np.zeros(batch.num_rows, np.bool_)
    mask[dead.rows] = True
    picked = batch if len(dead) == batch.num_rows else batch.filter(pa.array(mask))
    extents = picked.extents
    counts = [extent.rows for extent in extents]
    streams = pa.array([extent.stream for extent in extents], pa.string())
    starts = np.array([extent.start for extent in extents], dtype=np.int64)
    source = np.repeat(np.arange(len(extents)), counts)
    count = len(dead)
    columns = [
        picked.body,
        header_map(picked),
        streams.take(pa.array(source)),
        pa.array(starts[source]),
        pa.array(dead.rows + position),
        pa.array([shown_reason(text) for text in dead.reasons], pa.string()),
        pa.repeat(pa.scalar(time_ms * 1000, DEAD_SCHEMA.field("time").type), count),
    ]
    return pa.record_batch(columns, schema=DEAD_SCHEMA)


def header_map(batch: EventBatch) -> pa.MapArray:
    """All headers that each row has, as map<string, string>, sorted by name."""
    names, rows = batch.header_names(), batch.num_rows
    if not names or not rows:
        empty = pa.array([], pa.string())
        return pa.MapArray.from_arrays([0] * (rows + 1), empty, empty)
    columns = [valid_text(batch.header(name)) for name in names]
    by_row = np.arange(len(names) * rows).reshape(len(names), rows).T
    present = np.stack([np.asarray(column.is_valid()) for column in columns], axis=1)
    order = by_row[present]
    offsets = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    return pa.MapArray.from_arrays(
        pa.array(offsets, pa.int32()),
        pa.array(names, pa.string()).take(pa.array(order // rows)),
        pa.concat_arrays(columns).take(pa.array(order)),
    )


def valid_text(column: pa.StringArray) -> pa.StringArray:
    """The column with bytes that are not UTF-8 replaced; readers of Parquet refuse them."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        raw = column.cast(pa.binary()).to_pylist()
        text = [None if value is None else value.decode("utf-8", "replace") for value in raw]
        return pa.array(text, pa.string())
    return column


def shown_reason(text: str) -> str:
    """Bounded, on one line, and valid UTF-8 whatever was quoted in it."""
    shown = text[:REASON_CHARS_MAX]
    if not shown.isprintable():
        shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)
    return shown.encode("utf-8", "replace").decode()[:REASON_CHARS_MAX]
