"""Events to bytes: text, headers and text, Avro files that fastavro reads."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.batch import HEADERS_MAX, EventBatch
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup, types_of
from rayflume.errors import OptionError
from rayflume.metrics import Metrics
from rayflume.serializer import FRAME, SIZE, Data, Serializer
from rayflume.serializers._avro import varint
from rayflume.serializers.avro import LITERAL, URL

HERE = Context("agent", "out", ManualClock(), Metrics())
CLICK = {
    "type": "record",
    "name": "Click",
    "fields": [{"name": "user", "type": "long"}, {"name": "url", "type": "string"}],
}
OTHER = {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "double"}]}
CODECS = ["null", "deflate", "snappy", "bzip2", "zstandard", "xz"]

Headers = list[dict[str, str]]


def made(name: str, **options: object) -> Serializer:
    serializer: Serializer = lookup("serializer", name).model_validate(options).build(HERE)
    return serializer


def written(serializer: Serializer, *batches: EventBatch) -> bytes:
    """One file of all events."""
    encoder = serializer.encoder("dir/name", 0)
    out: list[Data] = []
    for batch in batches:
        out += encoder.encode(serializer.serialize(batch).table)
    return b"".join(map(memoryview, [*out, *encoder.end()]))


def batch(bodies: list[bytes | None], headers: Headers | None = None) -> EventBatch:
    return EventBatch.from_events(bodies, headers or [])


def encoded(schema: dict[str, Any], **value: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("text", {}, b"a\n\nb\nc\n"),
        ("text", {"append_newline": False}, b"ab\nc"),
        ("header_and_text", {}, b"{h=1, k=v} a\n{} \n{k=w} b\nc\n"),
        ("header_and_text", {"append_newline": False}, b"{h=1, k=v} a{} {k=w} b\nc"),
    ],
)
def test_text(name: str, options: dict[str, object], expected: bytes) -> None:
    rows = batch([b"a", None, b"b\nc"], [{"k": "v", "h": "1"}, {}, {"k": "w"}])
    assert written(made(name, **options), rows) == expected


def test_headers_that_all_events_share_and_none_at_all() -> None:
    shared = EventBatch(pa.array([b"x", b"y"], pa.binary()), {"host": "h", "a": "1"})
    serializer = made("header_and_text")
    assert written(serializer, shared) == b"{a=1, host=h} x\n{a=1, host=h} y\n"
    assert written(serializer, batch([b"x"])) == b"{} x\n"


@pytest.mark.parametrize("name", [n for n in types_of("serializer") if n != "avro"])
def test_e2_frames_and_sizes_of_a_slice(name: str) -> None:
    serializer = made(name)
    whole = batch([b"a" * n for n in range(9)], [{"k": str(n)} for n in range(9)])
    table = serializer.serialize(whole.slice(3, 4)).table
    assert table.schema == serializer.schema
    assert table.schema.names[:2] == [FRAME, SIZE]
    assert table.column(SIZE).to_pylist() == [3, 4, 5, 6]
    assert table.column(FRAME) == serializer.serialize(whole).table.column(FRAME).slice(3, 4)


EVENTS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.binary(max_size=300)),
        st.dictionaries(st.sampled_from(["a", "k", "été", "timestamp"]), st.text(max_size=80)),
    ),
    min_size=1,
    max_size=30,
)


@given(events=EVENTS, codec=st.sampled_from(CODECS), interval=st.integers(32, 400))
def test_avro_event_is_read_by_fastavro(
    events: list[tuple[bytes | None, dict[str, str]]], codec: str, interval: int
) -> None:
    serializer = made("avro_event", compression_codec=codec, sync_interval_bytes=interval)
    rows = batch([body for body, _ in events], [headers for _, headers in events])
    half = len(events) // 2
    data = written(serializer, rows.slice(0, half), rows.slice(half, len(events) - half))
    read = list(fastavro.reader(io.BytesIO(data)))
    assert read == [{"headers": headers, "body": body or b""} for body, headers in events]


def test_avro_event_with_more_names_than_columns_and_shared_values() -> None:
    names = [f"h{n}" for n in range(HEADERS_MAX + 5)]
    headers: Headers = [{name: str(n)} for n, name in enumerate(names)]
    rows = batch([b"x"] * len(names), headers).with_header("host", "w")
    read = list(fastavro.reader(io.BytesIO(written(made("avro_event"), rows))))
    assert read == [{"headers": one | {"host": "w"}, "body": b"x"} for one in headers]


def test_a_block_ends_with_the_event_that_fills_it() -> None:
    serializer = made("avro_event", sync_interval_bytes=100)
    data = written(serializer, batch([b"x" * 48] * 5))  # 50 bytes a record
    blocks = [block.num_records for block in fastavro.block_reader(io.BytesIO(data))]
    assert blocks == [2, 2, 1]


@pytest.mark.parametrize("number", [0, 1, 63, 64, 8191, 8192, 2**31, 2**62])
def test_varints(number: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": "long"}, number)
    assert varint(number) == out.getvalue()


# -- bodies that are Avro data ---------------------------------------------------------------------


@pytest.fixture
def schema_file(tmp_path: Path) -> Path:
    path = tmp_path / "click.avsc"
    path.write_text(json.dumps(CLICK))
    return path


@pytest.mark.parametrize("codec", CODECS)
def test_bodies_that_are_avro_data(schema_file: Path, codec: str) -> None:
    serializer = made("avro", schema_url=str(schema_file), compression_codec=codec)
    rows = [encoded(CLICK, user=n, url=f"/{n}") for n in range(50)]
    data = written(serializer, batch(list(rows)))
    assert list(fastavro.reader(io.BytesIO(data))) == [
        {"user": n, "url": f"/{n}"} for n in range(50)
    ]


def test_each_schema_has_files_of_its_own() -> None:
    serializer = made("avro")
    rows = batch(
        [encoded(CLICK, user=1, url="/"), encoded(OTHER, x=2.5)],
        [{LITERAL: json.dumps(CLICK)}, {LITERAL: json.dumps(OTHER)}],
    )
    table = serializer.serialize(rows).table
    [column] = serializer.apart
    assert len(set(table.column(column).to_pylist())) == 2
    for n, expected in enumerate([{"user": 1, "url": "/"}, {"x": 2.5}]):
        encoder = serializer.encoder(f"file{n}", 0)
        data = b"".join(map(memoryview, [*encoder.encode(table.slice(n, 1)), *encoder.end()]))
        assert list(fastavro.reader(io.BytesIO(data))) == [expected]


def test_what_does_not_fit_is_told_apart(schema_file: Path) -> None:
    good, url = encoded(CLICK, user=1, url="/"), "http://evil.example/x.avsc"
    bodies = [good, b"\xff", good + b"x", good, good, good, None, good]
    headers: Headers = [
        {}, {}, {}, {LITERAL: "{"}, {URL: url}, {URL: str(schema_file)}, {},
        {LITERAL: json.dumps(OTHER)},
    ]  # fmt: skip
    decoded = made("avro", schema_url=str(schema_file)).serialize(batch(bodies, headers))
    assert decoded.rows is not None and decoded.rows.to_pylist() == [0, 5]
    reasons = dict(decoded.bad)
    assert sorted(reasons) == [1, 2, 3, 4, 6, 7]
    assert "no Avro schema" in reasons[3]
    assert "nothing is fetched" in reasons[4]
    assert all("no data of its Avro schema" in reasons[row] for row in (1, 2, 6, 7))


def test_s17_no_schema_is_fetched_because_an_event_says_so() -> None:
    rows = batch([b"x", b"y"], [{URL: "http://127.0.0.1:9/x"}, {}])
    reasons = [reason for _, reason in made("avro").serialize(rows).bad]
    assert "nothing is fetched" in reasons[0]
    assert "no Avro schema" in reasons[1]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"type":"record"}', "1", '"nope"', ""])
def test_a_hostile_schema_is_a_bad_row(text: str) -> None:
    [(row, reason)] = made("avro").serialize(batch([b"x"], [{LITERAL: text}])).bad
    assert row == 0 and "no Avro schema" in reason


def test_more_schemas_than_a_batch_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rayflume.serializers.avro._SCHEMAS_MAX", 1)
    texts = [json.dumps(CLICK), json.dumps(OTHER)]
    rows = batch(
        [encoded(CLICK, user=1, url="/"), encoded(OTHER, x=1.0)], [{LITERAL: t} for t in texts]
    )
    [(row, reason)] = made("avro").serialize(rows).bad
    assert row == 1 and "schema" in reason


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read"), ("{", "no Avro schema"), ("7", "no Avro")]
)
def test_a_schema_file_that_is_wrong(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "x.avsc"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionError, match=said):
        made("avro", schema_url=str(path))


def test_a_schema_url_is_a_local_file() -> None:
    with pytest.raises(ValueError, match="copy the schema to a file"):
        made("avro", schema_url="https://schemas.example/click.avsc")
