"""Bodies that are Parquet files, each of one row."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.component import Context, component
from rayflume.formats._lake_types import Unfit
from rayflume.formats._tables import TableFormat, TableOptions

BODY_BYTES_MAX = 1 << 30


@component
class Parquet(TableOptions):
    """Each event's body is one whole Parquet file, with one row; its fields become columns."""

    def build(self, context: Context) -> TableFormat:
        return self.reading(read)


def read(data: pa.Buffer) -> pa.Table:
    """The table of one body. Raises Unfit for one that is far larger than it looks."""
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        groups = range(file.metadata.num_row_groups)
        if sum(file.metadata.row_group(i).total_byte_size for i in groups) > BODY_BYTES_MAX:
            raise Unfit(f"the body holds more than {BODY_BYTES_MAX >> 20:,} MiB")
        return file.read(use_threads=False)
