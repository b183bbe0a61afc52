"""Bodies that are Parquet files or Arrow streams: one row each, in the lake's types."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.interfaces import Decoded, Format
from rayflume.metrics import Metrics
from rayflume.schema import FIELDS_MAX

KINDS = pytest.mark.parametrize("kind", ["arrow", "parquet"])


def build(kind: str, **options: object) -> Format:
    context = Context("agent", "part", ManualClock(), Metrics())
    format_: Format = lookup("format", kind).model_validate(options).build(context)
    return format_


def body(kind: str, table: pa.Table) -> bytes:
    if kind == "parquet":
        file = io.BytesIO()
        pq.write_table(table, file)
        return file.getvalue()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def decode(format_: Format, *rows: bytes) -> Decoded:
    return format_.decode(pa.array(rows, pa.binary()), None)


@KINDS
def test_every_type_becomes_one_of_the_lakes(kind: str) -> None:
    utc = datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    columns = {
        "i8": (pa.array([-5], pa.int8()), -5),
        "u16": (pa.array([65_535], pa.uint16()), 65_535),
        "u32": (pa.array([2**32 - 1], pa.uint32()), 2**32 - 1),
        "u64": (pa.array([2**64 - 1], pa.uint64()), Decimal(2**64 - 1)),
        "f16": (pa.array([np.float16(0.5)], pa.float16()), 0.5),
        "text": (pa.array(["x"], pa.large_string()), "x"),
        "bytes": (pa.array([b"ab"], pa.binary(2)), b"ab"),
        "word": (pa.array(["w"]).dictionary_encode(), "w"),
        "ns": (pa.array([1_700_000_000_123_456_789], pa.timestamp("ns", "Asia/Tokyo")), utc),
        "naive": (pa.array([1_700_000_000], pa.timestamp("s")), utc.replace(microsecond=0)),
        "day": (pa.array([date(2024, 2, 29)], pa.date32()), date(2024, 2, 29)),
        "d": (pa.array([Decimal("1.25")], pa.decimal128(5, 2)), Decimal("1.25")),
        "m": (
            pa.array([[("a", 1), ("b", None)]], pa.map_(pa.string(), pa.int8())),
            [{"key": "a", "value": 1}, {"key": "b", "value": None}],
        ),
        "o": (pa.array([{"l": [1, None]}], pa.struct([("l", pa.large_list(pa.int16()))])),
              {"l": [1, None]}),
        "none": (pa.nulls(1), None),
    }  # fmt: skip
    table = pa.table({name: array for name, (array, _) in columns.items()})
    decoded = decode(build(kind), body(kind, table))
    assert decoded.bad == ()
    expected = {name: value for name, (_, value) in columns.items() if name != "none"}
    assert decoded.table.to_pylist() == [expected]


@KINDS
def test_a_body_is_one_row_or_a_list_of_rows(kind: str) -> None:
    """An event is one row of the lake, so many rows of a body can only be one value."""
    bodies = [body(kind, pa.table({"n": pa.array(range(n), pa.int64())})) for n in (1, 0, 3)]
    decoded = decode(build(kind), *bodies)
    assert decoded.table.to_pylist() == [{"n": 0}]
    assert [place for place, _ in decoded.bad] == [1, 2]
    assert decoded.bad[1][1].startswith("the body holds 3 rows: one event is one row")
    whole = decode(build(kind, rows_column="rows"), *bodies)
    assert whole.bad == ()
    assert whole.table.to_pylist() == [
        {"rows": [{"n": 0}]}, {"rows": []}, {"rows": [{"n": 0}, {"n": 1}, {"n": 2}]}
    ]  # fmt: skip


@KINDS
def test_bodies_of_different_schemas_stay_in_order(kind: str) -> None:
    rows = [
        pa.table({"n": pa.array([n], pa.int32() if n % 2 else pa.int64()), f"c{n % 3}": [str(n)]})
        for n in range(30)
    ]
    decoded = decode(build(kind), *(body(kind, row) for row in rows))
    assert decoded.bad == ()
    found = decoded.table.to_pylist()
    assert [row["n"] for row in found] == list(range(30))
    assert [row[f"c{n % 3}"] for n, row in enumerate(found)] == [str(n) for n in range(30)]


@KINDS
def test_declared_types_are_kept_to(kind: str) -> None:
    format_ = build(kind, schema={"t": "timestamp_ms", "d": "decimal(5,2)", "gone": "string"})
    good = pa.table({"t": [1_700_000_000_123], "d": ["1.25"], "more": [1]})
    bad = pa.table({"t": [1], "d": ["1.255"]})
    decoded = decode(format_, body(kind, good), body(kind, bad))
    assert decoded.table.to_pylist() == [
        {"t": datetime(2023, 11, 14, 22, 13, 20, 123000, UTC), "d": Decimal("1.25"),
         "gone": None, "more": 1}
    ]  # fmt: skip
    assert decoded.bad == ((1, "column d: '1.255' is not a valid decimal(5,2)"),)


@KINDS
@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pa.table({"t": pa.array([1], pa.time64("us"))}), "the lake has no type for time64[us]"),
        (
            pa.table({"t": pa.array([2**62], pa.timestamp("s"))}),
            "column t: a time is outside the years 1 to 9999",
        ),
    ],
)
def test_what_has_no_type_is_a_bad_row(kind: str, table: pa.Table, reason: str) -> None:
    if kind == "parquet" and "time is" in reason:
        table = table.cast(pa.schema([("t", pa.timestamp("ms"))]), safe=False)
        table = pa.table({"t": pa.array([2**62], pa.timestamp("ms"))})
    decoded = decode(build(kind), body(kind, table), body(kind, pa.table({"n": [1]})))
    assert [place for place, _ in decoded.bad] == [0]
    assert reason in decoded.bad[0][1]


def test_s2_a_flood_of_columns_is_a_bad_row() -> None:
    flood = pa.table({f"c{n}": [1] for n in range(FIELDS_MAX + 1)})
    decoded = decode(build("arrow"), body("arrow", flood), body("arrow", pa.table({"n": [1]})))
    assert decoded.table.to_pylist() == [{"n": 1}]
    assert "more columns than" in decoded.bad[0][1]


def test_a_file_that_is_far_larger_than_it_looks_is_a_bad_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rayflume.formats.parquet.BODY_BYTES_MAX", 1 << 20)
    bomb = pa.table({"s": ["x" * (2 << 20)]})
    file = io.BytesIO()
    pq.write_table(bomb, file, compression="zstd", use_dictionary=False, write_statistics=False)
    assert len(file.getvalue()) < 10_000
    decoded = decode(build("parquet"), file.getvalue())
    assert decoded.bad == ((0, "the body holds more than 1 MiB"),)


def test_the_file_form_of_arrow_is_read_too() -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"n": [1]})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert decode(build("arrow"), sink.getvalue().to_pybytes()).table.to_pylist() == [{"n": 1}]


@pytest.mark.parametrize("offsets", [[0, 2**30], [0, -1], [5, 1]], ids=["beyond", "below", "back"])
def test_s6_bad_offsets_are_a_bad_row(offsets: list[int]) -> None:
    """Offsets that would read memory of others."""
    sound = body("arrow", pa.table({"n": [1], "s": ["abcde"]}))
    written = sound.replace(
        np.array([0, 5], np.int32).tobytes(), np.array(offsets, np.int32).tobytes()
    )
    assert written != sound
    decoded = decode(build("arrow"), written, body("arrow", pa.table({"n": [2], "s": ["x"]})))
    assert decoded.table.to_pylist() == [{"n": 2, "s": "x"}]
    assert [place for place, _ in decoded.bad] == [0]
