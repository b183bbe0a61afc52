"""What an Avro schema means for the lake: its columns, and what fastavro is to read.

fastavro reads plain values: times as numbers, decimals as bytes. They get their types together
(`_columns.fit`), which is faster and exact: fastavro rounds a decimal that has too many digits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from rayflume.errors import ConfigError
from rayflume.schema import DIGITS_MAX, FIELDS_MAX, NESTING_MAX, TIMESTAMP, Column

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_PLAIN: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_TIMES = {"millis": "ms", "micros": "us", "nanos": "ns"}
_NUMBERS = (("int", "long"), ("float", "double"))
"""Types whose union is the last of them."""


@dataclass(frozen=True)
class Node:
    """`raw`: the Arrow type of what fastavro reads; `column`: what it becomes. `fields`: how many
    are in it.
    """

    raw: pa.DataType
    column: Column
    fields: int = 0


def columns_and_raw(schema: Json) -> tuple[tuple[Column, ...], pa.StructType]:
    """The columns of a record's schema, and the type of the records that are read.

    Raises ConfigError naming the field that has no type in the lake.
    """
    if not isinstance(schema, dict) or schema.get("type") not in ("record", "error"):
        raise ConfigError("the Avro schema must be a record: its fields become the columns")
    node = _record(schema, "", "", {})
    return node.column.children, node.raw


def without_logical_types(schema: Json) -> Json:
    """The schema for fastavro: only what the bytes are."""
    if isinstance(schema, list):
        return [without_logical_types(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name != "logicalType"}
    for name in ("type", "items", "values", "fields"):
        if name in kept:
            kept[name] = without_logical_types(kept[name])
    return kept


def parsed(text: str) -> Json:
    """A schema from its JSON text. Raises ConfigError."""
    try:
        value: Json = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the Avro schema is not JSON: {error}") from None
    return value


def _node(kind: Json, name: str, path: str, known: Mapping[str, Node | None]) -> Node | None:
    """None for the type null, which has no value."""
    if path.count(".") + path.count("[") > NESTING_MAX:
        raise ConfigError(f"the Avro schema is nested deeper than {NESTING_MAX} levels at {path}")
    if isinstance(kind, list):
        return _union(kind, name, path, known)
    if isinstance(kind, str):
        if kind == "null":
            return None
        if kind in _PLAIN:
            return Node(_PLAIN[kind], Column(name, _PLAIN[kind]))
        if kind in known:
            found = known[kind]
            if found is None:
                raise ConfigError(f"{path}: {kind} holds itself, which no column can")
            return _renamed(found, name)
        raise ConfigError(f"{path}: the Avro schema has no type {kind!r}")
    if not isinstance(kind, dict):
        raise ConfigError(f"{path}: {kind!r} is no Avro type")
    return _complex(kind, name, path, known)


def _renamed(node: Node, name: str) -> Node:
    column = node.column
    return Node(node.raw, Column(name, column.type, column.epoch, column.children), node.fields)


def _complex(
    kind: dict[str, Json], name: str, path: str, known: Mapping[str, Node | None]
) -> Node | None:
    what = kind.get("type")
    if what in ("record", "error"):
        return _record(kind, name, path, known)
    if what == "enum":
        return _named(kind, known, Node(pa.string(), Column(name, pa.string())))
    if what == "fixed":
        if not kind.get("size"):
            raise ConfigError(f"{path}: a fixed type of no bytes has no value")
        found = _logical(kind, Node(pa.binary(), Column(name, pa.binary())), path)
        return _named(kind, known, found)
    if what == "array":
        return _list(_node(kind.get("items"), "item", path + "[]", known), name, path)
    if what == "map":
        return _map(_node(kind.get("values"), "value", path + "[]", known), name, path)
    inner = _node(what, name, path, known)
    return None if inner is None else _logical(kind, inner, path)


def _named(kind: dict[str, Json], known: Mapping[str, Node | None], node: Node) -> Node:
    if isinstance(known, dict):
        for name in _names(kind):
            known[name] = node
    return node


def _names(kind: dict[str, Json]) -> set[str]:
    name, space = str(kind.get("name", "")), str(kind.get("namespace", ""))
    short = name.rpartition(".")[2]
    return {name, short, f"{space}.{short}" if space else short}


def _record(kind: dict[str, Json], name: str, path: str, known: Mapping[str, Node | None]) -> Node:
    if isinstance(known, dict):
        known.update(dict.fromkeys(_names(kind), None))
    fields = kind.get("fields")
    children = []
    for field in fields if isinstance(fields, list) else ():
        if not isinstance(field, dict) or not isinstance(field.get("name"), str):
            raise ConfigError(f"{path or 'the record'}: a field without a name")
        inner = str(field["name"])
        child = _node(field.get("type"), inner, f"{path}.{inner}" if path else inner, known)
        if child is not None:
            children.append(child)
    if not children:
        raise ConfigError(f"{path or 'the record'}: a record needs a field that is not null")
    return _named(kind, known, _struct(children, name))


def _struct(children: list[Node], name: str) -> Node:
    """Raises ConfigError for too many fields: a type may be named in another as often as one likes,
    so a few lines of schema can have billions.
    """
    fields = len(children) + sum(child.fields for child in children)
    if fields > FIELDS_MAX:
        raise ConfigError(f"the Avro schema has more than {FIELDS_MAX:,} fields")
    raw = pa.struct([(child.column.name, child.raw) for child in children])
    kind = pa.struct([(child.column.name, child.column.type) for child in children])
    return Node(raw, Column(name, kind, "", tuple(child.column for child in children)), fields)


def _list(item: Node | None, name: str, path: str) -> Node:
    if item is None:
        raise ConfigError(f"{path}: a list or map of nothing but nulls has no column type")
    column = Column("item", item.column.type, item.column.epoch, item.column.children)
    kind = pa.list_(item.column.type)
    return Node(pa.list_(item.raw), Column(name, kind, "", (column,)), item.fields)


def _map(value: Node | None, name: str, path: str) -> Node:
    pair = value and _struct([Node(pa.string(), Column("key", pa.string())), value], "item")
    found = _list(pair, name, path)
    assert value is not None
    return Node(pa.map_(pa.string(), value.raw), found.column, found.fields)


def _union(
    kinds: list[Json], name: str, path: str, known: Mapping[str, Node | None]
) -> Node | None:
    some = [kind for kind in kinds if kind != "null"]
    for numbers in _NUMBERS:
        if len(some) > 1 and all(kind in numbers for kind in some):
            some = [numbers[-1]]
    if len(some) > 1:
        shown = json.dumps(some)[:80]
        raise ConfigError(
            f"{path}: the union {shown} has no one column type: only unions with null, of int and "
            "long, and of float and double have"
        )
    return _node(some[0], name, path, known) if some else None


def _logical(kind: dict[str, Json], node: Node, path: str) -> Node:
    """A type with the meaning that its annotation gives it; an unknown one gives none, as Avro
    says.
    """
    word, name = str(kind.get("logicalType", "")), node.column.name
    if word == "decimal" and node.raw == pa.binary():
        digits, scale = kind.get("precision"), kind.get("scale", 0)
        if not isinstance(digits, int) or not isinstance(scale, int):
            raise ConfigError(f"{path}: a decimal needs a precision and a scale")
        if not 0 <= scale <= digits <= DIGITS_MAX or digits < 1:
            raise ConfigError(f"{path}: a decimal has 1 to {DIGITS_MAX} digits, not {digits}")
        return Node(node.raw, Column(name, pa.decimal128(digits, scale)))
    if word == "date" and node.raw == pa.int32():
        return Node(node.raw, Column(name, pa.date32()))
    unit = word.removeprefix("local-").removeprefix("timestamp-")
    if "timestamp-" in word and unit in _TIMES and node.raw == pa.int64():
        return Node(node.raw, Column(name, TIMESTAMP, _TIMES[unit]))
    return node
