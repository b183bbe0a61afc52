"""Rows that are written alike: what a shape is, and that reading by it changes nothing but time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from rayflume.formats._json_shapes import ROWS_MIN, Shape, read_shaped, shape_of
from rayflume.formats.json import JsonFormat
from rayflume.interfaces import Decoded
from rayflume.schema import parse_declared

KNOWN = pa.schema(
    [
        ("n", pa.int64()),
        ("f", pa.float64()),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("z", pa.null()),
        ("o", pa.struct([("u", pa.int64())])),
    ]
)
DECLARED = parse_declared({"n": "int32", "f": "float64", "s": "string", "b": "bool", "t": "date"})
SEPARATORS: tuple[tuple[str, str], ...] = ((",", ":"), (", ", ": "))


def as_body(rows: list[bytes]) -> pa.BinaryArray:
    return pa.array(rows, pa.binary())


def read_one(row: bytes, *, strict: bool = True) -> dict[str, object] | None:
    """What a row gives in a block of rows that are written like it; None when it isn't read."""
    found = read_shaped(as_body([row] * ROWS_MIN), KNOWN, strict=strict)
    if found is None:
        return None
    assert found.rows.all()
    rows = found.table.to_pylist()
    assert all(repr(other) == repr(rows[0]) for other in rows)
    return {name: value for name, value in rows[0].items() if value is not None}


def test_a_shape_is_what_stands_between_values() -> None:
    assert shape_of(b'{"a":1,"b":"x"}') == Shape(
        ("a", "b"), (False, True), (b'{"a":', b',"b":"', b'"}')
    )
    assert shape_of(b' { "a" : null } ') == Shape(("a",), (False,), (b' { "a" : ', b" } "))


@pytest.mark.parametrize(
    "row",
    [
        b"", b"{}", b"[1]", b'{"a":1', b'{"a":1,}', b'{"a" 1}', b'{"a":1,"a":2}', b'{"a":{"b":1}}',
        b'{"a":[1]}', b'{"a":"\\n"}', b'{"a\\u0041":1}', b'{"a":1}}', b'{"a":1}{"a":1}',
        b'{"a\t":1}', b'{"a":}', b"{a:1}", b'{"a":"x}', b'{"a":1 2}',
    ],
)  # fmt: skip
def test_what_has_no_shape(row: bytes) -> None:
    assert shape_of(row) is None


@pytest.mark.parametrize(
    ("row", "value"),
    [
        (b'{"n":0}', {"n": 0}),
        (b'{"n":-17,"s":""}', {"n": -17, "s": ""}),
        (b'{"n":999999999999999999}', {"n": 999999999999999999}),
        (b'{"n":9223372036854775807}', {"n": 2**63 - 1}),
        (b'{"n":-9223372036854775808}', {"n": -(2**63)}),
        (b'{"f":270.18}', {"f": 270.18}),
        (b'{"f":12}', {"f": 12.0}),
        (b'{"f":0.1234567890123456789}', {"f": 0.1234567890123456789}),
        (b'{"f":123456789012345678901234567890}', {"f": 123456789012345678901234567890.0}),
        (b'{"b":true}', {"b": True}),
        (b'{"b":false,"n":null,"s":null,"z":null,"o":null}', {"b": False}),
        ('{"s":"é€𝄞 {\'}"}'.encode(), {"s": "é€𝄞 {'}"}),
    ],
)
def test_plain_values_are_read(row: bytes, value: dict[str, object]) -> None:
    assert read_one(row) == value


@pytest.mark.parametrize(
    "row",
    [
        b'{"n":01}', b'{"n":1.0}', b'{"n":1e2}', b'{"n":+1}', b'{"n":-}', b'{"n":-0}', b'{"n":0x1}',
        b'{"n":9223372036854775808}', b'{"n":-9223372036854775809}', b'{"n":9999999999999999999}',
        b'{"n":18446744073709551615}', b'{"n":99999999999999999999}', b'{"n":"1"}',
        b'{"n":true}', b'{"n":nul}', b'{"n":nulls}',
        b'{"f":1.}', b'{"f":.5}', b'{"f":1e5}', b'{"f":-0.0}', b'{"f":1.2.3}', b'{"f":NaN}',
        b'{"f":00.5}', b'{"b":1}', b'{"b":"true"}', b'{"b":TRUE}', b'{"s":1}', b'{"s":true}',
        b'{"s":"a\tb"}', b'{"s":"\xff"}', b'{"z":1}', b'{"z":"x"}', b'{"o":1}', b'{"x":1}',
    ],
)  # fmt: skip
def test_other_values_are_left_to_the_reader(row: bytes) -> None:
    assert read_one(row) is None


