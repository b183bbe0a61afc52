"""Dead letters of a lake, to be delivered again: their bodies and headers as they were.

A stream is one file, whose name has the delivery's id in it, so it is the same from every host and
for ever: a channel that has once taken a row never takes it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.batch import EventBatch, Extent, body_offsets
from rayflume.component import LOCAL_PATH, Component, Context, component, option
from rayflume.errors import SourceFailed
from rayflume.interfaces import Json, LakeReader, Storage, StreamPosition
from rayflume.lake import storage_for
from rayflume.units import ByteSize

PREFIX = "dead_letters/"
_HEADERS = pa.map_(pa.string(), pa.string())
_IDLE_MS = 20


@component
class DeadLetters(Component):
    """The rows of dead-letter files of a lake, once, for `rayflume replay`, which names the files
    and keeps others from replaying them.

    Guarantee: replayable, so exactly once with a durable channel.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "replayable"

    path: str = option(
        "The lake: a directory, or s3://bucket/prefix.",
        example="lake/clicks",
        min_length=1,
        json_schema_extra=LOCAL_PATH,
    )
    storage: dict[str, object] = option(
        "Options of the storage that the path names, such as endpoint and credentials.",
        factory=dict,
    )
    files: list[str] = option(
        "The files, relative to the lake, in the order in which they are read.",
        example=["_rayflume/dead_letters/0123456789abcdef-1-7-0.dead"],
    )
    batch_bytes: ByteSize = option(
        "Size of a batch; one row may go beyond.", default=8 * 1024 * 1024, ge=1, example="8MiB"
    )

    def build(self, context: Context) -> DeadLettersSource:
        storage = storage_for(self.path, self.storage, context)
        return DeadLettersSource(storage, self.files, self.batch_bytes)


@dataclass
class _Part:
    """A row group that is being handed out; its first row is number `start` of the file."""

    table: pa.RecordBatch
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.table)


class DeadLettersSource:
    """Hands out files one after the other. Implements interfaces.PollableSource. One row group at a
    time is in memory.
    """

    prefix = PREFIX
    idle_ms = _IDLE_MS

    def __init__(self, storage: Storage, files: list[str], batch_bytes: int) -> None:
        self._storage = storage
        self._files = list(dict.fromkeys(files))
        self._batch_bytes = batch_bytes
        self._next = dict.fromkeys(self._files, 0)
        self._accepted = dict.fromkeys(self._files, 0)
        self._cut = dict.fromkeys(self._files, 0)
        self._rows: dict[str, int] = {}
        """Rows of the files that were opened."""
        self._at = 0
        """Files before this one are handed out to their ends."""
        self._opened: tuple[str, pq.ParquetFile, LakeReader] | None = None
        self._part: _Part | None = None

    def start(self, positions: Mapping[str, StreamPosition]) -> None:
        for file in self._files:
            position = positions.get(PREFIX + file)
            if position is not None:
                self._next[file] = self._accepted[file] = position.next

    def poll(self) -> EventBatch | None:
        """Raises SourceFailed for a file that is gone or unreadable, and as the store does."""
        while self._at < len(self._files):
            file = self._files[self._at]
            part = self._part_at(file, self._next[file])
            if part is not None:
                return self._batch(file, part)
            self._at += 1
            self._close()
        return None

    def _batch(self, file: str, part: _Part) -> EventBatch:
        start = self._next[file]
        stop = min(part.end, self._cut[file]) if self._cut[file] > start else part.end
        rows: pa.RecordBatch = part.table.slice(start - part.start, stop - start)
        offsets = body_offsets(rows.column("body"))
        fitting = np.searchsorted(offsets, int(offsets[0]) + self._batch_bytes, side="right") - 1
        rows = rows.slice(0, max(1, int(fitting)))
        self._next[file] = start + rows.num_rows
        extent = Extent(PREFIX + file, start, self._next[file], rows.num_rows)
        headers = rows.column("headers")
        return EventBatch(
            rows.column("body"), {}, (extent,), headers if len(headers.keys) else None
        )

    def _part_at(self, file: str, row: int) -> _Part | None:
        """The row group with a row; None behind the last one. Blocks."""
        opened = self._open(file)
        if self._part is not None and self._part.start <= row < self._part.end:
            return self._part
        self._rows[file] = opened.metadata.num_rows
        start = 0
        for group in range(opened.num_row_groups):
            count = opened.metadata.row_group(group).num_rows
            if start <= row < start + count:
                self._part = _Part(self._read(file, opened, group), start)
                return self._part
            start += count
        if row > start:
            raise SourceFailed(f"{file} has {start} rows, but {row} of it were replayed already")
        return None

    def _open(self, file: str) -> pq.ParquetFile:
        if self._opened is None or self._opened[0] != file:
            self._close()
            try:
                reader = self._storage.open(file)
            except KeyError:
                raise SourceFailed(f"{file} is not in the lake any more") from None
            try:
                self._opened = file, pq.ParquetFile(reader), reader
            except (pa.ArrowException, OSError) as error:
                reader.close()
                raise SourceFailed(_unreadable(file, error)) from error
        return self._opened[1]

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[2].close()
        self._opened = self._part = None

    def _read(self, file: str, opened: pq.ParquetFile, group: int) -> pa.RecordBatch:
        try:
            table = opened.read_row_group(group, columns=["body", "headers"], use_threads=False)
            body = table.column("body").cast(pa.binary())
            headers = table.column("headers").cast(_HEADERS)
        except (pa.ArrowException, KeyError, OSError) as error:
            raise SourceFailed(_unreadable(file, error)) from error
        columns = [pa.concat_arrays(column.chunks) for column in (body, headers)]
        return pa.record_batch(columns, names=["body", "headers"])

    def rewind(self, stream: str, next: int, stop: int = 0) -> None:
        """Raises SourceFailed for a stream that is not one of the files."""
        file = stream.removeprefix(PREFIX)
        if not stream.startswith(PREFIX) or file not in self._next:
            raise SourceFailed(f"the stream {stream!r} is none of the dead-letter files")
        self._next[file], self._cut[file] = next, stop
        self._at = min(self._at, self._files.index(file))

    def accepted(self, batch: EventBatch) -> None:
        """Nothing is renamed or deleted: whoever replays notes which files are done."""
        for extent in batch.extents:
            file = extent.stream.removeprefix(PREFIX)
            self._accepted[file] = max(self._accepted[file], extent.end)

    def note_end(self, unterminated: bool = False) -> None:
        """The input has an end already."""

    def at_end(self) -> bool:
        return self._at >= len(self._files)

    def retired(self) -> list[str]:
        # A stream stays known for ever: were it forgotten, its rows could come again.
        return []

    def describe(self) -> dict[str, Json]:
        """`files_left`: those of which a row is not durable in the channels, or may not be."""
        done = sum(self._accepted[file] >= rows for file, rows in self._rows.items())
        return {"files": len(self._files), "files_left": len(self._files) - done}

    def stop(self) -> None:
        self._close()
        self._storage.close()


def _unreadable(file: str, error: Exception) -> str:
    return (
        f"{file} is no dead-letter file of rayflume ({error}): move it away and replay the others"
    )
