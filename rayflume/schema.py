"""Column types: as a configuration declares them, as the lake keeps them, and how they grow.

Rules: a timestamp is always timestamp[us, UTC], nothing is unsigned, nothing is in nanoseconds
(Spark reads no others). A column's physical type never changes; only fields are added, also inside
structs, and a decimal may get more digits before its point (Spark merges those).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from rayflume.errors import ConfigError

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

FIELDS_MAX = 2_000
"""Fields of one schema, those inside structs and lists counted too."""
NESTING_MAX = 32
"""Levels of structs and lists in one row."""
TIMESTAMP = pa.timestamp("us", "UTC")

_SCALARS: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": TIMESTAMP,
}
_ALIASES = {
    "boolean": "bool", "int": "int64", "long": "int64", "integer": "int64",
    "float": "float64", "double": "float64",
}  # fmt: skip
_EPOCHS = {
    "timestamp_s": "s", "timestamp_ms": "ms", "timestamp_us": "us", "timestamp_ns": "ns",
}  # fmt: skip
TYPE_NAMES = (*_SCALARS, *_ALIASES, *_EPOCHS, "decimal(p,s)")
"""Every word a configuration may use for a type."""
DIGITS_MAX = 38
"""Digits of a decimal: what Spark, Parquet and 128 bits can hold."""
_DECIMAL = re.compile(r"decimal\(\s*([0-9]{1,3})\s*(?:,\s*([0-9]{1,3})\s*)?\)")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its physical type, and how the input writes it.

    `epoch`: the timestamp is a number of "s", "ms", "us" or "ns" since 1970; "" means ISO 8601
    text.
    `children`: the fields of a struct, or the one element of a list.
    """

    name: str
    type: pa.DataType
    epoch: str = ""
    children: tuple[Column, ...] = ()


def parse_declared(declared: Mapping[str, object]) -> tuple[Column, ...]:
    """The columns that `schema:` of a configuration declares, in its order.

    Raises ConfigError naming the column, the type and the nearest right one.
    """
    if not declared:
        raise ConfigError("schema declares no column; write at least one `name: type`")
    columns = _parse_fields(declared, "", 1)
    if count_fields(arrow_schema(columns)) > FIELDS_MAX:
        raise ConfigError(f"schema declares more than {FIELDS_MAX:,} fields")
    return columns


def _parse_fields(declared: Mapping[str, object], path: str, level: int) -> tuple[Column, ...]:
    columns = []
    seen: set[str] = set()
    for name, kind in declared.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"schema: {path}{name!r} is not a column name; quote it as text")
        if name.casefold() in seen:
            raise ConfigError(
                f"schema: {path}{name} is there twice (Spark ignores case); rename one of them"
            )
        seen.add(name.casefold())
        columns.append(_parse_type(name, kind, path + name, level))
    return tuple(columns)


def _parse_type(name: str, kind: object, path: str, level: int) -> Column:
    if level > NESTING_MAX:
        raise ConfigError(f"schema: {path} is nested deeper than {NESTING_MAX} levels")
    if isinstance(kind, Mapping):
        if not kind:
            raise ConfigError(f"schema: the struct {path} has no fields")
        children = _parse_fields(kind, path + ".", level + 1)
        return Column(name, pa.struct([(c.name, c.type) for c in children]), "", children)
    if isinstance(kind, list | tuple):
        if len(kind) != 1:
            raise ConfigError(
                f"schema: the list {path} needs exactly one element type, as in [int64]"
            )
        item = _parse_type("item", kind[0], path + "[]", level + 1)
        return Column(name, pa.list_(item.type), "", (item,))
    word = kind.strip().lower() if isinstance(kind, str) else ""
    if word in _EPOCHS:
        return Column(name, TIMESTAMP, _EPOCHS[word])
    word = _ALIASES.get(word, word)
    if word.startswith("decimal"):
        return Column(name, _decimal(word, path))
    if word not in _SCALARS:
        raise ConfigError(f"schema: {path}: unknown type {kind!r}{_nearest(str(kind))}")
    return Column(name, _SCALARS[word])


