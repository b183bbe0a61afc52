"""Bodies that are Parquet files, each of one row."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.component import Context, component
from rayflume.formats._parquet_size import file_bytes
from rayflume.formats._tables import TableFormat, TableOptions
from rayflume.formats._unpacked import Budget, decoded_bytes

_ROWS_AT_ONCE = 1024
_READ_AS_WORDS = frozenset({"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"})


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
    metadata = pq.read_metadata(pa.BufferReader(data))
    size = file_bytes(data, metadata)
    budget.take(size, data.size)
    source, words = pa.BufferReader(data), _words(metadata)
    batches: list[pa.RecordBatch] = []
    decoded = 0
    with pq.ParquetFile(source, read_dictionary=words) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            decoded += sum(decoded_bytes(column) for column in batch.columns)
            if decoded > size:
                budget.take(decoded, data.size)
                size = decoded
            batches.append(batch)
        schema = batches[0].schema if batches else file.schema_arrow
    return pa.Table.from_batches(batches, schema)


def _words(metadata: pq.FileMetaData) -> list[str]:
    """The columns that can be read as dictionaries."""
    found = []
    for place in range(metadata.num_columns):
        chunks = [metadata.row_group(g).column(place) for g in range(metadata.num_row_groups)]
        plain = all(_READ_AS_WORDS.issuperset(chunk.encodings) for chunk in chunks)
        if chunks and plain and chunks[0].physical_type == "BYTE_ARRAY":
            found.append(chunks[0].path_in_schema)
    return found
