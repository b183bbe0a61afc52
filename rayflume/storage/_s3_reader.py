"""A visible object, read piece by piece: each read is one request, but for the end of the object.

Parquet is read from its end: the footer tells where the rest lies. So the last bytes are asked for
first, and that answer tells the size, too.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

from rayflume.errors import StorageUnavailable

if TYPE_CHECKING:
    from rayflume.storage._s3_client import S3Client

TAIL_BYTES = 64 << 10
"""What pyarrow reads of a Parquet file first."""

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class S3Reader(io.RawIOBase):
    """One object. Raises KeyError when there is none, also later, if it was removed meanwhile.

    No version is pinned: lake files are never overwritten.
    """

    def __init__(self, client: S3Client, key: str, path: str) -> None:
        super().__init__()
        self._client = client
        self._key = key
        self._path = path
        self._at = 0
        self._tail_at, self._size, self._tail = self._last_bytes()

    def _last_bytes(self) -> tuple[int, int, bytes]:
        """Where the tail begins, the size of the object, the tail."""
        answer = self._client.ask("get_object", Key=self._key, Range=f"bytes=-{TAIL_BYTES}")
        if answer.absent:
            raise KeyError(self._path)
        if answer.code == "InvalidRange":  # an empty object has no last byte
            return 0, 0, b""
        tail = self._client.body(answer, self._key)
        match = _RANGE.fullmatch(str(answer.data.get("ContentRange", "")))
        return (int(match[1]), int(match[2]), tail) if match else (0, len(tail), tail)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if begin + offset < 0:
            raise ValueError(f"{self._path}: {offset} is before the beginning of the file")
        self._at = begin + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - whatever has the buffer protocol
        view = memoryview(buffer).cast("B")
        stop = min(self._size, self._at + len(view))
        if stop <= self._at:
            return 0
        data = self._bytes(self._at, stop)
        view[: len(data)] = data
        self._at = stop
        return len(data)

    def _bytes(self, start: int, stop: int) -> bytes:
        if start >= self._tail_at:
            return self._tail[start - self._tail_at : stop - self._tail_at]
        answer = self._client.ask("get_object", Key=self._key, Range=f"bytes={start}-{stop - 1}")
        if answer.absent:
            raise KeyError(self._path)
        data = self._client.body(answer, self._key)
        if len(data) != stop - start:
            raise StorageUnavailable(
                f"s3://{self._client.bucket}/{self._key}: {len(data)} of {stop - start} bytes came"
            )
        return data
