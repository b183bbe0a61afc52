"""Event serializers: what a sink of plain files asks of them, and what such files are made of.

A serializer turns a whole batch into frames, the bytes of one event each; an encoder makes the
bytes of one file of frames. So a file can take any of the frames, in order, and events are divided
among files after the dear part of the work is done.

    E1  Every event is in `table` or in `bad`, as a format's rows are (Decoded).
    E2  `table` begins with FRAME (binary) and SIZE (int32): the bytes that an event becomes, and
        those of its body, which rolling by size counts. Columns behind them are the serializer's
        own; their names begin with a colon, so that no header is named so.
    E3  The same batch always gives the same frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch
from rayflume.interfaces import Decoded

Data: TypeAlias = "bytes | memoryview | pa.Buffer"

FRAME, SIZE = ":frame", ":size"
EMPTY = pa.scalar(b"", pa.binary())


class Encoder(Protocol):
    """The bytes of one file, front to back. `held`: bytes it keeps in memory."""

    @property
    def held(self) -> int: ...
    def encode(self, rows: pa.RecordBatch) -> Sequence[Data]:
        """What follows in the file; may keep some back."""
        ...

    def end(self) -> Sequence[Data]:
        """The rest of the file."""
        ...


class Serializer(Protocol):
    """Events to frames, vectorised (E1 to E3). Thread-safe.

    `schema`: of `table`. `apart`: columns in which all events of a file are equal.
    """

    @property
    def schema(self) -> pa.Schema: ...
    @property
    def apart(self) -> tuple[str, ...]: ...
    def serialize(self, batch: EventBatch) -> Decoded: ...
    def encoder(self, name: str, ingest_ms: int) -> Encoder:
        """For one new file. `name`: no other file has it. `ingest_ms`: the time of events without
        one, in epoch milliseconds.
        """
        ...


PLAIN = pa.schema([pa.field(FRAME, pa.binary()), pa.field(SIZE, pa.int32())])
"""The schema of a serializer without columns of its own."""


class Concatenated:
    """An Encoder of files that are their frames and nothing else."""

    held = 0

    def encode(self, rows: pa.RecordBatch) -> Sequence[Data]:
        return [contiguous(rows.column(FRAME))]

    def end(self) -> Sequence[Data]:
        return []


def contiguous(values: pa.BinaryArray) -> Data:
    """The values end to end, without a copy. No value is null."""
    if not len(values):
        return b""
    offsets = np.frombuffer(values.buffers()[1], np.int32)
    first, last = (int(offsets[values.offset + n]) for n in (0, len(values)))
    data = values.buffers()[2]
    return b"" if data is None else data.slice(first, last - first)


def bodies(batch: EventBatch) -> pa.BinaryArray:
    """The bodies of a batch, empty where they are null."""
    return pc.fill_null(batch.body, b"") if batch.body.null_count else batch.body


def framed(frames: pa.BinaryArray, body: pa.BinaryArray) -> pa.RecordBatch:
    """Frames, and the bodies they were made of, as a table without further columns."""
    return pa.record_batch([frames, pc.binary_length(body)], schema=PLAIN)


def joined(*pieces: pa.Array | pa.Scalar) -> pa.BinaryArray:
    """The pieces of each row end to end; null where one of them is null."""
    return pc.binary_join_element_wise(*pieces, EMPTY)
