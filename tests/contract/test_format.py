"""Clauses F1 to F5 of interfaces.Format, for every type in the folder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayflume.clock import ManualClock
from rayflume.component import Context, lookup, options_of, types_of
from rayflume.interfaces import Decoded, Format
from rayflume.metrics import Metrics

CONTEXT = Context("agent", "part", ManualClock(), Metrics())

NASTY: list[bytes | None] = [
    None, b"", b" ", b"\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xc3", b"\xa9", b"\xed\xa0\x80",
    b"null", b"true", b"1", b'"x"', b"[]", b"{}", b"{} null {}", b"{}{}",
    b"{}\x00{}", b"{}}", b"{},{}",
    b'{"user_id": "x"}', b'{"user_id": 1.5}', b'{"user_id": 9223372036854775808}',
    b'{"ts": 1e300}',
    b'{"user_id": 1}', b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b'{"a": "} null"}',
    b'{"a": null}',
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 100_000, b'{"b":' + b"[" * 100_000,
    b'{"c": {"d": 1}}', b'{"c": [1, "x", null]}', b"a" * 100_000, b'"', b'a,"', b'"a\nb",1,2',
    b",,",
    b"1,/x,1445680800424", b"1,/x,1e300", b"1,2,3,4", b"INFO 7 it works", b"INFO 99999999999 x",
    b'::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"',
    b'::1 - - [31/Feb/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"',
]  # fmt: skip


NEEDED = {("avro", "avro_schema")}
"""Options that are needed unless another one is given."""


def build(kind: str) -> Format:
    """A format from the examples of its own options."""
    cls = lookup("format", kind)
    examples = {
        info.alias or name: info.examples[0]
        for name, info in options_of(cls).items()
        if info.examples and (info.is_required() or kind == "csv" or (kind, name) in NEEDED)
    }
    examples.pop("delimiter", None)
    format_: Format = cls.model_validate(examples).build(CONTEXT)
    return format_


def check(rows: Sequence[bytes | None], decoded: Decoded) -> None:
    """F1 and F4."""
    decoded.table.validate(full=True)
    good = list(range(len(rows))) if decoded.rows is None else decoded.rows.to_pylist()
    bad = [row for row, _ in decoded.bad]
    assert decoded.table.num_rows == len(good)
    assert good == sorted(good)
    assert bad == sorted(bad)
    assert sorted(good + bad) == list(range(len(rows)))
    for _, reason in decoded.bad:
        assert 0 < len(reason) <= 256
        assert reason.isprintable()
    for field in decoded.table.schema:
        check_type(field.type)


def check_type(kind: pa.DataType) -> None:
    if pa.types.is_struct(kind):
        for field in kind:
            check_type(field.type)
    elif pa.types.is_list(kind):
        check_type(kind.value_type)
    else:
        assert re.fullmatch(
            r"bool|int32|int64|float|double|string|binary|date32\[day\]|timestamp\[us, tz=UTC\]"
            r"|decimal128\([0-9]{1,2}, [0-9]{1,2}\)",
            str(kind),
        )


@pytest.fixture(params=types_of("format"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_f1_f3_f4_nasty_rows_are_good_or_bad_and_never_raise(kind: str) -> None:
    format_ = build(kind)
    check(NASTY, format_.decode(pa.array(NASTY, pa.binary()), None))
    check(NASTY, format_.decode(pa.array(NASTY, pa.binary()), format_.declared))


def test_f1_f3_each_nasty_row_alone_is_judged_as_among_the_others(kind: str) -> None:
    together = dict(build(kind).decode(pa.array(NASTY, pa.binary()), None).bad)
    if build(kind).declared is None:
        pytest.skip("an inferred column depends on the rows before")
    for place, row in enumerate(NASTY):
        alone = build(kind).decode(pa.array([row], pa.binary()), None)
        check([row], alone)
        assert bool(alone.bad) == (place in together), row


def test_f1_slices_of_an_array_decode_like_copies(kind: str) -> None:
    whole = pa.array(NASTY, pa.binary())
    for start, length in [(1, 5), (7, 0), (30, 15), (45, 1)]:
        rows = NASTY[start : start + length]
        sliced = build(kind).decode(whole.slice(start, length), None)
        copied = build(kind).decode(pa.array(rows, pa.binary()), None)
        check(rows, sliced)
        assert sliced.table.equals(copied.table)
        assert sliced.bad == copied.bad


def test_f1_no_rows_make_an_empty_table(kind: str) -> None:
    decoded = build(kind).decode(pa.array([], pa.binary()), None)
    assert decoded.table.num_rows == 0
    assert decoded.bad == ()


def test_f2_declared_is_the_schema_when_none_is_given(kind: str) -> None:
    format_ = build(kind)
    if format_.declared is None:
        pytest.skip("this format infers its columns")
    table = format_.decode(pa.array(NASTY, pa.binary()), None).table
    assert table.schema.names[: len(format_.declared)] == format_.declared.names
    assert pa.schema(list(table.schema)[: len(format_.declared)]).equals(format_.declared)


def test_f2_the_schema_of_the_lake_comes_first(kind: str) -> None:
    lake = pa.schema([("gone", pa.int32()), ("user_id", pa.int64()), ("time", pa.string())])
    decoded = build(kind).decode(pa.array(NASTY, pa.binary()), lake)
    check(NASTY, decoded)
    assert pa.schema(list(decoded.table.schema)[:3]).equals(lake)


bodies = st.lists(
    st.none() | st.binary(max_size=40) | st.text(max_size=40).map(str.encode), max_size=20
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=bodies)
def test_f1_f3_random_bytes(kind: str, rows: list[bytes | None]) -> None:
    check(rows, build(kind).decode(pa.array(rows, pa.binary()), None))


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
    check(rows, first)
    again = format_.decode(pa.array(rows, pa.binary()), first.table.schema)
    check(rows, again)
    assert again.table.schema.names[: len(first.table.schema)] == first.table.schema.names
