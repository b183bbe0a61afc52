from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from pydantic import ValidationError

from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.errors import OptionError
from rayflume.interfaces import Decoded, Format
from rayflume.metrics import Metrics

LONG = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}


def build(directory: Path | None = None, **options: object) -> Format:
    context = Context("agent", "part", ManualClock(), Metrics(), directory or Path.cwd())
    format_: Format = lookup("format", "avro").model_validate(options).build(context)
    return format_


def record(*fields: tuple[str, object]) -> dict[str, Any]:
    entries = [{"name": name, "type": kind} for name, kind in fields]
    return {"type": "record", "name": "R", "fields": entries}


def datum(schema: dict[str, Any], value: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    fastavro.schemaless_writer(file, fastavro.parse_schema(schema), value)
    return file.getvalue()


def decode(format_: Format, *rows: bytes, schema: pa.Schema | None = None) -> Decoded:
    return format_.decode(pa.array(rows, pa.binary()), schema)


def test_every_type_becomes_a_column() -> None:
    inner = {"type": "record", "name": "In", "namespace": "x", "fields": LONG["fields"]}
    schema = record(
        ("bo", "boolean"), ("i", "int"), ("l", "long"), ("f", "float"), ("d", "double"),
        ("by", "bytes"), ("s", ["null", "string"]), ("il", ["int", "null", "long"]),
        ("e", {"type": "enum", "name": "E", "symbols": ["A", "B"]}),
        ("fx", {"type": "fixed", "name": "F", "size": 2}),
        ("a", {"type": "array", "items": inner}), ("m", {"type": "map", "values": "x.In"}),
        ("again", ["null", "x.In"]), ("none", "null"),
        ("dec", {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}),
        ("day", {"type": "int", "logicalType": "date"}),
        ("ms", {"type": "long", "logicalType": "timestamp-millis"}),
        ("us", {"type": "long", "logicalType": "local-timestamp-micros"}),
        ("ns", {"type": "long", "logicalType": "timestamp-nanos"}),
    )  # fmt: skip
    value = {
        "bo": True, "i": 1, "l": 2**62, "f": 0.5, "d": 0.1, "by": b"\xff", "s": None,
        "il": 2**40, "e": "B", "fx": b"ab", "a": [{"n": 1}, {"n": 2}], "m": {"k": {"n": 3}},
        "again": {"n": 4}, "none": None, "dec": Decimal("1234567890123456789012345678.25"),
        "day": date(2024, 2, 29), "ms": datetime(2024, 1, 1, tzinfo=UTC),
        "us": datetime(2024, 1, 1, 0, 0, 0, 5, UTC).replace(tzinfo=None),
        "ns": 1_700_000_000_123_456_789,
    }  # fmt: skip
    decoded = decode(build(schema=schema), datum(schema, value))
    assert decoded.bad == ()
    [found] = decoded.table.to_pylist()
    expected = {name: v for name, v in value.items() if name != "none"} | {
        "m": [{"key": "k", "value": {"n": 3}}],
        "us": datetime(2024, 1, 1, 0, 0, 0, 5, UTC),
        "ns": datetime(2023, 11, 14, 22, 13, 20, 123456, UTC),
    }
    assert found == expected


def test_bad_records_are_found_among_good_ones() -> None:
    schema = record(
        ("i", "int"),
        ("d", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}),
        ("day", {"type": "int", "logicalType": "date"}),
    )
    good = datum(schema, {"i": 1, "d": Decimal("12.34"), "day": date(2024, 1, 1)})
    wide = record(("i", "long"), ("d", "bytes"), ("day", "int"))
    rows = {
        good[:-1]: "not a record of the Avro schema",
        good + b"\x00": "something follows the record",
        datum(wide, {"i": 2**40, "d": b"\x00", "day": 1}): "not a record of the Avro schema",
        datum(wide, {"i": 1, "d": b"\x7f" * 40, "day": 1}): "column d: ",
        datum(wide, {"i": 1, "d": b"\x00", "day": 2**31 - 1}): "column day: ",
    }
    mixed = [row for bad in rows for row in (good, bad)]
    decoded = decode(build(schema=schema), *mixed, good)
    assert [place for place, _ in decoded.bad] == [1, 3, 5, 7, 9]
    for (_, reason), expected in zip(decoded.bad, rows.values(), strict=True):
        assert reason.startswith(expected)
    assert (
        decoded.table.to_pylist() == [{"i": 1, "d": Decimal("12.34"), "day": date(2024, 1, 1)}] * 6
    )


def test_framings() -> None:
    body = datum(LONG, {"n": 7})
    crc = bytes.fromhex(fingerprint(to_parsing_canonical_form(LONG), "CRC-64-AVRO"))
    single = build(schema=LONG, framing="single_object")
    confluent = build(schema=LONG, framing="confluent", schema_id=258)
    for format_, prefix in ((single, b"\xc3\x01" + crc), (confluent, b"\x00\x00\x00\x01\x02")):
        decoded = decode(format_, prefix + body, body, b"\x00\x00\x00\x01\x03" + body)
        assert decoded.table.to_pylist() == [{"n": 7}]
        assert [place for place, _ in decoded.bad] == [1, 2]


