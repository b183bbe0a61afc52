"""JSON rows that are written alike, read in one pass of machine code.

Programs write objects with the same keys in the same order and the same white space, so between the
values of such rows stand the same bytes: a *shape*, learned from one row. A row that has the pieces
of the shape, and plain values between them, is read without a look at what else it could have been.
(After Li et al., "Mison: A Fast JSON Parser for Data Analytics", VLDB 2017, which speculates on
what repeats.) Several times as fast as a parser that must expect anything.

All other rows are left to the reader of _json_read, which also says what is wrong with them. A row
that is read here gives the very values it would give there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rayflume.formats._json_kernel import (
    BOOLEAN,
    DECIMAL,
    DOUBLE,
    INTEGER,
    NULL,
    SCALAR,
    STRING,
    Columns,
    Pieces,
    as_block,
    read_rows,
)
from rayflume.spans import Mask, bits, block_of, no_spans, not_utf8, texts

ROWS_MIN = 64
"""With fewer rows of a shape the reader is as fast."""
_TRIES = 24
_FIELDS_MAX = 512
_FIELD = re.compile(
    rb'[ \t]*"(?P<name>[^"\\\x00-\x1f]*)"[ \t]*:[ \t]*'
    rb'(?:(?P<quote>")[^"\\]*"|(?P<value>[^ \t",:{}\[\]]+))'
)
_NEXT = re.compile(rb"[ \t]*,")
_END = re.compile(rb"[ \t]*}[ \t]*")


@dataclass(frozen=True)
class Shape:
    """The bytes that stand before each value, and behind the last one: `len(names) + 1` pieces.

    `quoted`: whether a value is a string; then its quotes belong to the pieces beside it.
    """

    names: tuple[str, ...]
    quoted: tuple[bool, ...]
    pieces: tuple[bytes, ...]


@dataclass(frozen=True)
class Shaped:
    """`rows`: true where a row was read; `table` has those, in order, with the asked types, but
    decimals as text.
    """

    rows: Mask
    table: pa.Table


def shape_of(row: bytes) -> Shape | None:
    """The shape of a row that is one flat object; None if it isn't, or a name is there twice."""
    names: list[str] = []
    quoted: list[bool] = []
    pieces: list[bytes] = []
    begun, place = 0, len(row) - len(row.lstrip(b" \t"))
    more = row[place : place + 1] == b"{"
    place += 1
    while more and len(names) < _FIELDS_MAX:
        field = _FIELD.match(row, place)
        if field is None:
            return None
        is_string = field["quote"] is not None
        start = field.end("quote") if is_string else field.start("value")
        pieces.append(row[begun:start])
        begun = field.end() - 1 if is_string else field.end()
        quoted.append(is_string)
        names.append(field["name"].decode())
        following = _NEXT.match(row, field.end())
        more, place = following is not None, following.end() if following else field.end()
    if not names or not _END.fullmatch(row, place) or len(set(names)) < len(names):
        return None
    return Shape(tuple(names), tuple(quoted), (*pieces, row[begun:]))


def read_shaped(body: pa.BinaryArray, known: pa.Schema, *, strict: bool) -> Shaped | None:
    """Read the rows that have one of the shapes of this block. None when there are none, or few.

    `known`: the names and types to read; columns that no shape has are null. `strict`: a row with a
    name that `known` lacks is not read; else such a value is only looked at. Blocks; the first call
    in a process takes longer, while machine code is loaded.
    """
    if len(body) < ROWS_MIN or body.null_count:
        return None
    block = _Block(body, known)
    block.read_all(strict)
    done = block.done
    if not done.any():
        return None
    table = pa.table([block.column(field) for field in known], names=known.names)
    return Shaped(done, table if done.all() else table.filter(pa.array(done)))


def prepare() -> None:
    """Load the machine code. Blocks, for seconds when it must be made."""
    read_shaped(pa.array([b'{"n":1}'] * ROWS_MIN), pa.schema([("n", pa.int64())]), strict=True)


