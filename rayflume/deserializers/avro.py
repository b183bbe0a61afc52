"""Avro container files as one row per record."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

import fastavro
import numpy as np
import pyarrow as pa
from fastavro.schema import SchemaParseException, fingerprint, to_parsing_canonical_form

from rayflume.avro_files import (
    SYNC_BYTES,
    Header,
    NotAvro,
    decompressed,
    read_block,
    read_header,
)
from rayflume.component import component, option
from rayflume.deserializer import (
    DeserializerOptions,
    Settings,
    Unreadable,
    read_behind,
)
from rayflume.deserializers._avro_types import Json, Walk
from rayflume.lines import TAIL_BYTES, Outcome, Piece, Rows
from rayflume.lines import fingerprint as fingerprint_of
from rayflume.units import ANY_CASE

if TYPE_CHECKING:
    from fastavro.types import Schema

SchemaType = Literal["hash", "literal"]
_HEADERS: dict[SchemaType, str] = {
    "hash": "flume.avro.schema.hash",
    "literal": "flume.avro.schema.literal",
}


@component
class Avro(DeserializerOptions):
    """One row per record of an Avro file, its body the record in Avro's binary encoding.

    Bodies are the file's own bytes; nothing is decoded, so any schema will do. Places are between
    blocks: a batch has whole blocks, and may be one block larger than `batch_bytes`. A file that is
    no Avro file, or is cut off, ends the source with an error. Needs rayflume[avro].
    """

    empty_is_row: ClassVar[bool] = False

    schema_type: Annotated[SchemaType, ANY_CASE] = option(
        "Which header tells a row's schema: `hash` writes `flume.avro.schema.hash`, the schema's "
        "CRC-64-AVRO fingerprint as 16 hexadecimal digits (low byte first, as Flume writes it), "
        "`literal` writes the schema itself as JSON into `flume.avro.schema.literal`.",
        default="hash",
    )

    def open(self, settings: Settings) -> AvroDeserializer:
        return AvroDeserializer(self.schema_type, settings)

    def taken_over(self, fd: int, offset: int) -> int:
        """Flume notes where the sync mark before a block begins."""
        if offset == 0:
            return 0
        header = _header(fd)
        if os.pread(fd, SYNC_BYTES, offset) != header.sync:
            raise Unreadable(f"byte {offset} is not between two of its blocks")
        return offset + SYNC_BYTES


def _header(fd: int) -> Header:
    try:
        return read_header(fd, os.fstat(fd).st_size)
    except NotAvro as error:
        raise Unreadable(str(error)) from None


@lru_cache(64)
def _known(schema: str) -> tuple[Walk, str, str]:
    """How to walk along a schema, its fingerprint, and its text. Raises NotAvro."""
    try:
        given = json.loads(schema)
        parsed = cast("Json", fastavro.parse_schema(cast("Schema", given)))
        mark = fingerprint(to_parsing_canonical_form(cast("Schema", given)), "CRC-64-AVRO")
        walk = Walk.of(parsed)
    except (ValueError, KeyError, TypeError, SchemaParseException, RecursionError) as error:
        raise NotAvro(f"its schema is none: {error}") from None
    return walk, mark, json.dumps(given, separators=(",", ":"), ensure_ascii=False)


class AvroDeserializer:
    """Implements rayflume.deserializer.Deserializer. `rows_max` is kept to whole blocks."""

    def __init__(self, schema_type: SchemaType, settings: Settings) -> None:
        self._schema_type = schema_type
        self._batch_bytes = settings.batch_bytes
        self._rows_max = settings.rows_max
        self._headers: dict[tuple[int, int, int, int], Header] = {}
        self.clear()

    def clear(self) -> None:
        self._blocks: list[pa.BinaryArray] = []
        self._starts: list[int] = []
        self._pieces: list[Piece] = []
        self._rows: list[int] = []
        self._hashes: list[str] = []
        self._schemas: list[str | None] = []
        self._used = self._count = 0

    @property
    def room(self) -> int:
        is_full = self._rows_max and self._count >= self._rows_max
        return 0 if is_full else self._batch_bytes - self._used

    @property
    def pieces(self) -> int:
        return len(self._pieces)

    def _header_of(self, fd: int) -> Header:
        status = os.fstat(fd)
        key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        if key not in self._headers:
            self._headers.clear()
            self._headers[key] = _header(fd)
        return self._headers[key]

    def read(self, fd: int, start: int, stop: int, expect: str) -> Outcome:
        if read_behind(fd, start, 0, expect) is None:
            return Outcome.CHANGED
        header = self._header_of(fd)
        try:
            walk, mark, text = _known(header.schema)
            place, first, count = start or header.end, self._used, self._count
            while place < stop and self.room > 0:
                place = self._add_block(fd, header, walk, (place, stop))
        except NotAvro as error:
            raise Unreadable(str(error)) from None
        if place == start:
            return Outcome.NO_ROOM
        before = max(0, place - TAIL_BYTES)
        self._hashes.append(fingerprint_of(os.pread(fd, place - before, before)))
        at = place - start
        # `start`, `base`, `at` and `stop` of a piece are only about its end here.
        self._pieces.append(Piece(start, start, first, first + at, b"", place == stop))
        self._rows.append(self._count - count)
        self._schemas.append(mark if self._schema_type == "hash" else text)
        return Outcome.ROWS

    def _add_block(self, fd: int, header: Header, walk: Walk, place: tuple[int, int]) -> int:
        block = read_block(fd, header, *place)
        data = decompressed(header, block)
        ends = walk.ends(np.frombuffer(data, np.uint8), block.count)
        used = int(ends[-1]) if len(ends) else 0
        if len(ends) != block.count or used != len(data):
            raise NotAvro(f"the block at byte {block.start} does not have the file's schema")
        offsets = np.concatenate([[0], ends]).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        self._blocks.append(pa.BinaryArray.from_buffers(pa.binary(), block.count, buffers))
        self._starts += [block.start] if block.count else []
        self._used += len(data)
        self._count += block.count
        return block.end

    def take(self, rows_max: int) -> Rows:
        body = pa.concat_arrays(self._blocks) if self._blocks else pa.array([], pa.binary())
        counts = [len(block) for block in self._blocks if len(block)]
        offsets = np.repeat(np.array(self._starts, np.int64), counts)
        found = Rows(
            body,
            self._pieces,
            self._rows,
            offsets,
            self._hashes,
            {_HEADERS[self._schema_type]: self._schemas},
        )
        self.clear()
        return found