def _decimal(word: str, path: str) -> pa.DataType:
    kind = decimal_of(word)
    if kind is None:
        raise ConfigError(
            f"schema: {path}: {word!r} is not a type: write 'decimal(p,s)' in quotes, with 1 to "
            f"{DIGITS_MAX} digits p, of which s are behind the point"
        )
    return kind


def decimal_of(word: str) -> pa.DataType | None:
    """The type that `decimal(p,s)` names, or `decimal(p)` for whole numbers; None for other
    text.
    """
    found = _DECIMAL.fullmatch(word)
    if found is None:
        return None
    digits, scale = int(found[1]), int(found[2] or 0)
    fits = 1 <= digits <= DIGITS_MAX and scale <= digits
    return pa.decimal128(digits, scale) if fits else None


def _nearest(word: str) -> str:
    close = difflib.get_close_matches(word.lower(), TYPE_NAMES, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(TYPE_NAMES)}"


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The physical schema of columns."""
    return pa.schema([(column.name, column.type) for column in columns])


def columns_of(schema: pa.Schema, declared: Sequence[Column] = ()) -> tuple[Column, ...]:
    """The columns of a physical schema, written in the input as `declared` says where it has
    them.
    """
    known = {column.name: column for column in declared}
    return tuple(_column(field.name, field.type, known.get(field.name)) for field in schema)


def _column(name: str, kind: pa.DataType, declared: Column | None) -> Column:
    children: tuple[Column, ...] = ()
    known = {child.name: child for child in declared.children} if declared else {}
    if pa.types.is_struct(kind):
        children = tuple(_column(f.name, f.type, known.get(f.name)) for f in kind)
    elif pa.types.is_list(kind):
        children = (_column("item", kind.value_type, known.get("item")),)
    epoch = declared.epoch if declared is not None and pa.types.is_timestamp(kind) else ""
    return Column(name, kind, epoch, children)


def count_fields(schema: pa.Schema | pa.StructType) -> int:
    """Fields of a schema, those inside structs and lists counted too."""
    return sum(1 + _count_type(field.type) for field in schema)


def _count_type(kind: pa.DataType) -> int:
    if pa.types.is_struct(kind):
        return count_fields(kind)
    return 1 + _count_type(kind.value_type) if pa.types.is_list(kind) else 0


# -- the schema file in the lake -------------------------------------------------------------------

_NAMES = {kind: name for name, kind in _SCALARS.items()}


def type_name(kind: pa.DataType) -> str:
    """A type as a configuration would write it."""
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _NAMES.get(kind, str(kind))


def to_json(schema: pa.Schema) -> Json:
    """The schema as the lake keeps it: a list of fields in order, types by their configured names.

    Raises ValueError for a type that no format of rayflume makes.
    """
    return {"fields": [{"name": field.name, "type": _type_to_json(field.type)} for field in schema]}


def _type_to_json(kind: pa.DataType) -> Json:
    if pa.types.is_struct(kind):
        return {"struct": [{"name": f.name, "type": _type_to_json(f.type)} for f in kind]}
    if pa.types.is_list(kind):
        return {"list": _type_to_json(kind.value_type)}
    if kind not in _NAMES and not pa.types.is_decimal128(kind):
        raise ValueError(f"a lake column cannot have the type {kind}")
    return type_name(kind)


def from_json(value: Json) -> pa.Schema:
    """The inverse of to_json. Raises ValueError for anything else."""
    if not isinstance(value, dict) or not isinstance(value.get("fields"), list):
        raise ValueError("not a schema: an object with a list `fields` is wanted")
    return pa.schema(_fields_from_json(value["fields"]))


def _fields_from_json(value: Json) -> list[pa.Field]:
    fields = []
    for entry in value if isinstance(value, list) else [value]:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(name, str) or "type" not in entry:
            raise ValueError(f"not a field of a schema: {entry!r}")
        fields.append(pa.field(name, _type_from_json(entry["type"])))
    return fields


def _type_from_json(value: Json) -> pa.DataType:
    if isinstance(value, dict) and set(value) == {"struct"}:
        return pa.struct(_fields_from_json(value["struct"]))
    if isinstance(value, dict) and set(value) == {"list"}:
        return pa.list_(_type_from_json(value["list"]))
    kind = (_SCALARS.get(value) or decimal_of(value)) if isinstance(value, str) else None
    if kind is None:
        raise ValueError(f"unknown type in a schema: {value!r}")
    return kind


# -- growth ----------------------------------------------------------------------------------------


def merge(base: pa.Schema, other: pa.Schema, *, widen: bool = False) -> pa.Schema:
    """`base` and behind it the fields only `other` has; structs grow the same way, at any depth.

    Where both have a field with types that differ, `base` keeps its own; the caller decodes again
    with the result. A null type of `base` (nothing seen yet) takes the type of `other`. `widen`:
    so does a decimal that has fewer digits than the other, and as many behind the point.
    """
    return pa.schema(_merge_fields(list(base), list(other), widen))


def _merge_fields(base: list[pa.Field], other: list[pa.Field], widen: bool) -> list[pa.Field]:
    theirs = {field.name: field for field in other}
    names = {field.name for field in base}
    merged = [
        pa.field(f.name, _merge_type(f.type, theirs[f.name].type, widen)) if f.name in theirs else f
        for f in base
    ]
    return merged + [field for field in other if field.name not in names]


def _merge_type(base: pa.DataType, other: pa.DataType, widen: bool) -> pa.DataType:
    if base.equals(other):
        return base
    if pa.types.is_null(base):
        return other
    if pa.types.is_struct(base) and pa.types.is_struct(other):
        return pa.struct(_merge_fields(list(base), list(other), widen))
    if pa.types.is_list(base) and pa.types.is_list(other):
        return pa.list_(_merge_type(base.value_type, other.value_type, widen))
    if widen and same_scale(base, other):
        return max(base, other, key=lambda kind: kind.precision)
    return base


def same_scale(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether two types are decimals that differ only in the digits before the point."""
    both = pa.types.is_decimal128(one) and pa.types.is_decimal128(other)
    return bool(both and one.scale == other.scale)


