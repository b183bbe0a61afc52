"""Flume's HTTP answers, request by request, against the running server; its two handlers; and
large lists of events, which are read as columns and must be what they are read one by one.
"""

from __future__ import annotations

import gzip
import json
import random

import pytest
from sources_http_fakes import serving

from rayflume.batch import HEADERS_MAX, EventBatch
from rayflume.errors import ChannelFull, OptionError
from rayflume.sources import _http_json
from rayflume.sources._http_json import COLUMNS_FROM_BYTES, as_columns, flume_events
from rayflume.sources._http_refusal import Refusal

ONE = b'[{"headers":{"a":"b"},"body":"x"}]'
JSON = "application/json"
ANSWERS = [
    # method, path, body, Content-Type, status
    ("POST", "/", ONE, JSON, 200),
    ("POST", "/any/path?x=1", ONE, JSON, 200),
    ("POST", "/ndjson", ONE, JSON, 200),
    ("GET", "/", ONE, JSON, 200),
    ("POST", "/", b"[]", JSON, 200),
    ("POST", "/", b'[{"body":"x"}]', "", 200),
    ("POST", "/", b"[{}]", JSON, 200),
    ("POST", "/", b'[{"headers":null,"body":null}]', JSON, 200),
    ("POST", "/", ONE.decode().encode("utf-16"), f"{JSON}; charset=UTF-16", 200),
    ("POST", "/", ONE.decode().encode("utf-32"), f"{JSON}; charset=utf-32", 200),
    ("POST", "/", ONE, f"{JSON}; charset=ISO-8859-1", 500),
    ("POST", "/", b"", JSON, 500),
    ("POST", "/", b" \n", JSON, 500),
    ("POST", "/", b"null", JSON, 500),
    ("POST", "/", b"[null]", JSON, 500),
    ("GET", "/", b"", JSON, 500),
    ("POST", "/", b"[{", JSON, 400),
    ("POST", "/", b"hello", JSON, 400),
    ("POST", "/", b'{"body":"x"}', JSON, 400),
    ("POST", "/", b'[{"headers":[],"body":"x"}]', JSON, 400),
    ("POST", "/", b'[{"body":{"a":1}}]', JSON, 400),
    ("TRACE", "/", b"", "", 403),
    ("OPTIONS", "/", b"", "", 403),
    ("PUT", "/", ONE, JSON, 405),
    ("DELETE", "/", b"", "", 405),
]


def test_the_answers_of_flumes_json_handler() -> None:
    with serving(handler="json") as server:
        found = []
        for method, path, body, kind, _ in ANSWERS:
            headers = {"Content_Type": kind} if kind else {}
            found.append(
                (method, path, body, kind, server.ask(method, path, body, **headers).status)
            )
    assert found == ANSWERS


def test_an_answer_is_empty_and_a_full_channel_is_503() -> None:
    with serving(handler="json") as server:
        assert server.post("/x", ONE).body == b""
        server.ingest.errors.append(ChannelFull("full", credit=0))
        assert server.post("/x", ONE).status == 503
        server.clock.advance(2_000)
        server.ingest.errors.append(RuntimeError("a bug"))
        assert server.post("/x", ONE).status == 500
        server.clock.advance(2_000)  # it holds off for a while after a failed put
        assert server.post("/x", b"null").status == 500
        counted = server.metrics.snapshot()
        assert (counted["GenericProcessingFail"], counted["EventReadFail"]) == (1, 1)


def test_health_is_told_beside_a_handler() -> None:
    with serving(handler="json") as server:
        assert server.ask("GET", "/healthz").status == 200
        assert server.ask("GET", "/readyz").status == 200


def test_the_body_of_an_event_is_in_the_requests_own_character_set() -> None:
    with serving(handler="json") as server:
        text = '[{"body":"é😀"}]'
        server.post("/", text.encode(), Content_Type=JSON)
        server.post("/", text.encode("utf-16-be"), Content_Type=f"{JSON};charset=utf-16")
        server.post("/", text.encode("utf-32-le"), Content_Type=f"{JSON};charset=utf-32")
        assert server.ingest.stored[:2] == ["é😀".encode(), b"\xfe\xff" + "é😀".encode("utf-16-be")]
        assert server.ingest.stored[2:] == []  # without a mark UTF-32 is big-endian: refused


def test_blobs_are_bodies_with_parameters_and_type_as_headers() -> None:
    with serving(handler="blob", max_blob_length=4) as server:
        raw = gzip.compress(b"not looked into")
        answers = [
            server.post("/p?basename=f%C3%A9&id=1&id=2", b"abcdefgh", Content_Type="image/png"),
            server.post("/q", b""),
            server.post("/q", raw, Content_Encoding="gzip"),
            server.ask("OPTIONS", "/"),
        ]
        assert [answer.status for answer in answers] == [200, 200, 200, 403]
        assert server.ingest.stored == [b"abcd", b"", raw[:4]]
        first = server.ingest.calls[0]
        assert dict(first.headers) == {"basename": "fé", "id": "1", "Content-Type": "image/png"}
        assert server.metrics.snapshot()["BytesReceivedCount"] == 8 + len(raw)


