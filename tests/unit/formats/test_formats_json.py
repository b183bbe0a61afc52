"""JSON rows to columns: values, bad rows, new fields, limits."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.formats.json import JsonFormat
from rayflume.interfaces import Contract, Decoded
from rayflume.metrics import Metrics

NGINX = Path(__file__).parents[4] / "shared" / "data" / "nginx_status.jsonl"
CONTEXT = Context("agent", "part", ManualClock(), Metrics())


def build(schema: dict[str, object] | None = None, **options: object) -> JsonFormat:
    format_ = lookup("format", "json").model_validate({"schema": schema, **options}).build(CONTEXT)
    assert isinstance(format_, JsonFormat)
    return format_


def decode(
    format_: JsonFormat,
    *rows: bytes | str | None,
    schema: pa.Schema | None = None,
    contract: Contract = Contract.EVOLVE,
) -> Decoded:
    bodies = [row.encode() if isinstance(row, str) else row for row in rows]
    return format_.decode(pa.array(bodies, pa.binary()), schema, contract)


def reasons(decoded: Decoded) -> dict[int, str]:
    return dict(decoded.bad)


def test_declared_columns_get_their_types() -> None:
    format_ = build({
        "i": "int32", "l": "int64", "f": "float32", "s": "string", "x": "binary", "d": "date",
        "t": "timestamp", "m": "timestamp_ms", "n": {"u": "timestamp_us", "v": ["timestamp_s"]},
    })  # fmt: skip
    row = {
        "i": -5, "l": 2**63 - 1, "f": 0.5, "s": "é\u0000", "x": "abc", "d": "2024-02-29",
        "t": "2024-02-29T12:00:00.123456+02:00", "m": 1445680800424.25,
        "n": {"u": 1, "v": [0, 1.5, None]},
    }  # fmt: skip
    decoded = decode(format_, json.dumps(row), "{}")
    assert decoded.bad == ()
    utc = dt.UTC
    assert decoded.table.to_pylist()[0] == {
        "i": -5, "l": 2**63 - 1, "f": 0.5, "s": "é\u0000", "x": b"abc", "d": dt.date(2024, 2, 29),
        "t": dt.datetime(2024, 2, 29, 10, 0, 0, 123456, utc),
        "m": dt.datetime(2015, 10, 24, 10, 0, 0, 424250, utc),
        "n": {
            "u": dt.datetime(1970, 1, 1, 0, 0, 0, 1, utc),
            "v": [dt.datetime(1970, 1, 1, 0, 0, s, us, utc) if us >= 0 else None
                  for s, us in ((0, 0), (1, 500000), (0, -1))],
        },
    }  # fmt: skip
    assert set(decoded.table.to_pylist()[1].values()) == {None}


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("int64", "1.5", "column c: 1.5 is not an int64"),
        ("int64", '"abc"', "column c: expected number, found string"),
        ("int64", "true", "column c: expected number, found boolean"),
        ("int64", "9223372036854775808", "9223372036854775808 is not a valid int64"),
        ("int64", "1e30", "column c: 1e+30 is not an int64"),
        ("int64", "NaN", "column c: nan is not an int64"),
        ("int32", "2147483648", "column c: 2147483648 is not a valid int32"),
        ("float32", "1e300", "column c: 1e+300 is not a valid float32"),
        ("float64", "1e999", "not valid JSON: Number too big to be stored in double."),
        ("string", "5", "column c: expected string, found number"),
        ("bool", "1", "column c: expected boolean, found number"),
        ("date", '"2023-02-29"', "column c: 2023-02-29 is not a valid date"),
        ("timestamp", '"2024-01-01T25:00:00Z"', "2024-01-01T25:00:00Z is not a valid timestamp"),
        ("timestamp", '"yesterday"', "column c: yesterday is not a valid timestamp"),
        ("timestamp", "5", "column c: expected string, found number"),
        ("timestamp_ms", "1e18", "column c: 1e+18 is not a valid timestamp_ms"),
        ("timestamp_ms", '"1445680800424"', "column c: expected number, found string"),
        ("timestamp_us", "9223372036854775807", "is not a valid timestamp"),
        ({"x": "int64"}, '{"x": 0.5}', "column c.x: 0.5 is not an int64"),
        ({"x": "int64"}, "[]", "column c: expected object, found array"),
        (["date"], '["2024-01-01", "x"]', "column c[]: x is not a valid date"),
    ],
)
def test_a_value_that_does_not_fit_makes_its_row_bad(kind: object, value: str, reason: str) -> None:
    decoded = decode(build({"c": kind, "k": "int64"}), '{"k":1}', f'{{"c":{value}}}', '{"k":3}')
    assert decoded.table.column("k").to_pylist() == [1, 3]
    assert decoded.rows is not None
    assert decoded.rows.to_pylist() == [0, 2]
    assert reason in reasons(decoded)[1]


@pytest.mark.parametrize(
    "row",
    ["null", "{} null {}", "{} null", "{}{}", '{"k":1}{"k":2}', "{}}", "{},{}", "{}]}", "{} // }",
     '{"k":1,}', '{"k":1', '{"k":"a\nb"}', "[]", "5", '"{}"', " ", "{}\0{}", '{"k":1,"k":2}',
     '{"k":"}', '{"k":{}', b'{"k":"\xff"}', '{"s":"\\ud800"}', "\ufeff{}", "{} true {}"],
)  # fmt: skip
def test_rows_beside_a_malformed_one_keep_their_places(row: str | bytes) -> None:
    format_ = build({"k": "int64", "s": "string"})
    decoded = decode(format_, '{"k":1}', row, '{"k":3}', row, row, '{"k":6}')
    assert decoded.table.column("k").to_pylist() == [1, 3, 6]
    assert [place for place, _ in decoded.bad] == [1, 3, 4]


def test_white_space_carriage_returns_and_inner_line_ends_do_not_matter() -> None:
    rows = [' {"k":1} ', '{"k":2}\r', '{\n "k":\n 3\n}\n', '\t{"k":4,"s":"} null {} }{"}']
    decoded = decode(build({"k": "int64", "s": "string"}), *rows)
    assert decoded.bad == ()
    assert decoded.table.column("k").to_pylist() == [1, 2, 3, 4]


def test_integers_keep_every_digit_also_beside_misfits() -> None:
    wide = [2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
    rows = [f'{{"k":{k}}}' for k in wide] + ['{"k":1.5}', '{"k":7.0}', '{"k":1e19}']
    decoded = decode(build({"k": "int64"}), *rows)
    assert decoded.table.column("k").to_pylist() == [*wide, 7]
    assert [place for place, _ in decoded.bad] == [6, 8]


def test_columns_are_inferred_and_then_kept() -> None:
    format_ = build()
    first = decode(
        format_,
        '{"i":1,"d":1,"b":true,"s":"2024-01-01","t":"2024-01-01T00:00:00Z","n":null,"e":{}}',
        '{"d":1.5,"o":{"x":1,"y":null},"l":[1,2],"m":[{"a":1},{"b":"x"}],"q":[]}',
    )
    kinds = {field.name: str(field.type) for field in first.table.schema}
    assert kinds == {
        "i": "int64", "d": "double", "b": "bool", "s": "string", "t": "string",
        "o": "struct<x: int64>", "l": "list<item: int64>",
        "m": "list<item: struct<a: int64, b: string>>",
    }  # fmt: skip
    second = decode(format_, '{"i":2.5}', '{"n":"now"}', '{"o":{"y":5}}', schema=first.table.schema)
    assert reasons(second) == {0: "column i: 2.5 is not an int64"}
    assert second.table.schema.names == [*first.table.schema.names, "n"]
    assert second.table.schema.field("o").type == pa.struct([("x", pa.int64()), ("y", pa.int64())])
    assert second.table.to_pylist()[1]["o"] == {"x": None, "y": 5}


def test_the_first_kind_of_an_inferred_column_wins() -> None:
    decoded = decode(build(), '{"a":null}', '{"a":1}', '{"a":"x"}', '{"a":2.5}', '{"a":{"b":1}}')
    assert decoded.table.column("a").to_pylist() == [None, 1.0, 2.5]
    assert reasons(decoded) == {
        2: "column a: expected number, found string",
        4: "column a: expected number, found object",
    }


def test_unknown_fields_are_ignored_if_asked() -> None:
    format_, deep = build({"a": "int64"}), '{"b":' + "[" * 100_000 + "]" * 100_000 + "}"
    decoded = decode(format_, '{"a":1,"b":2}', deep, contract=Contract.IGNORE)
    assert decoded.table.schema.names == ["a"]
    assert decoded.bad == ()
    inferred = build()
    first = decode(inferred, '{"a":1}', contract=Contract.IGNORE)
    more = decode(inferred, '{"b":1}', schema=first.table.schema, contract=Contract.IGNORE)
    assert more.table.schema.names == ["a"]


def test_always_null_fields_stay_on_the_fast_path_until_a_value_comes() -> None:
    format_ = build({"a": "int64"})
    for _ in range(2):
        decoded = decode(format_, '{"a":1,"n":null,"o":{"p":null}}')
        assert decoded.table.to_pylist() == [{"a": 1}]
    decoded = decode(format_, '{"a":1,"n":"x","o":{"p":1}}')
    assert decoded.table.to_pylist() == [{"a": 1, "n": "x", "o": {"p": 1}}]


def test_s2_nesting_and_field_limits_hold() -> None:
    deep = '{"a":' * 33 + "1" + "}" * 33
    fine = '{"b":' * 32 + "1" + "}" * 32
    strings = json.dumps({"s": "[[[[{{{{" * 20})
    decoded = decode(build(), deep, fine, strings, '{"c":' + "[" * 100_000 + "]" * 100_000 + "}")
    assert reasons(decoded) == dict.fromkeys((0, 3), "the row is nested deeper than 32 levels")
    many = decode(build(), *(f'{{"k{i}":1}}' for i in range(2_050)))
    assert many.table.num_columns == 2_000
    assert many.table.num_rows == 2_000
    assert "more than the 2,000" in reasons(many)[2_049]


def test_s5_a_string_without_end_full_of_escaped_quotes_takes_no_time() -> None:
    """Looked for anew behind each quote, its end took hours."""
    endless = '{"a":' + "[" * 40 + '"' + '\\"' * 300_000 + "}"
    decoded = decode(build(), endless, '{"b":1}', '{"c":"[[\\"' + "[" * 40 + '\\\\","d":2}')
    assert list(reasons(decoded)) == [0]
    assert decoded.table.column("d").to_pylist() == [None, 2]


def test_dense_bad_rows_are_all_found() -> None:
    rows = ['{"a":1}', '{"a":1,}', '{"a":"x"}', '{"a":2}}', '{"a":3,"a":4}'] * 200
    decoded = decode(build({"a": "int64"}), *rows)
    assert decoded.table.column("a").to_pylist() == [1] * 200
    assert [place % 5 for place, _ in decoded.bad] == [1, 2, 3, 4] * 200


def test_s13_reasons_are_escaped_and_short() -> None:
    decoded = decode(build({"a": "date"}), json.dumps({"a": "\x1b[31m\r\nfake" + "x" * 1_000}))
    (reason,) = reasons(decoded).values()
    assert reason.startswith("column a: \\x1b[31m\\r\\nfake")
    assert len(reason) <= 256


def test_rows_without_any_value_cannot_make_a_table() -> None:
    decoded = decode(build(), "{}", '{"a":null}')
    assert decoded.table.num_columns == 0
    assert len(decoded.bad) == 2


def test_large_blocks_are_decoded_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayflume.formats.json.BYTES_MAX", 20)
    decoded = decode(build(), '{"a":1}', '{"a":2,"b":1}', "x", '{"b":2}', '{"c":[1]}', '{"a":"x"}')
    assert decoded.table.schema.names == ["a", "b", "c"]
    assert decoded.rows is not None
    assert decoded.rows.to_pylist() == [0, 1, 3, 4]
    assert decoded.table.column("b").to_pylist() == [None, 1, 2, None]
    assert [place for place, _ in decoded.bad] == [2, 5]


def test_a_wrong_schema_is_refused_when_it_is_read() -> None:
    with pytest.raises(ValidationError, match="did you mean 'int64'"):
        build({"a": "int46"})


@pytest.mark.skipif(not NGINX.exists(), reason="../shared/data/nginx_status.jsonl is not there")
def test_real_nested_documents_keep_every_value() -> None:
    rows = NGINX.read_bytes().splitlines()
    format_ = build({"timestamp": "timestamp_ms", "load_timestamp": "int64"})
    decoded = format_.decode(pa.array(rows, pa.binary()), None)
    assert decoded.bad == ()
    assert decoded.table.num_rows == 500

    def same(wanted: object, got: object) -> bool:
        if isinstance(wanted, dict):
            return isinstance(got, dict) and all(
                same(value, got.get(name)) for name, value in wanted.items()
            )
        if isinstance(got, dt.datetime):
            return wanted == round(got.timestamp() * 1000)
        if isinstance(wanted, list) and isinstance(got, list):
            return len(wanted) == len(got) and all(map(same, wanted, got))
        return wanted == got or (wanted in ([], {}) and got is None)

    for row, got in zip(rows, decoded.table.to_pylist(), strict=True):
        assert same(json.loads(row), got)
