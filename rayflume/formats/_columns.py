"""Columns of text, or already typed, to the columns the lake wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.errors import ConfigError
from rayflume.formats._cast import (
    Cast,
    bisect_cast,
    cast_epoch,
    cast_text,
    either,
    out_of_range,
    unscaled,
)
from rayflume.formats._lake_types import pairs_of
from rayflume.formats._rows import Rows, record_batch
from rayflume.interfaces import Decoded
from rayflume.schema import Column, arrow_schema, columns_of, merge, type_name
from rayflume.spans import Mask


def flat(columns: Sequence[Column], what: str) -> tuple[Column, ...]:
    """`columns` if none is nested. Raises ConfigError: `what` has no nested values."""
    for column in columns:
        if column.children:
            raise ConfigError(
                f"schema: {column.name}: {what} has no nested values, so no {column.type}"
            )
    return tuple(columns)


def wanted(declared: Sequence[Column], schema: pa.Schema | None) -> tuple[Column, ...]:
    """The columns to make: the lake's first, then those that only the format declares."""
    if schema is None:
        return tuple(declared)
    return columns_of(merge(schema, arrow_schema(declared)), declared)


def finish(rows: Rows, arrays: Mapping[str, pa.Array], columns: Sequence[Column]) -> Decoded:
    """Give each column its type; rows with a value that does not fit become bad. Missing ones are
    null.
    """
    done, reasons = fit_all(arrays, columns, len(rows.body))
    if reasons:
        keep = np.ones(len(rows.body), dtype=np.bool_)
        keep[list(reasons)] = False
        done = [array.filter(pa.array(keep)) for array in done]
        rows.drop_each(reasons)
    return rows.decoded(record_batch(done, arrow_schema(columns)))


def fit_all(
    arrays: Mapping[str, pa.Array], columns: Sequence[Column], count: int
) -> tuple[list[pa.Array], dict[int, str]]:
    """Each column with its type, and why rows of the `count` have a value that does not fit."""
    done: list[pa.Array] = []
    reasons: dict[int, str] = {}
    for column in columns:
        array = arrays.get(column.name)
        if array is None:
            done.append(pa.nulls(count, column.type))
            continue
        cast, bad = fit(array, column)
        done.append(cast)
        if bad is not None:
            places = np.flatnonzero(bad)
            shown = array.take(pa.array(places)).to_pylist()
            for place, value in zip(places.tolist(), shown, strict=True):
                text = f"{str(value)[:80]!r} is not a valid {type_name(column.type)}"
                reasons.setdefault(place, f"column {column.name}: {text}")
    return done, reasons


def fit(array: pa.Array, column: Column) -> Cast:
    """A column of its type, structs by names, and the rows with a value that does not fit."""
    kind = column.type
    if array.type == kind and not column.epoch:
        return array, None
    if pa.types.is_map(array.type):
        return fit(pairs_of(array), column)
    if pa.types.is_struct(array.type) and pa.types.is_struct(kind):
        return _fit_struct(array, column)
    if pa.types.is_list(array.type) and pa.types.is_list(kind):
        return _fit_list(array, column)
    if pa.types.is_string(array.type) and not column.children:
        return cast_text(array, column)
    if pa.types.is_date32(kind) and pa.types.is_int32(array.type):
        days = array.cast(kind)
        return days, out_of_range(days)
    if pa.types.is_decimal(kind) and pa.types.is_binary(array.type):
        return unscaled(array, kind)
    if column.epoch and (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        return cast_epoch(array, column.epoch)
    if array.type == kind:
        return array, None
    try:
        return bisect_cast(array, kind)
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return pa.nulls(len(array), kind), np.asarray(array.is_valid())


def _fit_struct(array: pa.StructArray, column: Column) -> Cast:
    flat = dict(zip((f.name for f in array.type), array.flatten(), strict=True))
    children: list[pa.Array] = []
    bad: Mask | None = None
    for child in column.children:
        found = flat.get(child.name)
        fitted, wrong = (
            (pa.nulls(len(array), child.type), None) if found is None else fit(found, child)
        )
        children.append(fitted)
        bad = either(bad, wrong)
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(children, fields=list(column.type), mask=mask), bad


def _fit_list(array: pa.ListArray, column: Column) -> Cast:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0))
    items, wrong = fit(array.flatten(), column.children[0])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    mask = array.is_null() if array.null_count else None
    fitted = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), items, type=column.type, mask=mask
    )
    if wrong is None:
        return fitted, None
    bad = np.zeros(len(array), dtype=np.bool_)
    bad[np.repeat(np.arange(len(array)), lengths)[wrong]] = True
    return fitted, bad


def null_where(text: pa.StringArray, value: str) -> pa.StringArray:
    """Null instead of `value`."""
    return pc.if_else(pc.equal(text, value), pa.scalar(None, pa.string()), text)
