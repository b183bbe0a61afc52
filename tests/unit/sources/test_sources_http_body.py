from __future__ import annotations

import gzip
import json
import random
import time
import tracemalloc

import pyarrow as pa
import pytest

from rayflume.batch import HEADERS_MAX
from rayflume.sources._http_body import inflate, lines, parse
from rayflume.sources._http_json import flume_events
from rayflume.sources._http_refusal import Refusal
from rayflume.sources._http_settings import OBJECTS_MAX


def refused(status: int, data: bytes, charset: str = "utf-8") -> str:
    with pytest.raises(Refusal) as caught:
        flume_events(data, charset)
    assert caught.value.status == status
    return caught.value.message


LONG = b"x" * 4096 + b"\n"
"""A line that lets a body be read as columns."""


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"", []),
        (b"\n", []),
        (b"\r\n\r\n", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"\na\n\nbc\n", [b"a", b"bc"]),
        (b"a\r\nb\nc\r\n", [b"a", b"b", b"c"]),
        (b"a\r\r\nb\rc\r", [b"a\r", b"b\rc"]),
        (b"\xff\x00\n{broken\n", [b"\xff\x00", b"{broken"]),
    ],
)
def test_one_row_per_line_without_its_end(data: bytes, rows: list[bytes]) -> None:
    assert both_ways(data) == rows
    assert lines(bytearray(data)).to_pylist() == rows
    assert lines(data).type == lines(LONG + data).type == pa.binary()


def both_ways(data: bytes) -> list[bytes]:
    """The rows of few bytes, which are cut one by one; as columns they must be the same."""
    rows: list[bytes] = lines(data).to_pylist()
    assert lines(LONG + data).to_pylist() == [LONG[:-1], *rows], data
    return rows


def test_many_empty_lines() -> None:
    assert lines(b"\r\n\n" * len(LONG)).to_pylist() == []


def test_lines_agree_with_a_split_by_hand() -> None:
    chance = random.Random(4)
    for _ in range(300):
        data = bytes(chance.choice(b"ab\n\r") for _ in range(chance.randrange(30)))
        split = (data + b"\n").replace(b"\r\n", b"\n").split(b"\n")
        assert both_ways(data) == [line for line in split if line], data


def test_lines_do_not_change_the_buffer_they_get() -> None:
    data = bytearray(b"a\r\nb")
    lines(data)
    assert data == b"a\r\nb"


def test_flume_events_become_rows_and_headers() -> None:
    batch = flume_events(
        b'[{"headers":{"a":"1","n":1.10,"t":true,"z":null},"body":"x"},'
        b'{"body":null},{"headers":null},{"headers":{"b":"2"},"body":7,"more":[[1]]}]',
        "utf-8",
    )
    assert batch.body.to_pylist() == [b"x", b"", b"", b"7"]
    assert batch.header_names() == ["a", "b", "n", "t"]
    assert batch.header("a").to_pylist() == ["1", None, None, None]
    assert batch.header("n").to_pylist() == ["1.10", None, None, None]
    assert batch.header("t").to_pylist() == ["true", None, None, None]
    assert batch.header("b").to_pylist() == [None, None, None, "2"]


def test_bodies_of_a_few_events_are_the_bytes_of_their_texts() -> None:
    texts = ["", "žluť", "\U0001f600", "a\0b"]
    data = json.dumps([{"headers": {}, "body": text} for text in texts]).encode()
    batch = flume_events(data, "utf-8")
    assert batch.body.type == pa.binary()
    assert batch.body.to_pylist() == [text.encode() for text in texts]
    assert batch.header_names() == []


def test_an_empty_list_is_no_events() -> None:
    assert flume_events(b"[]", "utf-8").num_rows == 0


