"""Data files of an Iceberg table: told to it from a Parquet footer, and small ones merged.

`OneTry` is a transaction whose commit is one request. Nothing here deletes anything.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import (
    ArrowScan,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AssertTableUUID
from pyiceberg.typedef import Record

from rayflume.errors import TableRefused
from rayflume.table import Compacted

_ROW_GROUP_ROWS = 1 << 20
_SMALL = 0.5
"""A file of less than this share of the target is worth merging."""


class OneTry(Transaction):
    """A transaction whose commit asks the catalog once. Whatever comes back, nothing is deleted."""

    def commit_transaction(self) -> Table:
        """Raises CommitFailedException when the table has moved on; after any other error only a
        look at the table tells whether it landed. Blocks.
        """
        uuid = AssertTableUUID(uuid=self.table_metadata.table_uuid)
        self._table.catalog.commit_table(self._table, (*self._requirements, uuid), self._updates)
        return self._table


def data_file(
    metadata: TableMetadata,
    path: str,
    size: int,
    footer: pq.FileMetaData,
    partition: Sequence[object],
) -> DataFile:
    """What a manifest says of a file. `partition`: a value for each field of the default spec."""
    schema = metadata.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        footer,
        compute_statistics_plan(schema, metadata.properties),
        parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(*partition),
        file_size_in_bytes=size,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def merge_small_files(table: Table, target_bytes: int) -> Compacted:
    """Merge the small files of each partition into files of up to about `target_bytes`. Blocks.

    Memory: the rows of one record batch of the reader and one row group of the writer.
    """
    removed = added = rows = 0
    for groups in _partitions(table, target_bytes):
        attempt = OneTry(table)
        with attempt.update_snapshot().overwrite() as change:
            for group in groups:
                merged = _merged(table, group)
                change.append_data_file(merged)
                for task in group:
                    change.delete_data_file(task.file)
                removed, added, rows = removed + len(group), added + 1, rows + merged.record_count
        attempt.commit_transaction()
        table.refresh()
    return Compacted(removed, added, rows)


def _partitions(table: Table, target_bytes: int) -> Iterator[list[list[FileScanTask]]]:
    """For each partition with something to merge, the groups of files that become one file."""
    small: dict[Record, list[FileScanTask]] = defaultdict(list)
    for task in table.scan().plan_files():
        file = task.file
        # Rows that a delete file takes away would be counted; files of an older spec lie elsewhere.
        mergeable = not task.delete_files and file.spec_id == table.spec().spec_id
        if mergeable and file.file_size_in_bytes < target_bytes * _SMALL:
            small[file.partition].append(task)
    for tasks in small.values():
        groups: list[list[FileScanTask]] = []
        room = 0
        for task in sorted(tasks, key=lambda task: task.file.file_path):
            if not groups or task.file.file_size_in_bytes > room:
                groups.append([])
                room = target_bytes
            groups[-1].append(task)
            room -= task.file.file_size_in_bytes
        groups = [group for group in groups if len(group) > 1]
        if groups:
            yield groups


def _merged(table: Table, group: Sequence[FileScanTask]) -> DataFile:
    """A new file with the rows of several, in the table's present columns. Not yet in the table."""
    schema = schema_to_pyarrow(table.schema())
    name = f"merged-{secrets.token_hex(16)}.parquet"
    path = table.location_provider().new_data_location(name)
    scan = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue())
    footers: list[pq.FileMetaData] = []
    with (
        table.io.new_output(path).create() as stream,
        pq.ParquetWriter(stream, schema, compression="zstd", metadata_collector=footers) as writer,
    ):
        for batch in scan.to_record_batches(group):
            rows = pa.Table.from_batches([batch]).cast(schema)
            writer.write_table(rows, row_group_size=_ROW_GROUP_ROWS)
    expected = sum(task.file.record_count for task in group)
    if footers[0].num_rows != expected:
        raise TableRefused(
            f"{group[0].file.file_path} and {len(group) - 1} more have {expected} rows, but "
            f"{footers[0].num_rows} were read: they were left as they are"
        )
    size = len(table.io.new_input(path))
    partition = [group[0].file.partition[n] for n in range(len(table.spec().fields))]
    return data_file(table.metadata, path, size, footers[0], partition)