def test_the_single_object_prefix_is_that_of_the_specification() -> None:
    """CRC-64-AVRO, computed here as the specification has it, goes little-endian."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "int"}]}
    value = 0xC15D213AA4D7A795
    table = []
    for i in range(256):
        fp = i
        for _ in range(8):
            fp = (fp >> 1) ^ (value if fp & 1 else 0)
        table.append(fp)
    crc = value
    for byte in to_parsing_canonical_form(schema).encode():
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    body = b"\xc3\x01" + crc.to_bytes(8, "little") + datum(schema, {"n": 5})
    decoded = decode(build(schema=schema, framing="single_object"), body)
    assert decoded.table.to_pylist() == [{"n": 5}]


def test_a_container_has_its_own_schema_and_one_record() -> None:
    def container(schema: dict[str, Any], *values: dict[str, Any], codec: str = "null") -> bytes:
        file = io.BytesIO()
        fastavro.writer(file, schema, values, codec=codec)
        return file.getvalue()

    more = record(("n", "int"), ("s", "string"))
    rows = [
        container(LONG, {"n": 2**40}),
        container(more, {"n": 1, "s": "x"}, codec="deflate"),
        container(LONG), container(LONG, {"n": 1}, {"n": 2}),
        container(record(("n", ["string", "long"])), {"n": 1}),
    ]  # fmt: skip
    decoded = decode(build(framing="container"), *rows, b"Obj\x01")
    assert decoded.table.to_pylist() == [{"n": 2**40, "s": None}, {"n": 1, "s": "x"}]
    reasons = [reason for _, reason in decoded.bad]
    assert reasons[0] == "the body holds 0 records: one event is one row"
    assert reasons[1] == "the body holds 2 records: one event is one row"
    assert "the union" in reasons[2] and reasons[3].startswith("not an Avro file")


def test_a_schema_that_would_never_end_is_refused() -> None:
    """Values without bytes make a list of any length from a few bytes."""
    for items in ("null", {"type": "fixed", "name": "F", "size": 0}, record()):
        with pytest.raises(ValidationError, match=r"null|no bytes|not null"):
            build(schema=record(("a", {"type": "array", "items": items})))
    with pytest.raises(ValidationError, match="R holds itself"):
        build(schema=record(("next", ["null", "R"])))


def test_s2_a_schema_that_names_types_again_and_again_is_a_bad_row() -> None:
    """A few hundred bytes of schema with 2**31 columns: counted, not built."""
    kind: object = record(("x", ["null", "int"])) | {"name": "R0"}
    for level in range(1, 31):
        fields = [("a", ["null", kind]), ("b", ["null", f"R{level - 1}"])]
        kind = record(*fields) | {"name": f"R{level}"}
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(kind), [{"a": None, "b": None}])  # type: ignore[arg-type]
    decoded = decode(build(framing="container"), file.getvalue())
    assert [place for place, _ in decoded.bad] == [0]
    assert "more than 2,000 fields" in decoded.bad[0][1]


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz"])
def test_s3_a_container_that_is_a_bomb_is_a_bad_row(codec: str) -> None:
    schema, file = record(("b", "bytes")), io.BytesIO()
    fastavro.writer(file, schema, [{"b": bytes(4 << 20)}], codec=codec)
    assert len(file.getvalue()) < 10_000
    decoded = decode(build(framing="container"), file.getvalue())
    assert decoded.bad[0][1].endswith("grows beyond 1048576 bytes")


def test_s2_rows_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayflume.formats.avro._TOGETHER_BYTES", 10)
    schema = record(("n", "int"), ("s", "string"))
    good = [datum(schema, {"n": n, "s": "x" * (n % 7)}) for n in range(100)]
    rows = [row if place % 9 else b"\x01" for place, row in enumerate(good)]
    decoded = decode(build(schema=schema), *rows)
    expected = [{"n": n, "s": "x" * (n % 7)} for n in range(100) if n % 9]
    assert decoded.table.to_pylist() == expected
    assert [place for place, _ in decoded.bad] == list(range(0, 100, 9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name the schema"),
        ({"schema": LONG, "schema_file": "x"}, "name the schema"),
        ({"schema": LONG, "framing": "container"}, "has its own schema"),
        ({"schema": LONG, "framing": "confluent"}, "schema_id"),
        ({"schema": LONG, "schema_id": 7}, "schema_id"),
        ({"schema": "{"}, "not JSON"),
        ({"schema": {"type": "string"}}, "must be a record"),
        ({"schema": record(("u", ["string", "long"]))}, "u: the union"),
        ({"schema": record(("u", "strin"))}, "no type 'strin'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build(**options)


def test_the_schema_may_be_text_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "r.avsc").write_text(json.dumps(LONG))
    body = datum(LONG, {"n": 7})
    for options in ({"schema": json.dumps(LONG)}, {"schema_file": "r.avsc"}):
        assert decode(build(tmp_path, **options), body).table.to_pylist() == [{"n": 7}]
    with pytest.raises(OptionError, match=r"cannot read .*none\.avsc"):
        build(tmp_path, schema_file="none.avsc")


def test_the_lakes_types_win() -> None:
    schema = record(("d", {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}))
    lake = pa.schema([("d", pa.decimal128(9, 3))])
    decoded = decode(build(schema=schema), datum(schema, {"d": Decimal("12.34")}), schema=lake)
    assert decoded.table.schema.equals(lake)
    assert decoded.table.to_pylist() == [{"d": Decimal("12.340")}]