class _Block:
    """Rows as bytes, and the columns that they fill. `done`: rows that were read."""

    def __init__(self, body: pa.BinaryArray, known: pa.Schema) -> None:
        self.done = np.zeros(len(body), dtype=np.bool_)
        self._left = np.flatnonzero(~not_utf8(body))
        self._buffer, self._offsets = block_of(body)
        self._values = np.frombuffer(self._buffer, dtype=np.uint8)
        self._known = known
        self._slots = {name: slot for slot, name in enumerate(known.names)}
        size = len(self._slots), len(body)
        self._columns = Columns(
            np.zeros(size, dtype=np.bool_),
            no_spans(self._offsets, size[0]),
            np.empty(size, dtype=np.int64),
            np.empty(size, dtype=np.float64),
            np.zeros(size[0], dtype=np.bool_),
        )

    def read_all(self, strict: bool) -> None:
        """Learn a shape from a row that is left, read all rows of it, and so on."""
        for _ in range(_TRIES):
            if len(self._left) < ROWS_MIN:
                break
            row = int(self._left[0])
            start, end = int(self._offsets[row]), int(self._offsets[row + 1])
            shape = shape_of(self._values[start:end].tobytes())
            pieces = self._pieces(shape, strict) if shape else None
            if pieces is None:
                self._left = self._left[1:]
                continue
            read = read_rows(
                as_block(self._values), self._offsets, self._left, pieces, self._columns
            )
            self.done[self._left[read]] = True
            # The row that it was learned from may still have a value that is not plain.
            self._left = self._left[~read] if read[0] else self._left[1:][~read[1:]]

    def _pieces(self, shape: Shape, strict: bool) -> Pieces | None:
        """A shape as the kernel wants it; None when its rows don't suit the columns."""
        kinds, slots = [], []
        for name, quoted in zip(shape.names, shape.quoted, strict=True):
            slot = self._slots.get(name, -1)
            kind = _kind(None if slot < 0 else self._known.field(slot).type, quoted)
            if kind is None or (slot < 0 and strict):
                return None
            kinds.append(kind)
            slots.append(slot)
        lengths = [len(piece) for piece in shape.pieces]
        text = np.frombuffer(b"".join(shape.pieces), dtype=np.uint8)
        return Pieces(
            text,
            as_block(text).eights.copy(),
            np.cumsum([0, *lengths], dtype=np.int32),
            np.array(kinds, dtype=np.int32),
            np.array(slots, dtype=np.int32),
        )

    def column(self, field: pa.Field) -> pa.Array:
        """One column of all rows; what it has for rows that are not done does not count."""
        slot = self._slots[field.name]
        rows, valid = len(self.done), self._columns.valid[slot]
        if not valid.any():
            return pa.nulls(rows, field.type)
        if field.type == pa.bool_():
            return pa.array(self._columns.integers[slot] == 1, mask=~valid)
        if pa.types.is_string(field.type) or self._columns.long[slot]:
            text = texts(self._buffer, self._columns.spans[slot], valid)
            return text.cast(field.type) if field.type == pa.float64() else text
        numbers = (
            self._columns.integers if pa.types.is_integer(field.type) else self._columns.doubles
        )
        buffers = [bits(valid), pa.py_buffer(numbers[slot])]
        return pa.Array.from_buffers(field.type, rows, buffers)


def _kind(column: pa.DataType | None, quoted: bool) -> int | None:
    """What a value of a column (None: of no column) must be; None if it can't be that."""
    if column is None:
        return STRING if quoted else SCALAR
    if pa.types.is_string(column):
        return STRING if quoted else NULL
    if quoted:
        return None  # also a decimal in quotes: the reader is stricter about it than a cast of text
    if pa.types.is_decimal(column):
        return DECIMAL
    # A nested column has no value in a flat row, and nor has a field that was only ever null.
    return {pa.int64(): INTEGER, pa.float64(): DOUBLE, pa.bool_(): BOOLEAN}.get(column, NULL)