@pytest.mark.parametrize(
    ("row", "is_read"),
    [
        (b'{"x":1.5,"n":1}', True),
        (b'{"x":"y","n":1}', True),
        (b'{"x":null,"n":1}', True),
        (b'{"x":false,"n":1}', True),
        (b'{"x":no,"n":1}', False),
        (b'{"x":1e5,"n":1}', False),
    ],
)
def test_fields_that_are_ignored_are_looked_at(row: bytes, is_read: bool) -> None:
    assert read_one(row, strict=False) == ({"n": 1} if is_read else None)


def test_a_value_that_is_cut_off_at_the_end_of_the_block() -> None:
    rows = [b'{"n":1}'] * ROWS_MIN
    for end in (b'{"n":', b'{"n":1', b'{"n":n', b'{"n":-', b'{"n":"', b"{", b""):
        found = read_shaped(as_body([*rows, end]), KNOWN, strict=True)
        assert found is not None and found.rows.tolist() == [True] * ROWS_MIN + [False]


def test_several_shapes_in_one_block_keep_the_order_of_rows() -> None:
    kinds = [b'{"n":%d}', b'{"n":%d,"s":null}', b'{"s":"x","n":%d}', b'{ "n": %d, "s": "y" }']
    rows = [kinds[i % 4] % i for i in range(5 * ROWS_MIN)]
    found = read_shaped(as_body(rows).slice(3), KNOWN, strict=True)
    assert found is not None and found.rows.all()
    assert found.table["n"].to_pylist() == list(range(3, len(rows)))
    assert found.table["s"].to_pylist()[:4] == ["y", None, None, "x"]


def some_value(draw: random.Random, name: str) -> object:
    return {
        "n": draw.choice([None, 1, -5, 2**31, 2**40, 10**19, 1.0, "1", True]),
        "f": draw.choice([None, 0.1, 1e300, -2.5, 3, 1 / 3, "x"]),
        "s": draw.choice([None, "", "é", 'q"', "a\\b", "plain text", 7]),
        "b": draw.choice([None, True, False, 0]),
        "t": draw.choice([None, "2025-01-31", "2025-02-30", 5]),
    }[name]


def some_rows(draw: random.Random, count: int) -> list[bytes]:
    """Mostly alike, some with other values, and some with a byte changed, lost or doubled."""
    rows = []
    separators = draw.choice(SEPARATORS)
    for number in range(count):
        row: dict[str, object] = {"n": number, "f": number / 8, "s": f"text {number}", "b": True}
        row["t"] = "2025-01-31"
        if draw.random() < 0.1:
            name = draw.choice(list(row))
            row[name] = some_value(draw, name)
        text = json.dumps(row, separators=separators, ensure_ascii=False).encode()
        if draw.random() < 0.1:
            at = draw.randrange(len(text))
            text = (
                text[:at]
                + draw.choice([b"", b'"', b"\\", b"0", b"}", b"\xff", b" "])
                + text[at + 1 :]
            )
        rows.append(text)
    return rows


def without_shapes() -> JsonFormat:
    format_ = JsonFormat(DECLARED)
    format_._pause = 10**9
    return format_


@pytest.mark.parametrize("seed", range(40))
def test_rows_and_reasons_are_those_of_the_reader(seed: int) -> None:
    rows = some_rows(random.Random(seed), 300)
    schema = JsonFormat(DECLARED).declared
    decoded: list[Decoded] = [
        f.decode(as_body(rows), schema) for f in (JsonFormat(DECLARED), without_shapes())
    ]
    fast, slow = decoded
    assert fast.table.schema == slow.table.schema
    assert [row for row, _ in fast.bad] == [row for row, _ in slow.bad]
    assert fast.bad == slow.bad
    for name in fast.table.schema.names:
        assert fast.table[name].equals(slow.table[name]), name


def test_a_format_without_such_rows_stops_looking_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from rayflume.formats import _json_shapes

    looked: list[int] = []
    read: Callable[..., object] = _json_shapes.read_shaped

    def counting(body: pa.BinaryArray, known: pa.Schema, *, strict: bool) -> object:
        looked.append(len(body))
        return read(body, known, strict=strict)

    monkeypatch.setattr(_json_shapes, "read_shaped", counting)
    format_ = JsonFormat(parse_declared({"o": {"u": "int64"}}))
    body = as_body([b'{"o":{"u":1}}'] * ROWS_MIN)
    for _ in range(100):
        assert format_.decode(body, None).table.num_rows == ROWS_MIN
    assert 3 <= len(looked) <= 8


def test_a_row_of_every_length_at_the_end_of_a_buffer() -> None:
    """The kernel checks every index: nothing behind the last row is read."""
    for length in range(40):
        rows = [b'{"s":"%s"}' % (b"x" * length)] * ROWS_MIN
        found = read_shaped(as_body(rows), KNOWN, strict=True)
        assert found is not None and np.all(found.rows)
        assert found.table["s"].to_pylist() == ["x" * length] * ROWS_MIN
