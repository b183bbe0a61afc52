"""What an Arrow IPC stream takes in memory, read from its messages before Arrow reads them.

Arrow allocates what a compressed buffer says it will be, and lets many buffers share bytes. Source:
Arrow columnar format 1.5, `Message.fbs`; the FlatBuffers internals of tables and vectors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from rayflume.formats._unpacked import VALUE_BYTES

_DICTIONARY, _BATCH = 2, 3
_MESSAGE_TYPE, _MESSAGE_HEADER = 1, 2
_DICTIONARY_DATA = 1
_BATCH_NODES, _BATCH_BUFFERS, _BATCH_COMPRESSION = 1, 2, 3
_NOT_COMPRESSED = -1


def stream_bytes(data: pa.Buffer) -> int:
    """Bytes of all values of a stream, uncompressed. Raises ValueError or as pyarrow does."""
    total = 0
    for message in pa.ipc.MessageReader.open_stream(data):
        if message.type in ("record batch", "dictionary"):
            total += _batch_bytes(message)
    return total


def _batch_bytes(message: pa.ipc.Message) -> int:
    root = _Table.root(bytes(message.metadata))
    batch = root.table(_MESSAGE_HEADER)
    if root.byte(_MESSAGE_TYPE) == _DICTIONARY:
        batch = batch.table(_DICTIONARY_DATA)
    lengths = [length for length, _ in batch.pairs(_BATCH_NODES)]
    buffers = list(batch.pairs(_BATCH_BUFFERS))
    if min((*lengths, *(n for pair in buffers for n in pair)), default=0) < 0:
        raise ValueError("a length or an offset is below zero")
    total = VALUE_BYTES * sum(lengths)
    if not batch.has(_BATCH_COMPRESSION):
        return total + sum(length for _, length in buffers)
    body = memoryview(message.body or b"")
    return total + sum(_declared(body, *buffer) for buffer in buffers)


def _declared(body: memoryview, offset: int, length: int) -> int:
    """The first eight bytes of a compressed buffer are its length uncompressed."""
    if not length:
        return 0
    if offset + length > len(body) or length < 8:
        raise ValueError("a buffer is not inside its message")
    (size,) = struct.unpack_from("<q", body, offset)
    if size == _NOT_COMPRESSED:
        return length
    if size < 0:
        raise ValueError("a buffer has a length below zero")
    return int(size)


class _Table:
    """A table of FlatBuffers: its fields by their numbers. A field that is not there is 0."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - self._number("<i", at)
        self._fields_end = self._fields + self._number("<H", self._fields)

    @staticmethod
    def root(data: bytes) -> _Table:
        return _Table(data, struct.unpack_from("<I", data)[0])

    def _number(self, form: str, at: int) -> int:
        if at < 0:
            raise ValueError("a place before the first byte")
        try:
            return int(struct.unpack_from(form, self._data, at)[0])
        except struct.error:
            raise ValueError("a place behind the last byte") from None

    def _place(self, field: int) -> int:
        entry = self._fields + 4 + 2 * field
        if entry + 2 > self._fields_end:
            return 0
        offset = self._number("<H", entry)
        return self._at + offset if offset else 0

    def has(self, field: int) -> bool:
        return self._place(field) != 0

    def byte(self, field: int) -> int:
        return self._number("<B", self._place(field)) if self.has(field) else 0

    def table(self, field: int) -> _Table:
        place = self._place(field)
        if not place:
            raise ValueError("a message lacks its content")
        return _Table(self._data, place + self._number("<I", place))

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """A vector of structs of two 64-bit numbers."""
        place = self._place(field)
        if not place:
            return
        start = place + self._number("<I", place)
        count = self._number("<I", start)
        if start + 4 + 16 * count > len(self._data):
            raise ValueError("a vector ends behind the last byte")
        found = np.frombuffer(self._data, "<i8", 2 * count, start + 4).reshape(count, 2)
        yield from ((first, second) for first, second in found.tolist())
