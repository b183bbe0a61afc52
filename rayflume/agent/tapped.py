"""Rows that were tapped from a channel, for people: Put records -> rows with text bodies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.interfaces import RowRef
from rayflume.journal.reader import RowsUnreadable, decode_rows
from rayflume.journal.segment import decode_head

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Row:
    """One event. `position`: its number in the journal of the channel."""

    position: int
    stream: str
    body: bytes | None
    headers: dict[str, str]

    @property
    def text(self) -> str | None:
        """The body as text; bytes that are no UTF-8 as escaped numbers."""
        return None if self.body is None else self.body.decode("utf-8", "backslashreplace")


def rows_of(records: Sequence[pa.Buffer], rows_max: int) -> list[Row]:
    """The newest `rows_max` rows of Put records, oldest first. A damaged record is left out."""
    rows: list[Row] = []
    for record in reversed(records):
        if len(rows) >= rows_max:
            break
        rows = _rows_in(record)[-(rows_max - len(rows)) :] + rows
    return rows


def _rows_in(record: pa.Buffer) -> list[Row]:
    head = decode_head(record)
    if head is None:
        return []
    start, stop = head.meta.get("rows", (0, 0))
    try:
        batch = decode_rows(record, RowRef("", 0, head.length, 0, stop - start, start))
    except RowsUnreadable:
        return []
    return list(rows_in(batch, start))


def rows_in(batch: EventBatch, position: int) -> Iterator[Row]:
    """The rows of a batch whose first one is `position` of its journal."""
    streams = [extent.stream for extent in batch.extents for _ in range(extent.rows)]
    names = batch.header_names()
    columns = [batch.header(name).to_pylist() for name in names]
    for i, body in enumerate(batch.body.to_pylist()):
        values = ((name, column[i]) for name, column in zip(names, columns, strict=True))
        headers = {name: value for name, value in values if value is not None}
        yield Row(position + i, streams[i] if i < len(streams) else "", body, headers)


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table: position, stream, body (text), headers (a mapping)."""
    import pandas as pd

    values = {
        "position": [row.position for row in rows],
        "stream": [row.stream for row in rows],
        "body": [row.text for row in rows],
        "headers": [row.headers for row in rows],
    }
    return pd.DataFrame(values)