def prune(schema: pa.Schema) -> pa.Schema:
    """Without what no value was seen of: null types, and structs and lists of nothing else."""
    kept = [(field.name, _prune_type(field.type)) for field in schema]
    return pa.schema([(name, kind) for name, kind in kept if kind is not None])


def _prune_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_null(kind):
        return None
    if pa.types.is_struct(kind):
        kept = [(f.name, _prune_type(f.type)) for f in kind]
        fields = [(name, inner) for name, inner in kept if inner is not None]
        return pa.struct(fields) if fields else None
    if pa.types.is_list(kind):
        item = _prune_type(kind.value_type)
        return None if item is None else pa.list_(item)
    return kind


def unseen(schema: pa.Schema) -> pa.Schema:
    """Only what `prune` takes away: the fields of which no value was seen, and the way to them."""
    kept = [(field.name, _unseen_type(field.type)) for field in schema]
    return pa.schema([(name, kind) for name, kind in kept if kind is not None])


def _unseen_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_struct(kind):
        kept = [(f.name, _unseen_type(f.type)) for f in kind]
        fields = [(name, inner) for name, inner in kept if inner is not None]
        return pa.struct(fields) if fields or kind.num_fields == 0 else None
    if pa.types.is_list(kind):
        item = _unseen_type(kind.value_type)
        return None if item is None else pa.list_(item)
    return kind if pa.types.is_null(kind) else None
