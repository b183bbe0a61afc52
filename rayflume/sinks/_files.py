"""One lake file being written: row groups go to the staged upload as they fill.

Held in memory per file: the rows of the row group that fills, and while it is encoded its pages.
Nothing is opened at the store before the first row group is full, so a file that waits costs no
descriptor and no upload.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayflume.errors import Retry, StagingFailed
from rayflume.interfaces import Json, RowRange, StagedFile, StagedWriter
from rayflume.naming import delivery_of

CHUNK_COST = 512
"""Bytes of bookkeeping per column of a chunk; counted, because chunks can have few rows."""

_CHUNKS_MAX = 64
_SAMPLE_ROWS = 4096
_SAMPLE_ROWS_MIN = 64
_DISTINCT_MAX = 0.5


@dataclass(frozen=True)
class FileSettings:
    """How files are encoded. `metadata`: key-value metadata that all files share."""

    codec: str
    row_group_bytes: int
    row_group_rows: int
    metadata: Mapping[str, str]


class LakeFile:
    """One file of a delivery. One thread at a time.

    `ranges`: the journal rows among which its rows were chosen. `rows` taken, `buffered` decoded
    bytes in memory, `encoded` bytes at the store. `note` is kept in the handle of the staged file.
    """

    def __init__(
        self,
        target: str,
        schema: pa.Schema,
        version: int,
        settings: FileSettings,
        stage: Callable[[str], StagedWriter],
    ) -> None:
        self.target = target
        self.version = version
        self.number = 0
        self.note: Mapping[str, Json] = {}
        self.rows = 0
        self.buffered = 0
        self._schema = schema
        self._settings = settings
        self._stage = stage
        self.ranges: list[RowRange] = []
        self._large: list[pa.RecordBatch] = []
        self._small: list[pa.RecordBatch] = []
        self._upload: _Upload | None = None
        self._writer: pq.ParquetWriter | None = None
        self._closed = False

    @property
    def encoded(self) -> int:
        return 0 if self._upload is None else self._upload.size

    @property
    def open_at_store(self) -> bool:
        return self._upload is not None

    @property
    def held(self) -> int:
        """Encoded bytes that the storage still holds in memory, where it tells."""
        return 0 if self._upload is None else int(getattr(self._upload.staged, "held_bytes", 0))

    def append(self, table: pa.RecordBatch, start: int, stop: int) -> None:
        """Rows that were chosen among the journal rows `[start, stop)`. Encodes full row groups;
        then it blocks.
        """
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1] = (self.ranges[-1][0], stop)
        else:
            self.ranges.append((start, stop))
        self.rows += table.num_rows
        self._small.append(table)
        self.buffered += _cost(table)
        if len(self._small) >= _CHUNKS_MAX:
            self._merge_small()
        rows = sum(chunk.num_rows for chunk in (*self._large, *self._small))
        settings = self._settings
        if self.buffered >= settings.row_group_bytes or 0 < settings.row_group_rows <= rows:
            self.flush()

    def _merge_small(self) -> None:
        merged = pa.concat_batches(self._small)
        self.buffered += _cost(merged) - sum(map(_cost, self._small))
        self._small.clear()
        self._large.append(merged)

    def flush(self) -> None:
        """Encode what is buffered as row groups and send it to the store. Blocks."""
        if not self.buffered:
            return
        table = pa.Table.from_batches([*self._large, *self._small], self._schema)
        writer, upload = self._open(table)
        writer.write_table(table, row_group_size=self._group_rows(table))
        self._large.clear()
        self._small.clear()
        self.buffered = 0
        upload.settle()

    def _group_rows(self, table: pa.Table) -> int:
        """Rows per row group: one group, unless a single batch was larger than a group may be."""
        settings = self._settings
        groups = max(1, round(table.nbytes / settings.row_group_bytes))
        rows: int = -(-table.num_rows // groups)
        return max(1, min(rows, settings.row_group_rows or rows))

    def _open(self, table: pa.Table) -> tuple[pq.ParquetWriter, _Upload]:
        if self._writer is None or self._upload is None:
            self._upload = _Upload(self._stage(self.target))
            self._writer = pq.ParquetWriter(
                self._upload,
                self._schema,
                compression=self._settings.codec,
                use_dictionary=dictionary_columns(table),
                write_statistics=True,
            )
        return self._writer, self._upload

    def finish(self) -> StagedFile:
        """The rest, the footer, and all of it durable. May be asked again after Retry. Blocks."""
        self.flush()
        ranges = coalesce(self.ranges)
        writer, upload = self._open(self._schema.empty_table())
        if not self._closed:
            writer.add_key_value_metadata(self._metadata(ranges))
            writer.close()
            self._closed = True
        upload.settle()
        handle = {**upload.staged.finish(), **self.note}
        dead = self.target.endswith(".dead")
        return StagedFile(self.target, handle, upload.size, self.rows, ranges, self.version, dead)

    def _metadata(self, ranges: tuple[RowRange, ...]) -> dict[str, str]:
        return {
            **self._settings.metadata,
            "rayflume.delivery": delivery_of(self.target) or "",
            "rayflume.ranges": json.dumps(ranges),
            "rayflume.schema_version": str(self.version),
        }

    def abort(self) -> None:
        """Drop everything; staged bytes may be deleted at once."""
        self._large.clear()
        self._small.clear()
        self.buffered = 0
        if self._upload is not None:
            self._upload.abort()


def coalesce(ranges: list[RowRange]) -> tuple[RowRange, ...]:
    """Sorted, and joined where they touch or overlap."""
    joined: list[RowRange] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def dictionary_columns(table: pa.Table) -> list[str]:
    """Parquet paths of the columns whose values repeat so often that a dictionary pays.

    Measured: a dictionary for every column halves the speed of the whole encoding, because columns
    of distinct values are hashed in vain. Decided on rows spread over the whole row group.
    """
    rows = table.num_rows
    if rows < _SAMPLE_ROWS_MIN:
        return []
    places = np.linspace(0, rows - 1, min(rows, _SAMPLE_ROWS), dtype=np.int64)
    sample = table.take(pa.array(places)).combine_chunks()
    found = []
    for name, column in zip(sample.column_names, sample.columns, strict=True):
        for path, leaf in _leaves(name, column.combine_chunks()):
            count = len(leaf) - leaf.null_count
            if count and pc.count_distinct(leaf).as_py() <= max(1, count * _DISTINCT_MAX):
                found.append(path)
    return found


def _leaves(path: str, column: pa.Array) -> list[tuple[str, pa.Array]]:
    kind = column.type
    if pa.types.is_struct(kind):
        children = zip(kind, column.flatten(), strict=True)
        return [
            leaf for field, child in children for leaf in _leaves(f"{path}.{field.name}", child)
        ]
    if pa.types.is_map(kind):
        pair = f"{path}.key_value"
        return [*_leaves(f"{pair}.key", column.keys), *_leaves(f"{pair}.value", column.items)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _leaves(f"{path}.list.element", column.flatten())
    return [] if pa.types.is_boolean(kind) else [(path, column)]


def _cost(table: pa.RecordBatch) -> int:
    return int(table.nbytes + CHUNK_COST * table.num_columns)


class _Upload:
    """The file object that Parquet writes to. It never raises there, because an error inside the
    encoder would leave it half written: `settle` raises afterwards, and the file is lost for good.
    """

    closed = False

    def __init__(self, staged: StagedWriter) -> None:
        self.staged = staged
        self.size = 0
        self._error: Exception | None = None

    def write(self, data: bytes) -> int:
        if self._error is None:
            try:
                self.staged.write(data)
            except Exception as error:  # kept, and raised by settle
                self._error = error
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def settle(self) -> None:
        if isinstance(self._error, Retry):
            # Parquet's bytes behind the failed ones were dropped: no later call can mend the file.
            raise StagingFailed(self._error.message, **self._error.facts) from self._error
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        if self._error is None:
            self._error = StagingFailed("this file was given up")
        self.staged.abort()
