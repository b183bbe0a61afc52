"""Declared types, the lake's schema file, growth."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from rayflume.errors import ConfigError
from rayflume.schema import (
    TIMESTAMP,
    Json,
    arrow_schema,
    columns_of,
    count_fields,
    from_json,
    merge,
    parse_declared,
    prune,
    to_json,
    unseen,
)

DECLARED: dict[str, object] = {
    "b": "bool", "b2": "boolean", "i": "int32", "j": "int64", "k": "int", "l": "long",
    "m": "Integer",
    "f": "float32", "g": "float64", "h": "float", "d": "double", "s": "string", "x": "binary",
    "day": "date", "t": "timestamp", "ts": "timestamp_s", "tm": "timestamp_ms",
    "tu": "timestamp_us",
    "n": {"a": "int64", "when": ["timestamp_ms"]}, "e": [{"q": "string"}],
}  # fmt: skip


def test_declared_types_become_physical_types_in_order() -> None:
    schema = arrow_schema(parse_declared(DECLARED))
    assert schema.names == list(DECLARED)
    assert [str(schema.field(name).type) for name in ("b", "b2", "i", "m", "h", "f", "day")] == [
        "bool", "bool", "int32", "int64", "double", "float", "date32[day]",
    ]  # fmt: skip
    assert {schema.field(name).type for name in ("t", "ts", "tm", "tu")} == {TIMESTAMP}
    assert schema.field("n").type == pa.struct([("a", pa.int64()), ("when", pa.list_(TIMESTAMP))])
    assert schema.field("e").type == pa.list_(pa.struct([("q", pa.string())]))


def test_input_encodings_are_found_again_by_path() -> None:
    declared = parse_declared(DECLARED)
    columns = {c.name: c for c in columns_of(arrow_schema(declared), declared)}
    assert [columns[name].epoch for name in ("t", "ts", "tm", "tu")] == ["", "s", "ms", "us"]
    assert columns["n"].children[1].children[0].epoch == "ms"
    assert columns_of(pa.schema([("tm", pa.string())]), declared)[0].epoch == ""


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"a": "int46"}, "a: unknown type 'int46'; did you mean 'int64'?"),
        ({"a": "uint8"}, "unknown type 'uint8'"),
        (
            {"a": {"b": "timestamp_ps"}},
            "a.b: unknown type 'timestamp_ps'; did you mean 'timestamp_",
        ),
        ({"a": 5}, "a: unknown type 5"),
        ({"a": None}, "a: unknown type None"),
        ({"a": []}, "exactly one element type"),
        ({"a": {}}, "the struct a has no fields"),
        ({}, "declares no column"),
        ({5: "int64"}, "not a column name"),
        ({"A": "int64", "a": "int64"}, "twice"),
        ({str(i): "int64" for i in range(2_001)}, "more than 2,000"),
    ],
)
def test_wrong_declarations_are_named(declared: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match="schema") as caught:
        parse_declared(declared)
    assert message in caught.value.message


def test_nesting_has_a_limit() -> None:
    kind: object = "int64"
    for _ in range(40):
        kind = [kind]
    with pytest.raises(ConfigError, match="nested deeper than 32"):
        parse_declared({"a": kind})


def test_the_lakes_file_is_readable_and_round_trips() -> None:
    schema = arrow_schema(parse_declared(DECLARED))
    text = json.dumps(to_json(schema))
    assert '{"name": "tm", "type": "timestamp"}' in text
    assert from_json(json.loads(text)).equals(schema)


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"fields": 1}, {"fields": [1]}, {"fields": [{"name": "a"}]},
     {"fields": [{"name": "a", "type": "uint8"}]}, {"fields": [{"name": 1, "type": "int64"}]},
     {"fields": [{"name": "a", "type": {"struct": "x"}}]}],
)  # fmt: skip
def test_a_file_of_another_shape_is_refused(value: Json) -> None:
    with pytest.raises(ValueError, match="schema"):
        from_json(value)


def test_a_type_no_format_makes_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_json(pa.schema([("a", pa.uint8())]))


def test_merge_keeps_the_base_and_appends() -> None:
    inner = pa.struct([("x", pa.int64())])
    base = pa.schema([("a", pa.int64()), ("s", inner), ("l", pa.list_(inner))])
    wider = pa.struct([("y", pa.string()), ("x", pa.string())])
    other = pa.schema([("n", pa.bool_()), ("l", pa.list_(wider)), ("s", wider), ("a", pa.string())])
    grown = pa.struct([("x", pa.int64()), ("y", pa.string())])
    assert merge(base, other).equals(
        pa.schema([("a", pa.int64()), ("s", grown), ("l", pa.list_(grown)), ("n", pa.bool_())])
    )
    assert merge(base, base).equals(base)


def test_what_was_never_seen_is_pruned_and_can_come_later() -> None:
    schema = pa.schema(
        [
            ("a", pa.int64()),
            ("n", pa.null()),
            ("s", pa.struct([("x", pa.null()), ("y", pa.bool_())])),
            ("z", pa.struct([])),
            ("l", pa.list_(pa.null())),
        ]
    )
    assert prune(schema).equals(
        pa.schema([("a", pa.int64()), ("s", pa.struct([("y", pa.bool_())]))])
    )
    assert unseen(schema).names == ["n", "s", "z", "l"]
    assert merge(schema, pa.schema([("n", pa.string())])).field("n").type == pa.string()


def test_nested_fields_count() -> None:
    inner = pa.struct([("x", pa.int64()), ("y", pa.list_(pa.int64()))])
    assert count_fields(pa.schema([("a", inner), ("b", pa.int64())])) == 5
