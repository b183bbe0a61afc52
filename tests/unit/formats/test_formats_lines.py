"""The formats text, csv and regex."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from pydantic import ValidationError

from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.errors import ConfigError, OptionError
from rayflume.interfaces import Decoded, Format
from rayflume.metrics import Metrics

CONTEXT = Context("agent", "part", ManualClock(), Metrics())


def build(kind: str, **options: object) -> Format:
    format_: Format = lookup("format", kind).model_validate(options).build(CONTEXT)
    return format_


def decode(format_: Format, *rows: bytes | None, schema: pa.Schema | None = None) -> Decoded:
    return format_.decode(pa.array(rows, pa.binary()), schema)


def places(decoded: Decoded) -> list[int]:
    return [place for place, _ in decoded.bad]


# -- text ------------------------------------------------------------------------------------------


def test_text_is_a_view_of_the_same_bytes() -> None:
    body = pa.array([b"a", b"", "é\0".encode()], pa.binary())
    decoded = build("text").decode(body, None)
    assert decoded.table.to_pydict() == {"body": ["a", "", "é\0"]}
    assert decoded.rows is None
    assert decoded.table.column("body").buffers()[2].address == body.buffers()[2].address


def test_text_that_is_not_utf8_is_bad_or_replaced() -> None:
    rows = [b"a", None, b"\xff", b"\xc3", b"\xa9", b"z"]
    strict = decode(build("text", column="line"), *rows)
    assert strict.table.to_pydict() == {"line": ["a", "z"]}
    assert places(strict) == [1, 2, 3, 4]
    replaced = decode(build("text", errors="replace"), *rows)
    assert replaced.table.to_pydict() == {"body": ["a", "\ufffd", "\ufffd", "\ufffd", "z"]}
    assert places(replaced) == [1]


def test_text_fills_the_lakes_schema() -> None:
    lake = pa.schema([("host", pa.string()), ("body", pa.binary())])
    decoded = decode(build("text"), b"a", schema=lake)
    assert decoded.table.schema.equals(lake)
    assert decoded.table.to_pylist() == [{"host": None, "body": b"a"}]


# -- csv -------------------------------------------------------------------------------------------


def test_csv_values_get_their_types() -> None:
    format_ = build(
        "csv",
        schema={
            "i": "int32", "f": "double", "b": "bool", "s": "string", "d": "date",
            "t": "timestamp", "m": "timestamp_ms",
        },
    )  # fmt: skip
    rows = [
        b' 7 ,1e3,TRUE,"a ""b"", c",2024-02-29,2024-02-29 12:00:00+0200,1445680800424.5\r',
        b",,,,,,",
        b',,,"",,2024-02-29T12:00:00.123456789,',
    ]
    decoded = decode(format_, *rows)
    assert decoded.bad == ()
    first, second, third = decoded.table.to_pylist()
    assert first == {
        "i": 7, "f": 1000.0, "b": True, "s": 'a "b", c', "d": dt.date(2024, 2, 29),
        "t": dt.datetime(2024, 2, 29, 10, tzinfo=dt.UTC),
        "m": dt.datetime(2015, 10, 24, 10, 0, 0, 424500, dt.UTC),
    }  # fmt: skip
    assert set(second.values()) == {None}
    assert third["s"] == ""
    assert third["t"] == dt.datetime(2024, 2, 29, 12, 0, 0, 123456, dt.UTC)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"1", "1 values in the row, 2 are wanted"),
        (b"1,2,3", "3 values in the row, 2 are wanted"),
        (b"x,2", "column a: 'x' is not a valid int64"),
        (b"1.0,2", "is not a valid int64"),
        (b"0x1F,2", "is not a valid int64"),
        (b"9223372036854775808,2", "is not a valid int64"),
        (b'1,"x', "does not end"),
        (b'1,"x"y', "does not end, or something follows"),
        (b'1",",x', "does not end"),
        (b'1,"', "does not end"),
        (b"1,a\n2,b", "line end"),
        (b'1,"a\rb"', "line end"),
        (b"", "empty"),
        (b"1,\xff", "UTF-8"),
        (None, "tombstone"),
    ],
)
def test_csv_rows_beside_a_bad_one_keep_their_places(row: bytes | None, reason: str) -> None:
    format_ = build("csv", schema={"a": "int64", "b": "string"})
    decoded = decode(format_, b"1,x", row, b'3,"y"', row, b"5,")
    assert decoded.table.to_pydict() == {"a": [1, 3, 5], "b": ["x", "y", None]}
    assert places(decoded) == [1, 3]
    assert reason in decoded.bad[0][1]


def test_csv_delimiter_quote_and_null_values() -> None:
    options = {"schema": {"a": "string", "b": "string"}, "delimiter": "\t"}
    plain = build("csv", quote="", null_values=["-", "NULL"], **options)
    assert decode(plain, b'"x\t-', b"NULL\t").table.to_pylist() == [
        {"a": '"x', "b": None},
        {"a": None, "b": ""},
    ]
    single = build("csv", quote="'", **options)
    assert decode(single, b"'a\t''b'\tc").table.to_pylist() == [{"a": "a\t'b", "b": "c"}]


def test_csv_options_are_checked() -> None:
    schema = {"a": "int64"}
    with pytest.raises(OptionError, match="make them differ"):
        build("csv", schema=schema, quote=",")
    with pytest.raises(ConfigError, match="no nested values"):
        build("csv", schema={"a": {"b": "int64"}})
    with pytest.raises(ValidationError, match="one ASCII character"):
        build("csv", schema=schema, delimiter="\n")
    with pytest.raises(ValidationError, match="schema"):
        build("csv")


def test_csv_many_bad_values_are_all_found() -> None:
    rows = [b"1", b"x", b"9223372036854775807", b"9999999999999999999"] * 300
    decoded = decode(build("csv", schema={"a": "int64"}), *rows)
    assert decoded.table.column("a").to_pylist() == [1, 2**63 - 1] * 300
    assert [place % 4 for place in places(decoded)] == [1, 3] * 300


def test_the_type_in_the_lake_is_kept() -> None:
    lake = pa.schema([("b", pa.string()), ("a", pa.string()), ("old", pa.int32())])
    format_ = build("csv", schema={"a": "int64", "b": "string", "c": "date"})
    decoded = decode(format_, b"1,x,2024-01-01", schema=lake)
    assert decoded.table.schema.names == ["b", "a", "old", "c"]
    assert list(decoded.table.to_pylist()[0].values()) == ["x", "1", None, dt.date(2024, 1, 1)]


# -- regex -----------------------------------------------------------------------------------------

LEVELS = r"^(?P<level>[A-Z]+) (?P<code>\d+)?(?: (?P<message>.*))?$"


def test_regex_groups_become_columns() -> None:
    decoded = decode(
        build("regex", regex=LEVELS, schema={"code": "int32"}), b"INFO 7 a b", b"WARN "
    )
    assert decoded.table.to_pylist() == [
        {"level": "INFO", "code": 7, "message": "a b"},
        {"level": "WARN", "code": None, "message": ""},
    ]


def test_regex_rows_that_do_not_match_or_fit_are_bad() -> None:
    format_ = build("regex", regex=LEVELS, schema={"code": "int32"})
    decoded = decode(format_, b"", b"INFO 99999999999 x", b"nope", b"\xff", None, b"A 1")
    assert decoded.table.column("code").to_pylist() == [1]
    assert places(decoded) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?=x)(?P<a>x)", "not a regular expression of RE2"),
        (r"(?P<a>x)\1", "not a regular expression of RE2"),
        ("(", "not a regular expression of RE2"),
        ("abc", "no named group"),
        ("(?P<a>x)(?P<a>y)", "there twice"),
    ],
)
def test_regex_patterns_are_checked(pattern: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build("regex", regex=pattern)


def test_regex_schema_must_name_groups() -> None:
    with pytest.raises(OptionError, match="did you mean 'code'"):
        build("regex", regex=LEVELS, schema={"cod": "int32"})
