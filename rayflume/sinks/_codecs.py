"""Compression of whole files, as Hadoop's codecs write it, so that Hadoop, Spark and other tools
read it: gzip (RFC 1952), deflate (RFC 1950), bzip2, zstd (RFC 8878; a frame for each piece), and
snappy and lz4 in the blocks of Hadoop's BlockCompressorStream: length of the raw bytes, length of
the packed ones, both 4 bytes big-endian, and the packed bytes.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import pyarrow as pa
from isal import isal_zlib

_CHUNK_BYTES = 128 << 10
"""Hadoop's readers have a buffer of 256 KiB for the packed and for the raw bytes of a block."""
_PACKAGE = "org.apache.hadoop.io.compress."


class Compressor(Protocol):
    """Bytes of one file, in order. `flush` ends it."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@dataclass(frozen=True)
class FileCodec:
    """A codec. `java_class`: what Hadoop calls it. `suffix`: by which it knows its files."""

    name: str
    suffix: str
    java_class: str
    begin: Callable[[], Compressor]

    def whole(self, data: bytes) -> bytes:
        """One piece, compressed as a file of its own."""
        compressor = self.begin()
        return compressor.compress(data) + compressor.flush()


class _Frames:
    """Each piece a frame."""

    def __init__(self, codec: str) -> None:
        self._codec = pa.Codec(codec)

    def compress(self, data: bytes) -> bytes:
        return cast("bytes", self._codec.compress(data, asbytes=True)) if data else b""

    def flush(self) -> bytes:
        return b""


class _Blocks(_Frames):
    """Hadoop's blocks, of one chunk each."""

    def compress(self, data: bytes) -> bytes:
        return b"".join(self._blocks(memoryview(data)))

    def _blocks(self, data: memoryview) -> Iterator[bytes]:
        for start in range(0, len(data), _CHUNK_BYTES):
            chunk = data[start : start + _CHUNK_BYTES]
            packed: bytes = self._codec.compress(chunk, asbytes=True)
            yield len(chunk).to_bytes(4, "big") + len(packed).to_bytes(4, "big")
            yield packed


CODECS: Mapping[str, FileCodec] = {
    codec.name: codec
    for codec in (
        FileCodec("gzip", ".gz", f"{_PACKAGE}GzipCodec", lambda: isal_zlib.compressobj(wbits=31)),
        FileCodec(
            "deflate", ".deflate", f"{_PACKAGE}DefaultCodec", lambda: isal_zlib.compressobj()
        ),
        FileCodec("bzip2", ".bz2", f"{_PACKAGE}BZip2Codec", bz2.BZ2Compressor),
        FileCodec("zstd", ".zst", f"{_PACKAGE}ZStandardCodec", lambda: _Frames("zstd")),
        FileCodec("snappy", ".snappy", f"{_PACKAGE}SnappyCodec", lambda: _Blocks("snappy")),
        FileCodec("lz4", ".lz4", f"{_PACKAGE}Lz4Codec", lambda: _Blocks("lz4_raw")),
    )
}
"""By rayflume's name."""