def test_a_blob_without_a_mandatory_parameter_is_500() -> None:
    with serving(handler="blob", mandatory_parameters=["id"]) as server:
        assert server.post("/?id=7", b"x").status == 200
        assert server.post("/?ID=7", b"x").status == 500
        assert server.ingest.stored == [b"x"]


def test_s2_a_blob_is_cut_and_a_request_beyond_its_limit_refused() -> None:
    with serving(handler="blob", max_blob_length=10, max_request_bytes=1_000) as server:
        assert server.post("/", b"x" * 1_000).status == 200
        assert server.post("/", b"x" * 1_001).status == 413
        assert server.ingest.stored == [b"x" * 10]


def test_parameters_belong_to_blobs() -> None:
    refused = pytest.raises(OptionError, match="only `handler: blob`")
    with refused, serving(handler="json", mandatory_parameters=["id"]):
        pass


# -- columns ---------------------------------------------------------------------------------------

TEXTS = [
    "a",
    "é",
    "\\n",
    "\\u00e9",
    "\\ud83d\\ude00",
    '\\"',
    "2024-01-01",
    "1",
    "",
    "\\\\",
    "{",
    "],[",
]


def some_events(chance: random.Random) -> str:
    names = [f"h{i}" for i in range(chance.randrange(4))]

    def event() -> str:
        fields = []
        if chance.random() < 0.9:
            text = f'"{chance.choice(TEXTS) * chance.randrange(4)}"'
            fields.append('"body":' + chance.choice([text, text, "null"]))
        if chance.random() < 0.9:
            pairs = [
                f'"{name}":' + chance.choice([f'"{chance.choice(TEXTS)}"', "null"])
                for name in names
                if chance.random() < 0.8
            ]
            fields.append('"headers":' + chance.choice(["{ " + ",".join(pairs) + " }", "null"]))
        chance.shuffle(fields)
        return "{" + chance.choice([",", " , ", "\n,"]).join(fields) + "}"

    events = chance.choice([",", ", ", ",\n"]).join(event() for _ in range(chance.randrange(9)))
    text = chance.choice([f"[{events}]", f" [ {events} ]\n"])
    if chance.random() < 0.3:
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice('"{}[],1\\ \n') + text[at + 1 :]
    return text


def rows(batch: EventBatch) -> list[tuple[object, ...]]:
    names = batch.header_names()
    columns = [batch.header(name).to_pylist() for name in names]
    headers = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns, strict=True)
    ] or [{}] * batch.num_rows
    return list(zip(batch.body.to_pylist(), headers, strict=True))


def test_columns_are_what_is_read_event_by_event() -> None:
    chance = random.Random(7)
    plain = 0
    for _ in range(2_000):
        text = some_events(chance)
        found = as_columns(text.encode())
        if found is None:
            continue
        plain += 1
        body, headers = found
        body.validate(full=True)
        batch = EventBatch(body.cast("binary"), headers)
        assert rows(batch) == rows(_http_json._one_by_one(text, "utf-8")), text
    assert plain > 1_000


@pytest.mark.parametrize(
    "text",
    [
        '[{"body":"a","body":"b"}]',
        '[{"headers":{"a":"1","a":"2"}}]',
        '[{"headers":{"\\u0061":"1"}}]',
        '[{"body":1}]',
        '[{"headers":{"a":1}}]',
        '[{"body":"a","more":[]}]',
        '[{"body":"\\ud800"}]',
        '[{"body":"\\x"}]',
        '[{"body":"\\u12"}]',
        '[{"body":"a\n"}]',
        '[{"body":"a"},]',
        '[{"body":"a"}',
        '[{"body":"a"}]]',
        '[{"body":"a"',
        '["a"]',
        "[]",
        "{}",
        "",
        '[{"body":"\\',
    ],
)
def test_what_is_not_the_plain_form_is_left_to_the_other_reader(text: str) -> None:
    assert as_columns(text.encode()) is None


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-32"])
def test_large_lists_are_read_as_columns_in_all_character_sets(
    charset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        {"headers": {"n": str(i)} if i % 3 else None, "body": "é😀" * (i % 5)} for i in range(5_000)
    ]
    text = json.dumps(events, ensure_ascii=False)
    assert len(text) > COLUMNS_FROM_BYTES
    expected = _http_json._one_by_one(text, charset)
    monkeypatch.delattr(_http_json, "_one_by_one")
    assert rows(flume_events(text.encode(charset), charset)) == rows(expected)


def test_s2_many_names_of_headers_are_no_columns() -> None:
    many = [{"headers": {f"h{i}": "x"}, "body": ""} for i in range(HEADERS_MAX + 1)]
    assert as_columns(json.dumps(many).encode()) is None
    sparse = [{"headers": {f"h{i % 200}": "x"}} for i in range(5_000)]
    assert as_columns(json.dumps(sparse).encode()) is None
    with pytest.raises(Refusal) as caught:
        flume_events(b'[{"headers":' * 40_000, "utf-8")
    assert caught.value.status == 400
