"""Clauses F1 to F5 of interfaces.Format, for every type in the folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayflume.clock import ManualClock
from rayflume.component import Context, lookup, options_of, types_of
from rayflume.interfaces import Contract, Decoded, Format
from rayflume.metrics import Metrics
from rayflume.testing import Check, Trial, checks
from rayflume.testing._format import decoded_well

CONTEXT = Context("agent", "part", ManualClock(), Metrics())

NEEDED = {("avro", "avro_schema")}
"""Options that are needed unless another one is given."""


def options_for(kind: str) -> dict[str, object]:
    """The examples of its own options."""
    examples = {
        info.alias or name: info.examples[0]
        for name, info in options_of(lookup("format", kind)).items()
        if info.examples and (info.is_required() or kind == "csv" or (kind, name) in NEEDED)
    }
    examples.pop("delimiter", None)
    return examples


def build(kind: str) -> Format:
    format_: Format = lookup("format", kind).model_validate(options_for(kind)).build(CONTEXT)
    return format_


@pytest.mark.parametrize("check", checks("format"), ids=str)
def test_contract(check: Check, kind: str, tmp_path: Path) -> None:
    check(Trial(lookup("format", kind), options_for(kind), tmp_path))


@pytest.fixture(params=types_of("format"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


bodies = st.lists(
    st.none() | st.binary(max_size=40) | st.text(max_size=40).map(str.encode), max_size=20
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=bodies)
def test_f1_f3_random_bytes(kind: str, rows: list[bytes | None]) -> None:
    decoded_well(rows, build(kind).decode(pa.array(rows, pa.binary()), None))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from(["user_id", "url", "ts", "x", "y"]), values, max_size=4)
cuts = st.tuples(
    st.integers(0, 60),
    st.integers(0, 3),
    st.sampled_from(
        [b"", b"}", b"{", b"]", b",", b'"', b"null", b"\\", b"\x00", b"\xff", b"\n", b"1"]
    ),
)


def mutated(value: dict[str, object], cut: tuple[int, int, bytes] | None) -> bytes:
    text = json.dumps(value).encode()
    if cut is None:
        return text
    return text[: cut[0]] + cut[2] + text[cut[0] + cut[1] :]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.builds(mutated, objects, st.none() | cuts), max_size=12))
def test_f1_f3_random_mutated_json(kind: str, rows: list[bytes]) -> None:
    format_ = build(kind)
    first = format_.decode(pa.array(rows, pa.binary()), None)
    decoded_well(rows, first)
    again = format_.decode(pa.array(rows, pa.binary()), first.table.schema)
    decoded_well(rows, again)
    assert again.table.schema.names[: len(first.table.schema)] == first.table.schema.names


# -- F4: the same values, whatever the format ------------------------------------------------------

TYPES = {
    "s": "timestamp_s", "ms": "timestamp_ms", "us": "timestamp_us", "ns": "timestamp_ns",
    "iso": "timestamp", "d": "decimal(10,2)", "big": "decimal(38,0)", "i": "int64",
}  # fmt: skip
ROWS = [
    ["1.5", "1700000000123", "-1", "1700000000123456789", "2023-11-14T22:13:20.123456+01:00",
     "12.50", "-99999999999999999999999999999999999999", "9223372036854775807"],
    ["0", "0.5", "0", "-1", "2023-11-14", "-99999999.99", "9223372036854775808", "-5"],
]  # fmt: skip


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


EXPECTED = [
    {"s": utc("1970-01-01T00:00:01.5"), "ms": utc("2023-11-14T22:13:20.123"),
     "us": utc("1969-12-31T23:59:59.999999"), "ns": utc("2023-11-14T22:13:20.123456"),
     "iso": utc("2023-11-14T21:13:20.123456"), "d": Decimal("12.50"),
     "big": Decimal("-" + "9" * 38), "i": 2**63 - 1},
    {"s": utc("1970-01-01"), "ms": utc("1970-01-01T00:00:00.0005"), "us": utc("1970-01-01"),
     "ns": utc("1969-12-31T23:59:59.999999"), "iso": utc("2023-11-14"),
     "d": Decimal("-99999999.99"), "big": Decimal(2**63), "i": -5},
]  # fmt: skip


def text_format(kind: str, types: dict[str, str], **options: object) -> Format:
    """A format of text with these columns."""
    groups = ",".join(f"(?P<{name}>[^,]*)" for name in types)
    more = {"regex": f"^{groups}$"} if kind == "regex" else {}
    part = lookup("format", kind).model_validate({"schema": types, **more, **options})
    format_: Format = part.build(CONTEXT)
    return format_


def text_row(kind: str, types: dict[str, str], values: list[str]) -> bytes:
    """Values as one row; JSON has numbers bare and other texts in quotes."""
    if kind != "json":
        return ",".join(values).encode()
    quoted = [
        json.dumps(v) if kind in ("string", "timestamp", "date") else v
        for kind, v in zip(types.values(), values, strict=True)
    ]
    fields = (f'"{name}": {value}' for name, value in zip(types, quoted, strict=True))
    return ("{" + ", ".join(fields) + "}").encode()


TEXTS = pytest.mark.parametrize("text", ["json", "csv", "regex"])


@TEXTS
@pytest.mark.parametrize("copies", [1, 200])
def test_f4_times_decimals_and_large_integers_are_exact(text: str, copies: int) -> None:
    rows = [text_row(text, TYPES, values) for values in ROWS] * copies
    decoded = text_format(text, TYPES).decode(pa.array(rows, pa.binary()), None)
    assert decoded.bad == ()
    assert decoded.table.to_pylist() == EXPECTED * copies


@TEXTS
@pytest.mark.parametrize("copies", [0, 200])
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("decimal(5,2)", "999.99", "1000.00"),
        ("decimal(5,2)", "1.20", "1.234"),
        ("decimal(38,0)", "1", "1" + "0" * 38),
        ("int32", "-2147483648", "2147483648"),
        ("int64", "9223372036854775807", "9223372036854775808"),
        ("timestamp_ns", "9223372036854775807", "9223372036854775808"),
        ("timestamp_us", "1", "1e300"),
        ("timestamp_s", "1", "1e15"),
        ("timestamp", "2024-02-29T23:00:00-18:00", "2023-02-29T00:00:00Z"),
        ("date", "2024-02-29", "2023-02-29"),
    ],
)
def test_f4_what_does_not_fit_is_a_bad_row(
    text: str, kind: str, good: str, bad: str, copies: int
) -> None:
    types = {"v": kind}
    rows = [text_row(text, types, [value]) for value in [good] * copies + [bad, good]]
    decoded = text_format(text, types).decode(pa.array(rows, pa.binary()), None)
    decoded_well(rows, decoded)
    assert [row for row, _ in decoded.bad] == [copies]
    assert decoded.table.num_rows == copies + 1


REPLACED: dict[str, tuple[dict[str, object], bytes, dict[str, object]]] = {
    "text": ({}, b"a\xffb", {"body": "a\ufffdb"}),
    "json": ({"schema": {"s": "string"}}, b'{"s": "a\xffb"}', {"s": "a\ufffdb"}),
    "csv": ({"schema": {"s": "string"}}, b"a\xffb", {"s": "a\ufffdb"}),
    "regex": ({"regex": "^(?P<s>.*)$"}, b"a\xffb", {"s": "a\ufffdb"}),
    "combined_log": (
        {}, b'h - - [17/May/2015:10:05:03 +0000] "GET /\xff HTTP/1.1" 200 5 "-" "c"',
        {"path": "/\ufffd", "status": 200},
    ),
    "syslog": ({}, b"<13>Oct 11 22:14:15 h app: a\xffb", {"message": "a\ufffdb", "app": "app"}),
    "avro": (
        {"schema": {"type": "record", "name": "R", "fields": [{"name": "s", "type": "string"}]}},
        b"\x06a\xffb", {"s": "a\ufffdb"},
    ),
}  # fmt: skip


def test_every_format_of_text_says_what_becomes_of_other_bytes() -> None:
    assert set(REPLACED) | {"parquet", "arrow"} == set(types_of("format"))


@pytest.mark.parametrize("text", REPLACED)
def test_f3_invalid_utf8_is_bad_or_replaced(text: str) -> None:
    options, row, expected = REPLACED[text]
    good = row.replace(b"\xff", b"x")
    body = pa.array([good, row, good], pa.binary())
    decoded = lookup("format", text).model_validate(options).build(CONTEXT).decode(body, None)
    assert decoded.bad == ((1, "the row is not valid UTF-8"),)
    part = lookup("format", text).model_validate({**options, "errors": "replace"})
    decoded = part.build(CONTEXT).decode(body, None)
    assert decoded.bad == ()
    found = decoded.table.to_pylist()[1]
    assert {name: found[name] for name in expected} == expected


# -- F5: the contract ------------------------------------------------------------------------------


def arrow_body(row: dict[str, Any]) -> bytes:
    table = pa.Table.from_pylist([row])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def parquet_body(row: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row]), file)
    return file.getvalue()


def avro_body(row: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    fastavro.writer(file, avro_record(row, "R"), [row])
    return file.getvalue()


def avro_record(row: dict[str, Any], name: str) -> dict[str, Any]:
    fields = [
        {"name": n, "type": avro_record(v, f"{name}_{n}") if isinstance(v, dict) else "long"}
        for n, v in row.items()
    ]
    return {"type": "record", "name": name, "fields": fields}


NAMED: dict[str, tuple[dict[str, object], Callable[[dict[str, Any]], bytes]]] = {
    "json": ({}, lambda row: json.dumps(row).encode()),
    "arrow": ({}, arrow_body),
    "parquet": ({}, parquet_body),
    "avro": ({"framing": "container"}, avro_body),
}
"""Formats whose bodies name their fields, and how a row is written in them."""
MORE: list[dict[str, Any]] = [
    {"a": 1, "o": {"x": 1}}, {"a": 2, "o": {"x": 2, "y": 3}}, {"a": 3, "o": {"x": 3}, "b": 4},
    {"o": {"x": 5}},
]  # fmt: skip
LAKE = pa.schema([("a", pa.int64()), ("o", pa.struct([("x", pa.int64())]))])


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("copies", [1, 100])
def test_f5_new_fields_follow_the_contract(named: str, copies: int) -> None:
    options, body = NAMED[named]
    rows = [body(row) for row in MORE] * copies
    array = pa.array(rows, pa.binary())

    def decode(contract: Contract, schema: pa.Schema | None = LAKE) -> Decoded:
        part = lookup("format", named).model_validate(options)
        decoded: Decoded = part.build(CONTEXT).decode(array, schema, contract)
        decoded_well(rows, decoded)
        return decoded

    grown = decode(Contract.EVOLVE)
    assert grown.bad == ()
    assert grown.table.to_pylist()[:4] == [
        {"a": 1, "o": {"x": 1, "y": None}, "b": None},
        {"a": 2, "o": {"x": 2, "y": 3}, "b": None},
        {"a": 3, "o": {"x": 3, "y": None}, "b": 4},
        {"a": None, "o": {"x": 5, "y": None}, "b": None},
    ]
    ignored = decode(Contract.IGNORE)
    assert ignored.bad == ()
    assert ignored.table.schema.equals(LAKE)
    assert ignored.table.to_pylist()[:3] == [{"a": n, "o": {"x": n}} for n in (1, 2, 3)]
    frozen = decode(Contract.FREEZE)
    assert frozen.table.schema.equals(LAKE)
    assert frozen.table.to_pylist()[:2] == [
        {"a": 1, "o": {"x": 1}}, {"a": None, "o": {"x": 5}}
    ]  # fmt: skip
    assert [row for row, _ in frozen.bad] == [n for n in range(4 * copies) if n % 4 in (1, 2)]
    assert all("is not in the schema of the lake, and the contract" in why for _, why in frozen.bad)
    for contract in Contract:
        assert decode(contract, None).bad == ()


@pytest.mark.parametrize("named", NAMED)
def test_f5_a_value_that_does_not_fit_is_bad_with_every_contract(named: str) -> None:
    options, body = NAMED[named]
    rows = [body({"a": 1}), body({"a": 2**40})]
    for contract in Contract:
        part = lookup("format", named).model_validate(options)
        lake = pa.schema([("a", pa.int32())])
        decoded = part.build(CONTEXT).decode(pa.array(rows, pa.binary()), lake, contract)
        decoded_well(rows, decoded)
        assert [row for row, _ in decoded.bad] == [1]
        assert decoded.table.to_pylist() == [{"a": 1}]
