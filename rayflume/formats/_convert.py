"""Columns as the JSON reader made them -> columns as the lake keeps them, nested ones included.

The reader gives text for dates, ISO timestamps and binary, numbers for epochs, and (`relaxed`)
doubles for integers and longer decimals for decimals; here they get their types. What does not fit
is noted in `Misfits` by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from rayflume.formats._cast import (
    Cast,
    beyond_digits,
    bisect_cast,
    cast_epoch,
    cast_integers,
    cast_text,
    epoch_number,
    narrow,
    without,
)
from rayflume.formats._rows import Indexes
from rayflume.schema import Column, type_name
from rayflume.spans import Mask

_LONG_DECIMAL = pa.decimal256(76, 38)
_READ_AS_TEXT = (pa.types.is_timestamp, pa.types.is_date32, pa.types.is_binary)


def read_schema(columns: Sequence[Column], *, relaxed: bool = False) -> pa.Schema:
    """The types to read JSON with. `relaxed`: integers as doubles and decimals with more digits, so
    that hardly a number fails to convert.
    """
    return pa.schema([(column.name, _read_type(column, relaxed)) for column in columns])


def _read_type(column: Column, relaxed: bool) -> pa.DataType:
    kind = column.type
    if pa.types.is_struct(kind):
        return pa.struct([(child.name, _read_type(child, relaxed)) for child in column.children])
    if pa.types.is_list(kind):
        return pa.list_(_read_type(column.children[0], relaxed))
    if column.epoch:
        return pa.float64() if relaxed else epoch_number(column.epoch)
    if pa.types.is_decimal(kind):
        return _LONG_DECIMAL if relaxed else kind
    if pa.types.is_integer(kind):
        return pa.float64() if relaxed else pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    return pa.string() if any(test(kind) for test in _READ_AS_TEXT) else kind


class Misfits:
    """Rows with a value that does not fit its column, and rows to read again exactly."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self.vague: set[int] = set()

    def add(self, bad: Mask, rows: Indexes | None, values: pa.Array, what: str) -> None:
        """Note the marked values; `rows`: the row of each value (None: its own place)."""
        places = np.flatnonzero(bad)
        owners = places if rows is None else rows[places]
        for row, value in zip(owners.tolist(), values.take(pa.array(places)), strict=True):
            if row not in self.reasons:
                self.reasons[row] = what.replace("{}", str(value.as_py())[:80], 1)

    def add_vague(self, vague: Mask, rows: Indexes | None) -> None:
        """Note integers too large for a double."""
        places = np.flatnonzero(vague)
        self.vague.update((places if rows is None else rows[places]).tolist())


def convert(table: pa.Table, columns: Sequence[Column], misfits: Misfits) -> list[pa.Array]:
    """The columns of a table just read, typed. Fields of the table that no column names are
    left.
    """
    arrays = []
    for column in columns:
        chunked = table.column(column.name)
        array = chunked.chunk(0) if chunked.num_chunks == 1 else pa.concat_arrays(chunked.chunks)
        arrays.append(_convert(array, column, None, column.name, misfits))
    return arrays


def _convert(
    array: pa.Array, column: Column, rows: Indexes | None, path: str, misfits: Misfits
) -> pa.Array:
    kind = column.type
    if pa.types.is_struct(kind):
        return _convert_struct(array, column, rows, path, misfits)
    if pa.types.is_list(kind):
        return _convert_list(array, column, rows, path, misfits)
    if array.type == kind:
        wrong = beyond_digits(array) if pa.types.is_decimal(kind) else None
        if wrong is None:
            return array
        misfits.add(wrong, rows, array, f"column {path}: {{}} is not a valid {type_name(kind)}")
        return without(array, wrong)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), kind)
    whole = epoch_number(column.epoch) if column.epoch else kind
    if pa.types.is_floating(array.type) and pa.types.is_integer(whole):
        cast, wrong, vague = cast_integers(array, whole)
        misfits.add(wrong, rows, array, f"column {path}: {{}} is not an {whole}")
        misfits.add_vague(vague, rows)
        if not column.epoch:
            return cast
        array = cast
    cast, bad = _leaf(array, column)
    if bad is not None:
        written = f"timestamp_{column.epoch}" if column.epoch else type_name(kind)
        misfits.add(bad, rows, array, f"column {path}: {{}} is not a valid {written}")
    return cast


def _leaf(array: pa.Array, column: Column) -> Cast:
    if column.epoch:
        return cast_epoch(array, column.epoch)
    if pa.types.is_string(array.type):
        return cast_text(array, column)
    if pa.types.is_decimal(array.type):
        return bisect_cast(array, column.type)
    return narrow(array, column.type)


def _convert_struct(
    array: pa.Array, column: Column, rows: Indexes | None, path: str, misfits: Misfits
) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), column.type)
    names = [field.name for field in array.type]
    flat = dict(zip(names, array.flatten(), strict=True))
    children = [
        _convert(flat[child.name], child, rows, f"{path}.{child.name}", misfits)
        if child.name in flat
        else pa.nulls(len(array), child.type)
        for child in column.children
    ]
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(children, fields=list(column.type), mask=mask)


def _convert_list(
    array: pa.Array, column: Column, rows: Indexes | None, path: str, misfits: Misfits
) -> pa.Array:
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), column.type)
    offsets = np.asarray(array.offsets)
    values = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    owners = np.repeat(np.arange(len(array), dtype=np.int64), np.diff(offsets))
    inner_rows = owners if rows is None else rows[owners]
    items = _convert(values, column.children[0], inner_rows, path + "[]", misfits)
    mask = array.is_null() if array.null_count else None
    moved = pa.array(offsets - offsets[0], pa.int32())
    return pa.ListArray.from_arrays(moved, items, type=column.type, mask=mask)
