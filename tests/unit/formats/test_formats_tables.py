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


def packed(table: pa.Table, kind: str) -> bytes:
    """As small as it gets."""
    file = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, file, compression="zstd", write_statistics=False)
    else:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(file, table.schema, options=options) as writer:
            writer.write_table(table)
    return file.getvalue()


def words(rows: int, length: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), ["x" * length])


BOMBS = {
    "one value": pa.table({"s": ["x" * (4 << 20)]}),
    "one word again and again": pa.table({"s": words(50_000, 100)}),
    "one word in a struct": pa.table(
        {"s": pa.StructArray.from_arrays([words(50_000, 100)], ["w"])}
    ),
    "nulls": pa.table({"s": pa.nulls(1_000_000, pa.int64())}),
    "lists of nothing": pa.table({"s": pa.array([[None] * 1_000_000], pa.list_(pa.bool_()))}),
}


@KINDS
@pytest.mark.parametrize("table", BOMBS.values(), ids=BOMBS)
def test_s3_a_body_that_is_far_larger_than_it_looks_is_a_bad_row(
    kind: str, table: pa.Table
) -> None:
    bomb = packed(table, kind)
    assert len(bomb) < 30_000
    decoded = decode(build(kind, rows_column="rows"), bomb, body(kind, pa.table({"n": [1]})))
    assert decoded.table.to_pylist() == [{"rows": [{"n": 1}]}]
    why = "what the body holds is more than 100 times as long as the body"
    assert decoded.bad == ((0, why),)


def test_s3_rows_without_bytes_and_bytes_that_are_shared_count() -> None:
    no_bytes = pa.Array.from_buffers(
        pa.list_(pa.int32(), 0), 10_000_000, [None], children=[pa.array([], pa.int32())]
    )
    view = np.array([100_000, int.from_bytes(b"xxxx"), 0, 0], np.int32)
    shared = [None, pa.py_buffer(np.tile(view, 500)), pa.py_buffer(b"x" * 100_000)]
    views = pa.Array.from_buffers(pa.string_view(), 500, shared)
    for column in (no_bytes, views, pa.nulls(10_000_000)):
        rows = packed(pa.table({"s": column}), "arrow")
        assert len(rows) < 400_000
        decoded = decode(build("arrow", rows_column="rows"), rows)
        assert [place for place, _ in decoded.bad] == [0], column.type


def test_s3_many_small_bodies_share_what_is_free_of_the_ratio() -> None:
    equal = packed(pa.table({"s": ["x" * 900_000]}), "arrow")
    assert len(equal) < 1_000
    decoded = decode(build("arrow"), *[equal] * 200)
    assert 60 < decoded.table.num_rows < 100
    assert len(decoded.bad) == 200 - decoded.table.num_rows


def test_s5_a_footer_that_contradicts_itself_does_not_end_the_process() -> None:
    """pyarrow's own metadata objects do, for a histogram that has not the length it should."""
    file = io.BytesIO()
    pq.write_table(pa.table({"s": [["x"], None, []]}), file)
    sound = file.getvalue()
    good = body("parquet", pa.table({"n": [1]}))
    for place in range(len(sound) - 400, len(sound) - 8):
        for byte in (0x19, 0x26, 0x36, 0xFF):
            written = sound[:place] + bytes([byte]) + sound[place + 1 :]
            decoded = decode(build("parquet", rows_column="rows"), written, good)
            assert len(decoded.bad) + decoded.table.num_rows == 2


def test_s3_a_footer_cannot_lie_about_the_pages() -> None:
    table = pa.table({"s": pa.array([b"x" * (4 << 20)])})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", use_dictionary=False, write_statistics=False)
    sound = file.getvalue()
    size = pq.read_metadata(io.BytesIO(sound)).row_group(0).column(0).total_uncompressed_size
    written = sound.replace(_zigzag(size), _zigzag(size - (4 << 20) + (1 << 21)))
    assert written != sound
    decoded = decode(build("parquet"), written)
    assert "100 times as long" in decoded.bad[0][1]


def _zigzag(value: int) -> bytes:
    """As a footer has a number: the compact protocol of Thrift."""
    value, out = value << 1, bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@KINDS
def test_large_bodies_that_mean_well_are_read(kind: str) -> None:
    rows = 3_000
    table = pa.table(
        {
            "word": pa.array(["a", "bb", None] * (rows // 3)),
            "wide": [f"{n:020}" for n in range(rows)],
            "inner": [{"w": str(n % 7), "l": [str(n)] * (n % 3)} for n in range(rows)],
            "map": pa.array([[("k", str(n % 5))] for n in range(rows)],
                            pa.map_(pa.string(), pa.string())),
        }
    )  # fmt: skip
    for whole in (packed(table, kind), body(kind, table)):
        decoded = decode(build(kind, rows_column="rows"), whole)
        assert decoded.bad == ()
        [[found]] = (decoded.table.columns[0].to_pylist(),)
        assert [row["wide"] for row in found] == table["wide"].to_pylist()
        assert [row["inner"] for row in found] == table["inner"].to_pylist()
        assert [row["map"][0]["value"] for row in found] == [str(n % 5) for n in range(rows)]


def test_parquet_of_every_encoding_of_texts_is_read() -> None:
    table = pa.table({"s": [f"{n:05}" for n in range(3_000)]})
    for encoding in ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"):
        file = io.BytesIO()
        pq.write_table(table, file, use_dictionary=False, column_encoding={"s": encoding})
        decoded = decode(build("parquet", rows_column="rows"), file.getvalue())
        assert decoded.table.column(0).to_pylist() == [table.to_pylist()]


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
