"""One lake file being written: row groups go to the staged upload as they fill.

Held in memory per file: the rows of the row group that fills, and while it is encoded its pages;
what the footer will say of each row group, and its Bloom filters. Nothing is opened at the store
before the first row group is full, so a file that waits costs no descriptor and no upload.

A file that ends by size is within 10 % of its target: the rows that still fit are predicted
(_sizes.py), and the last row group is as small as it must be.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume import file_metadata
from rayflume.errors import Retry, StagingFailed
from rayflume.interfaces import Json, RowRange, StagedFile, StagedWriter
from rayflume.naming import delivery_of
from rayflume.ranges import joined
from rayflume.sinks._encoding import Encoding, leaves
from rayflume.sinks._sizes import FILLED, GROUPS_MIN, Ratio, footer_bytes, group_footer_bytes
from rayflume.sinks._streams import StreamRanges

CHUNK_COST = 512
"""Bytes of bookkeeping per column of a chunk; counted, because chunks can have few rows."""
WRITER_COST = 12 << 10
GROUP_COST = 1 << 10
"""Measured: memory of an open Parquet writer, and of each column of each row group it has written,
which it keeps for the footer.
"""

_CHUNKS_MAX = 8


@dataclass(frozen=True)
class FileSettings:
    """How files are made. `roll_bytes`: encoded bytes they aim at, 0 for no limit. `metadata`:
    key-value metadata that all files share. `ratio`: what is known of how well rows compress.
    """

    encoding: Encoding
    row_group_bytes: int
    row_group_rows: int
    roll_bytes: int
    metadata: Mapping[str, str]
    ratio: Ratio = field(default_factory=Ratio)

    @cached_property
    def plain(self) -> FileSettings:
        """For files with a schema of their own."""
        return replace(self, encoding=self.encoding.plain(), ratio=Ratio())


class LakeFile:
    """One file of a delivery. One thread at a time.

    `bucket`: what decides which rows it gets, here its directory. `ranges`: the journal rows among
    which its rows were chosen. `rows` taken, `buffered` decoded bytes in memory, `encoded` bytes at
    the store. `note` is kept in the handle of the staged file.
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
        self.bucket = posixpath.dirname(target)
        self.version = version
        self.number = 0
        self.note: Mapping[str, Json] = {}
        self.rows = 0
        self.buffered = 0
        self.streams = StreamRanges()
        self._schema = schema
        self._settings = settings
        self._stage = stage
        self.ranges: list[RowRange] = []
        self._large: list[pa.RecordBatch] = []
        self._small: list[pa.RecordBatch] = []
        self._small_rows = 0
        self._large_rows = 0
        self._decoded = self._decoded_done = 0
        self._columns = len(leaves(schema))
        self._footer: int = footer_bytes(schema, self._columns)
        self._groups = 0
        self._bloom_bytes = 0
        self._upload: Upload | None = None
        self._writer: pq.ParquetWriter | None = None
        self._closed = False
        self.footer: pq.FileMetaData | None = None
        """What Parquet wrote behind the rows; None before the file has ended."""

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

    @property
    def footer_held(self) -> int:
        """Bytes in memory that the footer and the Bloom filters will be made of."""
        if self._upload is None:
            return 0
        return WRITER_COST + self._groups * (GROUP_COST * self._columns + self._bloom_bytes)

    @property
    def wants_flush(self) -> bool:
        """Whether the delivery shall call `flush`: this file does that itself."""
        return False

    @property
    def full(self) -> bool:
        """Whether the file is as large as it shall be; nothing is buffered then."""
        least = self._settings.roll_bytes * FILLED
        return bool(0 < least <= self.encoded + self._tail() and not self.buffered)

    def room(self, table: pa.RecordBatch, size: int) -> int:
        """How many rows of a table, of `size` decoded bytes together, still fit; at least one."""
        target, rows = self._settings.roll_bytes, int(table.num_rows)
        if not target:
            return rows
        left = target - self.encoded - self._tail()
        decoded = left / self._ratio() - self._decoded
        return rows if size <= decoded else max(1, min(rows, round(decoded / size * rows)))

    def _ratio(self) -> float:
        return self._settings.ratio.of(self.encoded, self._decoded_done)

    def _tail(self) -> int:
        """Bytes that follow the row groups."""
        groups = self._groups + 1
        return self._footer + groups * (group_footer_bytes(self._columns) + self._bloom_bytes)

    def append(self, table: pa.RecordBatch, start: int, stop: int, size: int = 0) -> None:
        """Rows that were chosen among the journal rows `[start, stop)`. Encodes full row groups;
        then it blocks. `size`: the table's `nbytes`, where the caller has asked for it.
        """
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1] = (self.ranges[-1][0], stop)
        else:
            self.ranges.append((start, stop))
        self.rows += table.num_rows
        self._small.append(table)
        self._small_rows += table.num_rows
        size = size or int(table.nbytes)
        self._decoded += size
        self.buffered += size + CHUNK_COST * table.num_columns
        if len(self._small) >= _CHUNKS_MAX:
            self._merge_small()
        if self._group_is_full():
            self.flush()

    def _group_is_full(self) -> bool:
        settings = self._settings
        rows = self._large_rows + self._small_rows
        if self.buffered >= settings.row_group_bytes or 0 < settings.row_group_rows <= rows:
            return True
        if not settings.roll_bytes:
            return False
        expected = self._decoded * self._ratio()
        target = settings.roll_bytes
        return expected >= target / GROUPS_MIN or self.encoded + expected + self._tail() >= target

    def _merge_small(self) -> None:
        merged = pa.concat_batches(self._small)
        cost = CHUNK_COST * merged.num_columns
        self.buffered -= cost * (len(self._small) - 1)
        self._large_rows += self._small_rows
        self._small_rows = 0
        self._small.clear()
        self._large.append(merged)

    def flush(self) -> None:
        """Encode what is buffered as row groups and send it to the store. Blocks."""
        if not self.buffered:
            return
        table = pa.Table.from_batches([*self._large, *self._small], self._schema)
        size = int(table.nbytes)
        table = self._settings.encoding.sort(table)
        writer, upload = self._open(table)
        # Only now: until the store has opened the file this may be asked again.
        self._drop_buffered()
        before, rows = upload.size, self._group_rows(table, size)
        writer.write_table(table, row_group_size=rows)
        self._groups += -(-table.num_rows // rows)
        self._decoded_done += size
        self._settings.ratio.note(upload.size - before, size)
        upload.settle()

    def _drop_buffered(self) -> None:
        self._large.clear()
        self._small.clear()
        self._large_rows = self._small_rows = self._decoded = self.buffered = 0

    def _group_rows(self, table: pa.Table, size: int) -> int:
        """Rows per row group: one group, unless a single batch was larger than a group may be."""
        settings = self._settings
        groups = max(1, round(size / settings.row_group_bytes))
        rows: int = -(-table.num_rows // groups)
        return max(1, min(rows, settings.row_group_rows or rows))

    def _open(self, table: pa.Table) -> tuple[pq.ParquetWriter, Upload]:
        if self._writer is None or self._upload is None:
            self._upload = Upload(self._stage(self.target))
            self._writer, self._bloom_bytes = self._settings.encoding.writer(
                self._upload, self._schema, table, self._settings.row_group_bytes
            )
        return self._writer, self._upload

    def finish(self) -> StagedFile:
        """The rest, the footer, and all of it durable. May be asked again after Retry. Blocks."""
        self.flush()
        ranges = tuple(joined(self.ranges))
        writer, upload = self._open(self._schema.empty_table())
        if not self._closed:
            writer.add_key_value_metadata(self._metadata(ranges))
            writer.close()
            # A collector of metadata would make the end of a writer that was given up an error.
            self.footer = writer.writer.metadata
            self._closed = True
        upload.settle()
        handle = {**upload.staged.finish(), **self.note}
        dead = self.target.endswith(".dead")
        return StagedFile(self.target, handle, upload.size, self.rows, ranges, self.version, dead)

    def _metadata(self, ranges: tuple[RowRange, ...]) -> dict[str, str]:
        return {
            **self._settings.metadata,
            file_metadata.DELIVERY: delivery_of(self.target) or "",
            file_metadata.RANGES: json.dumps(ranges),
            file_metadata.STREAMS: json.dumps(self.streams.to_json()),
            file_metadata.SCHEMA_VERSION: str(self.version),
        }

    def abort(self) -> None:
        """Drop everything; staged bytes may be deleted at once."""
        self._drop_buffered()
        if self._upload is not None:
            self._upload.abort()


class Upload:
    """The file object that an encoder writes to. It never raises there, because an error inside the
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
            # The bytes behind the failed ones were dropped: no later call can mend the file.
            raise StagingFailed(self._error.message, **self._error.facts) from self._error
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        if self._error is None:
            self._error = StagingFailed("this file was given up")
        self.staged.abort()
