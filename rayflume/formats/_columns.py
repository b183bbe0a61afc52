"""Columns of text, or already typed, to the columns the lake wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.errors import ConfigError
from rayflume.formats._cast import Cast, bisect_cast, cast_text
from rayflume.formats._rows import Rows, record_batch
from rayflume.interfaces import Decoded
from rayflume.schema import Column, arrow_schema, columns_of, merge, type_name


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
    done: list[pa.Array] = []
    reasons: dict[int, str] = {}
    for column in columns:
        array = arrays.get(column.name)
        if array is None:
            done.append(pa.nulls(len(rows.body), column.type))
            continue
        cast, bad = _fit(array, column)
        done.append(cast)
        if bad is not None:
            places = np.flatnonzero(bad)
            shown = array.take(pa.array(places)).to_pylist()
            for place, value in zip(places.tolist(), shown, strict=True):
                text = f"{str(value)[:80]!r} is not a valid {type_name(column.type)}"
                reasons.setdefault(place, f"column {column.name}: {text}")
    if reasons:
        keep = np.ones(len(rows.body), dtype=np.bool_)
        keep[list(reasons)] = False
        done = [array.filter(pa.array(keep)) for array in done]
        rows.drop_each(reasons)
    return rows.decoded(record_batch(done, arrow_schema(columns)))


def _fit(array: pa.Array, column: Column) -> Cast:
    if array.type == column.type:
        return array, None
    if pa.types.is_string(array.type) and not column.children:
        return cast_text(array, column)
    try:
        return bisect_cast(array, column.type)
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return pa.nulls(len(array), column.type), np.asarray(array.is_valid())


def null_where(text: pa.StringArray, value: str) -> pa.StringArray:
    """Null instead of `value`."""
    return pc.if_else(pc.equal(text, value), pa.scalar(None, pa.string()), text)