@pytest.mark.parametrize("charset", ["utf-16", "utf-32"])
def test_bodies_keep_the_character_set_of_the_request_as_in_flume(charset: str) -> None:
    text = '[{"headers":{"h":"é"},"body":"žluť"}]'
    big = "-be"
    java = {
        "utf-16": b"\xfe\xff" + "žluť".encode("utf-16-be"),
        "utf-32": "žluť".encode("utf-32-be"),
    }
    for sent in (text.encode(charset), text.encode(charset + big)):
        batch = flume_events(sent, charset)
        assert batch.body.to_pylist() == [java[charset]]
        assert batch.header("h").to_pylist() == ["é"]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"{}", b"[1]", b"[[]]", b"[null]", b'{"body":"x"}', b"[{]", b'[{"body":[1]}]',
        b'[{"body":{}}]', b'[{"headers":[]}]', b'[{"headers":"x"}]', b'[{"headers":{"a":{}}}]',
        b'[{"headers":""}]', b'[{"headers":false}]', b'[{"headers":{}},{"headers":[]}]', b"\n ",
        b"\xff", b'[{"body":"\\ud800"}]', b'[{"headers":{"\\ud800":"a"}}]',
        b'[{"headers":{"a":"\\udfff"}}]', b'[{"headers":{"\\ud800":"a"}},{"headers":{"b":"c"}}]',
        b'[{"headers":{"\\ud800":"a"}}]' + b" " * 10,
        b'[{"body":"a"}] x',
    ],
)  # fmt: skip
def test_s5_malformed_json_is_refused_without_repeating_it(data: bytes) -> None:
    message = refused(400, data)
    assert len(message) < 100
    assert "body" not in data.decode("latin-1") or data.decode("latin-1") not in message


def test_s2_deep_nesting_is_refused() -> None:
    assert "deep" in refused(400, b"[" * 100_000)
    assert "deep" in refused(400, b'[{"x":' * 5_000)


def test_s2_too_many_objects_are_refused_before_they_take_memory() -> None:
    data = b"[" + b"{}," * OBJECTS_MAX + b"{}]"
    tracemalloc.start()
    try:
        refused(413, data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_s2_too_many_headers_of_one_event_are_refused() -> None:
    names = ",".join(f'"h{i}":"v"' for i in range(2_001))
    assert "2000" in refused(400, b'[{"headers":{%s}}]' % names.encode())


def test_many_names_that_few_rows_have_cost_no_table_of_all() -> None:
    rows = ",".join(f'{{"headers":{{"h{i % 250}":"v{i}"}},"body":"x"}}' for i in range(20_000))
    begun = time.perf_counter()
    batch = flume_events(b"[" + rows.encode() + b"]", "utf-8")
    assert time.perf_counter() - begun < 5
    assert batch.more is not None
    assert batch.header("h7").to_pylist()[:300:257] == [None, "v257"]
    assert batch.num_rows == 20_000


def test_one_event_with_more_names_than_columns_are_kept() -> None:
    names = ",".join(f'"h{i}":"v{i}"' for i in range(HEADERS_MAX + 1))
    batch = flume_events(b'[{"headers":{%s}}]' % names.encode(), "utf-8")
    assert batch.header("h256").to_pylist() == ["v256"]


def test_s2_an_event_over_the_limit_is_refused_with_413() -> None:
    for path, data in [("/raw", b"x" * 11), ("/ndjson", b"a\n" + b"x" * 11 + b"\n")]:
        with pytest.raises(Refusal) as caught:
            parse(path, data, "utf-8", 10)
        assert caught.value.status == 413
    assert parse("/ndjson", b"x" * 10 + b"\n" + b"y" * 10, "utf-8", 10).num_rows == 2


def test_gzip_comes_back_whole() -> None:
    chance = random.Random(5)
    for size in (0, 1, 1000, 70_000, 3_000_000):
        data = chance.randbytes(size)
        assert inflate(gzip.compress(data, 1), 2**24) == data
    assert inflate(gzip.compress(b"ab " * 20_000), 2**24) == b"ab " * 20_000


@pytest.mark.parametrize("cut", [0, 5, 17, -1])
def test_s5_damaged_gzip_is_refused(cut: int) -> None:
    whole = gzip.compress(b"a line of text\n" * 100)
    for data in (whole[:cut], whole + b"x", whole + whole, b"x" + whole):
        with pytest.raises(Refusal) as caught:
            inflate(data, 2**24)
        assert caught.value.status == 400


def test_s3_a_gzip_bomb_is_refused_before_it_takes_memory() -> None:
    bomb = gzip.compress(b"\0" * (200 * 2**20), 9)
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="100 to 1") as caught:
            inflate(bomb, 2**30)
        assert tracemalloc.get_traced_memory()[1] < 80 * 2**20
    finally:
        tracemalloc.stop()
    assert caught.value.status == 413


def test_s3_more_than_the_limit_after_decompression_is_refused() -> None:
    data = gzip.compress(random.Random(6).randbytes(5_000) * 4)
    with pytest.raises(Refusal, match="19999 bytes") as caught:
        inflate(data, 19_999)
    assert caught.value.status == 413
    assert len(inflate(data, 20_000)) == 20_000
