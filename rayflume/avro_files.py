"""Avro container files: header and blocks, without looking into the records.

Source: Apache Avro specification 1.11, section Object Container Files.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
BLOCK_BYTES_MAX = 64 * 2**20
"""Largest block, also when it is decompressed (S3)."""
_RATIO_MAX = 100
# Below so many bytes a high ratio harms nobody.
_RATIO_FREE = 2**20
_HEADER_BYTES_MAX = 16 * 2**20
_HEADER_NAMES_MAX = 1_000
_LZMA_BYTES_MAX = 128 * 2**20
"""Memory for a dictionary, whose size a block names itself; `xz -9` takes 65 MiB."""
_RECORDS_MAX = 2**24
_VARINT_BYTES_MAX = 10
_READ = 2**16


class NotAvro(ValueError):
    """The bytes are no Avro container; the text says why."""


@dataclass(frozen=True)
class Header:
    """What a container begins with. `end`: where its first block begins."""

    metadata: Mapping[str, bytes]
    sync: bytes
    end: int

    @property
    def codec(self) -> str:
        return self.metadata.get("avro.codec", b"null").decode("ascii", "replace")

    @property
    def schema(self) -> str:
        """JSON. Raises NotAvro if there is none."""
        try:
            return self.metadata["avro.schema"].decode()
        except (KeyError, UnicodeDecodeError):
            raise NotAvro("it has no schema") from None


@dataclass(frozen=True)
class Block:
    """One block as it lies in a file: `count` records, `[start, end)` of the file with its sync
    mark.
    """

    count: int
    data: bytes
    start: int
    end: int


Container: TypeAlias = "int | bytes"
"""The descriptor of a file, or all of its bytes."""


class _Bytes:
    """Reads forward from a place in a file; what is missing is NotAvro. Raises OSError."""

    def __init__(self, file: Container, place: int, stop: int) -> None:
        self._file = file
        self._stop = stop
        self._data = b""
        self._at = 0
        self.place = place

    def take(self, count: int) -> bytes:
        if len(self._data) - self._at < count:
            wanted = max(_READ, count)
            self._data = self._read(min(wanted, self._stop - self.place))
            self._at = 0
            if len(self._data) < count:
                raise NotAvro(f"it ends in the middle of a block, at byte {self._stop}")
        taken = self._data[self._at : self._at + count]
        self._at += count
        self.place += count
        return taken

    def _read(self, count: int) -> bytes:
        if isinstance(self._file, bytes):
            return self._file[self.place : self.place + count]
        return os.pread(self._file, count, self.place)

    def long(self) -> int:
        value = 0
        for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise NotAvro(f"byte {self.place} ends no number")

    def text(self) -> bytes:
        length = self.long()
        if not 0 <= length <= _HEADER_BYTES_MAX:
            raise NotAvro("its header is longer than 16 MiB")
        return self.take(length)


def read_header(file: Container, size: int) -> Header:
    """The header of a file of `size` bytes. Raises NotAvro, OSError. Blocks."""
    source = _Bytes(file, 0, size)
    if size < len(MAGIC) or source.take(len(MAGIC)) != MAGIC:
        raise NotAvro("it does not begin as an Avro file does")
    metadata: dict[str, bytes] = {}
    while (count := source.long()) != 0:
        if count < 0:
            count = -count
            source.long()
        for _ in range(count):
            name = source.text().decode("utf-8", "replace")
            metadata[name] = source.text()
            if source.place > _HEADER_BYTES_MAX or len(metadata) > _HEADER_NAMES_MAX:
                raise NotAvro(
                    f"its header is longer than 16 MiB or has more than {_HEADER_NAMES_MAX:,} names"
                )
    sync = source.take(SYNC_BYTES)
    return Header(metadata, sync, source.place)


def read_block(file: Container, header: Header, start: int, stop: int) -> Block:
    """The block at a place of the file. Raises NotAvro, OSError. Blocks."""
    source = _Bytes(file, start, stop)
    count, length = source.long(), source.long()
    if not 0 <= count <= _RECORDS_MAX or not 0 <= length <= BLOCK_BYTES_MAX:
        raise NotAvro(f"the block at byte {start} has {count} records in {length} bytes")
    data = source.take(length)
    if source.take(SYNC_BYTES) != header.sync:
        raise NotAvro(f"the block at byte {start} does not end with the file's sync mark")
    return Block(count, data, start, source.place)


def decompressed(header: Header, block: Block) -> bytes:
    """The records of a block, one behind the other. Raises NotAvro, also for a block that grows
    beyond BLOCK_BYTES_MAX or a hundred times its size.
    """
    codec, data = header.codec, block.data
    limit = min(BLOCK_BYTES_MAX, max(_RATIO_FREE, _RATIO_MAX * len(data)))
    try:
        if codec == "null":
            return data
        if codec == "deflate":
            found = zlib.decompressobj(-15).decompress(data, limit + 1)
        elif codec == "bzip2":
            found = bz2.BZ2Decompressor().decompress(data, limit + 1)
        elif codec == "xz":
            found = lzma.LZMADecompressor(memlimit=_LZMA_BYTES_MAX).decompress(data, limit + 1)
        elif codec == "zstandard":
            with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
                found = stream.read(limit + 1)
        elif codec == "snappy":
            found = _snappy(data, limit)
        else:
            raise NotAvro(f"its codec {codec!r} is unknown")
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        if isinstance(error, NotAvro):
            raise
        raise NotAvro(f"the block at byte {block.start} is no {codec}: {error}") from None
    if len(found) > limit:
        raise NotAvro(f"the block at byte {block.start} grows beyond {limit} bytes")
    return found


def _snappy(data: bytes, limit: int) -> bytes:
    """Raw Snappy, whose length is its first number, and a CRC-32 of what it holds."""
    size = shift = 0
    for byte in data[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > limit:
        return bytes(limit + 1)
    found: bytes = pa.Codec("snappy").decompress(data[:-4], size, asbytes=True)
    if zlib.crc32(found).to_bytes(4, "big") != data[-4:]:
        raise NotAvro("the checksum of a block is wrong")
    return found
