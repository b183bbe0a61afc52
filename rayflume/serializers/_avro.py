"""Avro object container files: header, then blocks of records that are encoded already.

Avro specification 1.11, section Object Container Files. fastavro writes records one by one; here
records are frames, and a block is their bytes end to end.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
from isal import isal_zlib

from rayflume.serializer import FRAME, Data, contiguous

Codec: TypeAlias = Literal["null", "deflate", "snappy", "bzip2", "zstandard", "xz"]
SYNC_INTERVAL_MIN, SYNC_INTERVAL_MAX = 32, 1 << 30
"""As Avro's writer allows."""
_MAGIC = b"Obj\x01"


def varint(number: int) -> bytes:
    """A whole number of at least 0 as Avro's `long`: zigzag, then 7 bits a byte, lowest first."""
    rest, out = number << 1, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _deflate(data: bytes) -> bytes:
    squeezer = isal_zlib.compressobj(wbits=-15)
    return bytes(squeezer.compress(data) + squeezer.flush())


def _snappy(data: bytes) -> bytes:
    packed: bytes = pa.Codec("snappy").compress(data, asbytes=True)
    return packed + zlib.crc32(data).to_bytes(4, "big")


def _zstandard(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


_CODECS: Mapping[Codec, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": _deflate,
    "snappy": _snappy,
    "bzip2": bz2.compress,
    "zstandard": _zstandard,
    "xz": lzma.compress,
}


class Container:
    """An Encoder of one file. A block ends with the record that brings it to `interval` bytes.

    `schema`: JSON text. `name`: that of the file, which makes its sync marker.
    """

    def __init__(self, schema: str, codec: Codec, interval: int, name: str) -> None:
        self._sync = hashlib.sha256(name.encode()).digest()[:16]
        self._codec, self._squeeze = codec, _CODECS[codec]
        self._interval = interval
        self._schema = schema
        self._begun = False
        self._records = 0
        self._block: list[Data] = []
        self.held = 0

    def encode(self, rows: pa.RecordBatch) -> Sequence[Data]:
        return [*self._head(), *self._blocks(rows.column(FRAME))]

    def end(self) -> Sequence[Data]:
        return [*self._head(), *self._end_block()]

    def _head(self) -> list[Data]:
        if self._begun:
            return []
        self._begun = True
        pairs = {b"avro.codec": self._codec.encode(), b"avro.schema": self._schema.encode()}
        texts = [text for pair in pairs.items() for text in pair]
        meta = b"".join(varint(len(text)) + text for text in texts)
        return [_MAGIC + varint(len(pairs)) + meta + varint(0) + self._sync]

    def _blocks(self, frames: pa.BinaryArray) -> Iterator[Data]:
        offsets = np.frombuffer(frames.buffers()[1], np.int32)
        ends = offsets[frames.offset + 1 : frames.offset + len(frames) + 1].astype(np.int64)
        start, first = int(offsets[frames.offset]), 0
        while first < len(frames):
            wanted = start + self._interval - self.held
            stop = min(len(frames), int(np.searchsorted(ends, wanted)) + 1)
            self._block.append(contiguous(frames.slice(first, stop - first)))
            self._records += stop - first
            self.held += int(ends[stop - 1]) - start
            start, first = int(ends[stop - 1]), stop
            if self.held >= self._interval:
                yield from self._end_block()

    def _end_block(self) -> list[Data]:
        if not self._records:
            return []
        data = self._squeeze(b"".join(map(memoryview, self._block)))
        head = varint(self._records) + varint(len(data))
        self._records = self.held = 0
        self._block.clear()
        return [head, data, self._sync]
