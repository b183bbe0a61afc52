"""Data files of an Iceberg table: told to it from a Parquet footer, and small ones merged.

`OneTry` is a transaction whose commit is one request. Nothing here deletes anything.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AssertTableUUID
from pyiceberg.typedef import Record

from rayflume.errors import TableRefused
from rayflume.naming import delivery_of
from rayflume.table import Compacted
from rayflume.tables._columns import plain

_ROW_GROUP_ROWS, _ROW_GROUP_BYTES = 1 << 20, 64 << 20
_BATCH_ROWS = 1 << 14
_MERGED = "merged-"
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

    Only files that rayflume wrote: in those a column is what it is called. They are read with
    pyarrow, for PyIceberg 0.12 reads a null list of structs as an empty one. Memory: one batch of
    rows and one row group being encoded.
    """
    removed = added = 0
    if _was_renamed(table):
        return Compacted()
    for groups in _partitions(table, target_bytes):
        attempt = OneTry(table)
        with attempt.update_snapshot().overwrite() as change:
            for group in groups:
                change.append_data_file(_merged(table, group))
                for file in group:
                    change.delete_data_file(file)
                removed, added = removed + len(group), added + 1
        attempt.commit_transaction()
        table.refresh()
    return Compacted(removed, added)


def _was_renamed(table: Table) -> bool:
    """Whether a column has had another name: then older files cannot be read by name."""
    mapping = table.name_mapping()
    fields = [] if mapping is None else list(mapping.root)
    while fields:
        field = fields.pop()
        if len(field.names) != 1:
            return True
        fields += field.fields
    return mapping is None


def _partitions(table: Table, target_bytes: int) -> Iterator[list[list[DataFile]]]:
    """For each partition with something to merge, the groups of files that become one file."""
    small: dict[Record, list[DataFile]] = defaultdict(list)
    for task in table.scan().plan_files():
        file = task.file
        name = file.file_path.rpartition("/")[2]
        ours = delivery_of(name) is not None or name.startswith(_MERGED)
        # Rows that a delete file takes away would be counted; files of an older spec lie elsewhere.
        mergeable = ours and not task.delete_files and file.spec_id == table.spec().spec_id
        if mergeable and file.file_size_in_bytes < target_bytes * _SMALL:
            small[file.partition].append(file)
    for files in small.values():
        groups: list[list[DataFile]] = []
        room = 0
        for file in sorted(files, key=lambda file: file.file_path):
            if not groups or file.file_size_in_bytes > room:
                groups.append([])
                room = target_bytes
            groups[-1].append(file)
            room -= file.file_size_in_bytes
        groups = [group for group in groups if len(group) > 1]
        if groups:
            yield groups


def _merged(table: Table, group: Sequence[DataFile]) -> DataFile:
    """A new file with the rows of several, in the table's present columns. Not yet in the table."""
    path = table.location_provider().new_data_location(f"{_MERGED}{secrets.token_hex(16)}.parquet")
    footers: list[pq.FileMetaData] = []
    schema = _file_schema(table)
    with (
        table.io.new_output(path).create() as stream,
        pq.ParquetWriter(stream, schema, compression="zstd", metadata_collector=footers) as writer,
    ):
        for file in group:
            for rows in _rows(table, file, schema):
                writer.write_table(rows, row_group_size=_ROW_GROUP_ROWS)
    expected = sum(file.record_count for file in group)
    if footers[0].num_rows != expected:
        raise TableRefused(
            f"{group[0].file_path} and {len(group) - 1} more have {expected} rows, but "
            f"{footers[0].num_rows} were read: they were left as they are"
        )
    size = len(table.io.new_input(path))
    partition = [group[0].partition[n] for n in range(len(table.spec().fields))]
    return data_file(table.metadata, path, size, footers[0], partition)


def _file_schema(table: Table) -> pa.Schema:
    """The columns of a data file: all but those of the partitions, as the sink writes them."""
    partitions = {field.source_id for field in table.spec().fields}
    names = [field.name for field in table.schema().fields if field.field_id not in partitions]
    whole = plain(schema_to_pyarrow(table.schema(), include_field_ids=False))
    return pa.schema([whole.field(name) for name in names])


def _rows(table: Table, file: DataFile, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of a file, up to a row group at a time, with nulls where it lacks a column."""
    held: list[pa.RecordBatch] = []
    with (
        table.io.new_input(file.file_path).open() as stream,
        pq.ParquetFile(stream) as source,
    ):
        for batch in source.iter_batches(_BATCH_ROWS):
            columns = [
                batch.column(field.name).cast(field.type)
                if field.name in batch.schema.names
                else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ]
            held.append(pa.record_batch(columns, schema=schema))
            if sum(part.nbytes for part in held) >= _ROW_GROUP_BYTES:
                yield pa.Table.from_batches(held, schema)
                held.clear()
    if held:
        yield pa.Table.from_batches(held, schema)
