"""Columns of any Arrow type -> columns of the types that the lake keeps; no value is lost."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rayflume.formats._cast import bisect_cast, cast_epoch, out_of_range
from rayflume.schema import DIGITS_MAX

_UINT64 = pa.decimal128(20, 0)
_LEAVES: tuple[tuple[tuple[str, ...], pa.DataType], ...] = (
    (("int8", "int16", "int32", "uint8", "uint16"), pa.int32()),
    (("int64", "uint32"), pa.int64()),
    (("uint64",), _UINT64),
    (("halffloat", "float16", "float"), pa.float32()),
    (("double",), pa.float64()),
    (("bool",), pa.bool_()),
    (("string", "large_string", "string_view"), pa.string()),
    (("binary", "large_binary", "binary_view"), pa.binary()),
    (("date32[day]", "date64[ms]"), pa.date32()),
)
_LEAF_TYPES = {name: kind for names, kind in _LEAVES for name in names}


class Unfit(ValueError):
    """A body that cannot become a row; its text is the reason."""


def lake_array(array: pa.Array, path: str) -> pa.Array:
    """The same values in the lake's types: timestamps in UTC (one without a zone is taken for UTC)
    and cut to microseconds, uint64 as decimal(20,0), a map as a list of structs of key and value.

    Raises Unfit for a type that the lake has not, and for a value out of range.
    """
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return lake_array(array.storage, path)
    if pa.types.is_dictionary(kind):
        return lake_array(array.dictionary_decode(), path)
    if pa.types.is_struct(kind):
        return _struct(array, path)
    if pa.types.is_map(kind):
        return lake_array(pairs_of(array), path)
    if pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        return lake_array(array.cast(pa.list_(kind.value_type)), path)
    if pa.types.is_list(kind):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return _list(array, array.values.slice(first, last - first), path)
    return _leaf(array, path)


def pairs_of(array: pa.MapArray) -> pa.ListArray:
    """A map as a list of structs of `key` and `value`."""
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    both = [part.slice(first, last - first) for part in (array.keys, array.items)]
    pairs = pa.StructArray.from_arrays(both, ["key", "value"])
    mask = array.is_null() if array.null_count else None
    offsets = pc.subtract(array.offsets, array.offsets[0])
    return pa.ListArray.from_arrays(offsets, pairs, mask=mask)


def _struct(array: pa.StructArray, path: str) -> pa.Array:
    names = [field.name for field in array.type]
    if not names or len(set(names)) < len(names):
        raise Unfit(f"column {path}: a struct needs fields, each with a name of its own")
    flat = zip(names, array.flatten(), strict=True)
    children = [lake_array(child, f"{path}.{name}") for name, child in flat]
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(children, names, mask=mask)


def _list(array: pa.Array, items: pa.Array, path: str) -> pa.Array:
    offsets = pc.subtract(array.offsets, array.offsets[0])
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(offsets, lake_array(items, path + "[]"), mask=mask)


def _leaf(array: pa.Array, path: str) -> pa.Array:
    kind = array.type
    if pa.types.is_null(kind):
        return array
    if pa.types.is_timestamp(kind):
        stamps, bad = cast_epoch(array.cast(pa.int64()), kind.unit)
        if bad is not None:
            raise Unfit(f"column {path}: a time is outside the years 1 to 9999")
        return stamps
    if pa.types.is_fixed_size_binary(kind):
        return array.cast(pa.binary())
    wanted = _LEAF_TYPES.get(str(kind))
    if pa.types.is_decimal(kind) and 0 <= kind.scale <= DIGITS_MAX:
        wanted = pa.decimal128(min(kind.precision, DIGITS_MAX), kind.scale)
    if wanted is None:
        raise Unfit(f"column {path}: the lake has no type for {kind}")
    cast, bad = bisect_cast(array, wanted)
    if bad is None and wanted == pa.date32():
        bad = out_of_range(cast)
    if bad is not None:
        raise Unfit(f"column {path}: a value of type {kind} does not fit {wanted}")
    return cast
