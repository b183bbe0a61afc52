"""Hadoop SequenceFiles, version 6, with a LongWritable as key and a BytesWritable or Text as value,
as Flume's `hdfs.writeFormat` makes them; uncompressed, or compressed by blocks as Flume does.

The layout is that of the class comment of `org.apache.hadoop.io.SequenceFile`; whole numbers are
big-endian, `vint` is `WritableUtils.writeVInt`. All of a batch is laid out by numpy and Arrow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch
from rayflume.escapes import TIME_HEADER
from rayflume.interfaces import Decoded
from rayflume.serializer import (
    FRAME,
    PLAIN,
    SIZE,
    Data,
    Encoder,
    bodies,
    contiguous,
    framed,
    joined,
)
from rayflume.sinks._codecs import FileCodec
from rayflume.sinks._event_time import event_times

WriteFormat: TypeAlias = "Literal['writable', 'text']"
KEY = ":key"

_IO = "org.apache.hadoop.io."
_VALUES: dict[WriteFormat, str] = {"writable": "BytesWritable", "text": "Text"}
_KEY_BYTES = 8
_SYNC_BYTES = 100 << 10
"""Bytes between two sync markers, as in Hadoop 3: a reader finds a record from anywhere."""
_BLOCK_BYTES = 1_000_000
"""Keys and values of a compressed block, as `io.seqfile.compress.blocksize` says."""
_ESCAPE = b"\xff\xff\xff\xff"


def vint(number: int) -> bytes:
    """A whole number of at least 0: itself up to 127, else minus 112 and how many bytes follow."""
    if number <= 127:
        return bytes([number])
    size = -(-number.bit_length() // 8)
    return bytes([256 - 112 - size]) + number.to_bytes(size, "big")


class SequenceSerializer:
    """A Serializer: a frame is a body. Column KEY: the time of the header `timestamp`, null where
    an event has none; one that is no time is a bad row.
    """

    schema = pa.schema([*PLAIN, pa.field(KEY, pa.int64())])
    apart: tuple[str, ...] = ()

    def __init__(self, values: WriteFormat, codec: FileCodec | None) -> None:
        self._values: WriteFormat = values
        self._codec = codec

    def serialize(self, batch: EventBatch) -> Decoded:
        body = bodies(batch)
        column = batch.headers.get(TIME_HEADER)
        field = column if isinstance(column, str) else batch.header(TIME_HEADER)
        times = event_times(field, batch.num_rows)
        missing = None if times.known is None else ~times.known
        keys = pa.array(times.ms, mask=missing)
        table = pa.record_batch([*framed(body, body).columns, keys], schema=self.schema)
        if times.unreadable is None or not times.unreadable.any():
            return Decoded(table)
        wrong = f"the header {TIME_HEADER!r} is no time in epoch milliseconds or out of range"
        bad = tuple((row, wrong) for row in np.flatnonzero(times.unreadable).tolist())
        good = pa.array(np.flatnonzero(~times.unreadable))
        return Decoded(table.take(good), good, bad)

    def encoder(self, name: str, ingest_ms: int) -> Encoder:
        sync = hashlib.sha256(name.encode()).digest()[:16]
        head = _header(self._values, self._codec, sync)
        if self._codec is None:
            return _Records(head, self._values, ingest_ms)
        return _Blocks(head, self._values, ingest_ms, self._codec)


class _Header:
    """What a file begins with, once, and its sync marker."""

    def __init__(self, data: bytes, sync: bytes) -> None:
        self.sync = _ESCAPE + sync
        self.size = len(data)
        self._data: bytes | None = data

    def take(self) -> list[Data]:
        data, self._data = self._data, None
        return [] if data is None else [data]


def _header(values: WriteFormat, codec: FileCodec | None, sync: bytes) -> _Header:
    def text(value: str) -> bytes:
        return vint(len(value)) + value.encode()

    parts = [b"SEQ\x06", text(f"{_IO}LongWritable"), text(_IO + _VALUES[values])]
    parts += [b"\0\0"] if codec is None else [b"\1\1", text(codec.java_class)]
    return _Header(b"".join([*parts, bytes(4), sync]), sync)


def _keys(rows: pa.RecordBatch, ingest_ms: int) -> npt.NDArray[np.int64]:
    filled: npt.NDArray[np.int64] = np.asarray(rows.column(KEY).fill_null(ingest_ms))
    return filled


def _lengths(values: WriteFormat, sizes: npt.NDArray[np.int32]) -> pa.BinaryArray:
    """What stands before the bytes of each value: its length, 4 bytes or a vint."""
    if values == "writable":
        return _fixed(sizes.astype(">i4").view(np.uint8), 4)
    distinct, places = np.unique(sizes, return_inverse=True)
    texts = pa.array([vint(int(size)) for size in distinct], pa.binary())
    return texts.take(pa.array(places))


def _fixed(data: npt.NDArray[np.uint8], width: int) -> pa.BinaryArray:
    """Bytes, `width` for each row, as a binary array."""
    flat = np.ascontiguousarray(data).reshape(-1)
    offsets = np.arange(0, len(flat) + 1, width, dtype=np.int32)
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(flat)]
    )


class _Records:
    """An Encoder: record after record, not compressed."""

    held = 0

    def __init__(self, head: _Header, values: WriteFormat, ingest_ms: int) -> None:
        self._head = head
        self._values: WriteFormat = values
        self._ingest_ms = ingest_ms
        self._since_sync = 16

    def encode(self, rows: pa.RecordBatch) -> Sequence[Data]:
        return [*self._head.take(), *self._spaced(self._records(rows))]

    def end(self) -> Sequence[Data]:
        return self._head.take()

    def _records(self, rows: pa.RecordBatch) -> pa.BinaryArray:
        """Length of key and value, length of the key, key and value of each row."""
        sizes = np.asarray(rows.column(SIZE))
        lengths = _lengths(self._values, sizes)
        prefix = np.zeros((len(sizes), 16), np.uint8)
        whole = _KEY_BYTES + sizes.astype(np.int64) + np.asarray(pc.binary_length(lengths))
        prefix[:, 0:4] = whole.astype(">i4")[:, None].view(np.uint8)
        prefix[:, 7] = _KEY_BYTES
        keys = _keys(rows, self._ingest_ms).astype(">i8")
        prefix[:, 8:16] = keys[:, None].view(np.uint8)
        return joined(_fixed(prefix, 16), lengths, rows.column(FRAME))

    def _spaced(self, records: pa.BinaryArray) -> Iterator[Data]:
        """The records, with a sync marker before one that is far enough behind the last."""
        offsets = np.frombuffer(records.buffers()[1], np.int32)[records.offset :]
        starts = offsets[: len(records) + 1].astype(np.int64)
        first = 0
        while first < len(records):
            wanted = int(starts[first]) + _SYNC_BYTES - self._since_sync
            stop = max(first, int(np.searchsorted(starts[:-1], wanted)))
            if stop > first:
                yield contiguous(records.slice(first, stop - first))
                self._since_sync += int(starts[stop] - starts[first])
            if stop < len(records):
                yield self._head.sync
                self._since_sync = 0
                yield contiguous(records.slice(stop, 1))
                self._since_sync += int(starts[stop + 1] - starts[stop])
            first = stop + 1


class _Blocks:
    """An Encoder: blocks of records, whose lengths, keys and values are compressed each together.
    A block ends with the record that brings it to _BLOCK_BYTES.
    """

    def __init__(
        self, head: _Header, values: WriteFormat, ingest_ms: int, codec: FileCodec
    ) -> None:
        self._head = head
        self._values: WriteFormat = values
        self._ingest_ms = ingest_ms
        self._codec = codec
        self._pieces: list[tuple[npt.NDArray[np.int64], pa.BinaryArray]] = []
        self.held = 0

    def encode(self, rows: pa.RecordBatch) -> Sequence[Data]:
        return [*self._head.take(), *self._filled(rows)]

    def end(self) -> Sequence[Data]:
        return [*self._head.take(), *self._block()]

    def _filled(self, rows: pa.RecordBatch) -> Iterator[Data]:
        lengths = _lengths(self._values, np.asarray(rows.column(SIZE)))
        values = joined(lengths, rows.column(FRAME))
        keys = _keys(rows, self._ingest_ms)
        ends = np.cumsum(np.asarray(pc.binary_length(values)).astype(np.int64) + _KEY_BYTES)
        first = done = 0
        while first < len(values):
            wanted = done + _BLOCK_BYTES - self.held
            stop = min(len(values), int(np.searchsorted(ends, wanted)) + 1)
            self._pieces.append((keys[first:stop], values.slice(first, stop - first)))
            self.held += int(ends[stop - 1]) - done
            first, done = stop, int(ends[stop - 1])
            if self.held >= _BLOCK_BYTES:
                yield from self._block()

    def _block(self) -> Iterator[Data]:
        if not self._pieces:
            return
        keys = np.concatenate([keys for keys, _ in self._pieces])
        values = pa.concat_arrays([values for _, values in self._pieces])
        self._pieces.clear()
        self.held = 0
        sizes = np.asarray(pc.binary_length(values))
        distinct, places = np.unique(sizes, return_inverse=True)
        texts = pa.array([vint(int(size)) for size in distinct], pa.binary())
        value_lengths = contiguous(texts.take(pa.array(places)))
        yield self._head.sync
        yield vint(len(keys))
        key_lengths = bytes([_KEY_BYTES]) * len(keys)
        for data in (key_lengths, keys.astype(">i8").tobytes(), value_lengths, contiguous(values)):
            packed = self._codec.whole(bytes(memoryview(data)))
            yield vint(len(packed))
            yield packed
