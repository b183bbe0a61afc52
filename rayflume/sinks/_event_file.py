"""One file of events being written: frames through an encoder, perhaps a codec, to the upload.

Nothing is opened at the store before FLUSH_BYTES are there, so a file that waits costs no
descriptor and no upload.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rayflume.interfaces import Json, RowRange, StagedFile
from rayflume.ranges import joined
from rayflume.serializer import SIZE, Data, Encoder
from rayflume.sinks._codecs import Compressor
from rayflume.sinks._files import Upload
from rayflume.sinks._lake import Stage
from rayflume.sinks._streams import StreamRanges

FLUSH_BYTES = 1 << 20
VERSION = 1
"""Of the schema of all files of events: they have none of their own."""


@dataclass(frozen=True)
class Making:
    """How one file is made. `roll_bytes`: bytes of bodies with which it is full; 0: never."""

    encoder: Encoder
    compressor: Compressor | None
    roll_bytes: int
    stage: Stage


class EventFile:
    """An OpenFile. One thread at a time."""

    footer_held = 0

    def __init__(self, target: str, making: Making) -> None:
        self.target = target
        self.bucket = posixpath.dirname(target)
        self.number = 0
        self.note: Mapping[str, Json] = {}
        self.rows = 0
        self.buffered = 0
        self.ranges: list[RowRange] = []
        self.streams = StreamRanges()
        self._making = making
        self._bodies = 0
        self._chunks: list[Data] = []
        self._upload: Upload | None = None
        self._ended = self._flushed = False

    @property
    def held(self) -> int:
        """Bytes of a block that is not full, and what the storage still holds, where it tells."""
        staged = None if self._upload is None else self._upload.staged
        return self._making.encoder.held + int(getattr(staged, "held_bytes", 0))

    @property
    def open_at_store(self) -> bool:
        return self._upload is not None

    @property
    def wants_flush(self) -> bool:
        return self.buffered >= FLUSH_BYTES

    @property
    def full(self) -> bool:
        return 0 < self._making.roll_bytes <= self._bodies

    def room(self, table: pa.RecordBatch, size: int) -> int:
        """As Flume: a file ends with the event that brings its bodies to `roll_bytes`."""
        if not self._making.roll_bytes:
            return int(table.num_rows)
        ends = np.cumsum(np.asarray(table.column(SIZE)), dtype=np.int64)
        wanted = self._making.roll_bytes - self._bodies
        return min(int(table.num_rows), int(np.searchsorted(ends, wanted)) + 1)

    def append(self, table: pa.RecordBatch, start: int, stop: int, size: int = 0) -> None:
        """Rows that were chosen among the journal rows `[start, stop)`."""
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1] = (self.ranges[-1][0], stop)
        else:
            self.ranges.append((start, stop))
        self.rows += table.num_rows
        self._bodies += int(np.asarray(table.column(SIZE)).sum(dtype=np.int64))
        self._take(self._making.encoder.encode(table))

    def _take(self, chunks: object) -> None:
        for chunk in chunks:  # type: ignore[attr-defined]
            self._chunks.append(chunk)
            self.buffered += len(memoryview(chunk))

    def flush(self) -> None:
        """Compress what is buffered and send it to the store. Blocks."""
        if self.buffered:
            upload = self._open()
            # Only now: until the store has opened the file this may be asked again.
            data = b"".join(map(memoryview, self._chunks))
            self._chunks.clear()
            self.buffered = 0
            compressor = self._making.compressor
            upload.write(data if compressor is None else compressor.compress(data))
            upload.settle()

    def _open(self) -> Upload:
        if self._upload is None:
            self._upload = Upload(self._making.stage(self.target))
        return self._upload

    def finish(self) -> StagedFile:
        """The rest, and all of it durable. May be asked again after Retry. Blocks."""
        if not self._ended:
            self._take(self._making.encoder.end())
            self._ended = True
        self.flush()
        upload = self._open()
        if self._making.compressor is not None and not self._flushed:
            self._flushed = True
            upload.write(self._making.compressor.flush())
        upload.settle()
        handle = {**upload.staged.finish(), **self.note}
        ranges = tuple(joined(self.ranges))
        return StagedFile(self.target, handle, upload.size, self.rows, ranges, VERSION)

    def abort(self) -> None:
        """Drop everything; staged bytes may be deleted at once."""
        self._chunks.clear()
        self.buffered = 0
        if self._upload is not None:
            self._upload.abort()
