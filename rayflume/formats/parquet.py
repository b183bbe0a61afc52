"""Bodies that are Parquet files, each of one row."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.component import Context, component
from rayflume.formats._lake_types import Unfit
from rayflume.formats._parquet_size import size_of
from rayflume.formats._tables import TableFormat, TableOptions
from rayflume.formats._unpacked import Budget, decoded_bytes

_ROWS_AT_ONCE = 1024


@component
class Parquet(TableOptions):
    """Each event's body is one whole Parquet file, with one row; its fields become columns.

    A body that holds a hundred times its own length (a MiB is free), or 64 MiB and ten times its
    length, goes to the dead letters.
    """

    def build(self, context: Context) -> TableFormat:
        return self.reading(read)


def read(data: pa.Buffer, budget: Budget) -> pa.Table:
    """The table of one body. Raises Unfit for one that is far larger than it looks.

    Texts stay words of dictionaries until it is known how long all of them are.
    """
    found = size_of(data)
    size, decoded = found.total, 0
    budget.take(size, data.size)
    batches: list[pa.RecordBatch] = []
    with _opened(data, found.words) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            decoded += sum(decoded_bytes(column) for column in batch.columns)
            if decoded > size:
                budget.take(decoded, data.size)
                size = decoded
            batches.append(batch)
        schema = batches[0].schema if batches else file.schema_arrow
    return pa.Table.from_batches(batches, schema)


def _opened(data: pa.Buffer, words: Sequence[str]) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(pa.BufferReader(data), read_dictionary=words)
    except KeyError:
        raise Unfit("the columns of the body are not those of its schema") from None
