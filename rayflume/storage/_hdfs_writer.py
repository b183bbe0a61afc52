"""A staged file on HDFS while it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rayflume.errors import RayflumeError, StagingFailed, StorageUnavailable

if TYPE_CHECKING:
    import pyarrow as pa

    from rayflume.interfaces import Json
    from rayflume.storage._hdfs_client import NewFile

_PIECE = 1 << 20


class HdfsWriter:
    """One staged file. After an error only `abort` helps: nobody knows what the data nodes have.

    Up to 1 MiB is kept before a data node is bothered, and up to 200 packets of 64 KiB are on their
    way to one that is slow. Every block is synced before the next begins.
    """

    def __init__(self, file: NewFile, block_size: int, handle: dict[str, Json]) -> None:
        self._file = file
        self._block_size = block_size
        self._handle = handle
        self._buffer = bytearray()
        self._sent = 0
        self._finished = False
        self._error: RayflumeError | None = None

    @property
    def held_bytes(self) -> int:
        return len(self._buffer)

    def write(self, data: pa.Buffer | bytes | memoryview) -> int:
        """Append to the staged file. Blocks when data nodes are slow."""
        view = memoryview(data).cast("B")
        with self._guarded():
            for start in range(0, len(view), _PIECE):
                self._buffer += view[start : start + _PIECE]
                if len(self._buffer) >= _PIECE:
                    self._send()
        return len(view)

    def finish(self) -> dict[str, Json]:
        """Sync and close the file; may be asked again after success. Blocks."""
        with self._guarded():
            if not self._finished:
                self._send()
                if self._sent % self._block_size:
                    self._file.hsync()
                self._file.close()
                self._finished = True
        return {**self._handle, "size": self._sent}

    def abort(self) -> None:
        """Delete the file. What cannot be deleted now is found by `staged` later. Blocks."""
        self._error = self._error or StagingFailed(f"{self._file.path} was given up")
        self._buffer.clear()
        with suppress(RayflumeError):
            self._file.drop()

    def _send(self) -> None:
        waiting, self._buffer = self._buffer, bytearray()
        while waiting:
            piece = waiting[: self._block_size - self._sent % self._block_size]
            self._file.write(piece)
            self._sent += len(piece)
            del waiting[: len(piece)]
            if self._sent % self._block_size == 0:
                self._file.hsync()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        if self._error is not None:
            raise self._error
        try:
            yield
        except RayflumeError as error:
            self._error = error
            if isinstance(error, StorageUnavailable):
                self._error = StagingFailed(error.message, **error.facts)
            raise self._error from error
