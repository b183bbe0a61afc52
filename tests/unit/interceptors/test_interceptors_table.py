"""Each interceptor: events in, configuration, events out, as in Flume's user guide and code."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from rayflume.batch import HEADERS_MAX, EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.metrics import Metrics

Event = tuple[bytes | None, dict[str, str]]


def run(kind: str, options: dict[str, object], events: list[Event]) -> list[Event]:
    clock = ManualClock(1_700_000_000_000)
    context = Context("agent", "web", clock, Metrics(), Path.cwd())
    part = lookup("interceptor", kind).model_validate(options).build(context)
    bodies, headers = [body for body, _ in events], [row for _, row in events]
    extents = (Extent("s", 0, 100, len(events)),)
    got: EventBatch = part.intercept(EventBatch.from_events(bodies, headers, extents))
    assert got.extents == (Extent("s", 0, 100, got.num_rows),)
    columns = {name: got.header(name).to_pylist() for name in got.header_names()}
    rows = [
        {name: values[i] for name, values in columns.items() if values[i] is not None}
        for i in range(got.num_rows)
    ]
    return list(zip(got.body.to_pylist(), rows, strict=True))


def changed(kind: str, options: dict[str, object], *events: Event) -> list[Event]:
    return run(kind, options, list(events))


NOW = "1700000000000"
EMAIL = r"(\w+)@(\w+)"
TABLE: list[tuple[str, dict[str, object], list[Event], list[Event]]] = [
    ("timestamp", {}, [(b"a", {"timestamp": "1"})], [(b"a", {"timestamp": NOW})]),
    (
        "timestamp",
        {"preserve_existing": True, "header_name": "t"},
        [(b"a", {"t": "1"}), (b"b", {})],
        [(b"a", {"t": "1"}), (b"b", {"t": NOW})],
    ),
    ("static", {}, [(b"a", {}), (b"b", {"key": "x"})],
     [(b"a", {"key": "value"}), (b"b", {"key": "x"})]),
    ("static", {"key": "k", "value": "v", "preserve_existing": False}, [(b"a", {"k": "x"})],
     [(b"a", {"k": "v"})]),
    ("remove_header", {"with_name": "a"}, [(b"x", {"a": "1", "b": "2"}), (b"y", {})],
     [(b"x", {"b": "2"}), (b"y", {})]),
    ("remove_header", {"from_list": ["a", "c"]}, [(b"x", {"a": "1", "b": "2", "c": "3"})],
     [(b"x", {"b": "2"})]),
    ("remove_header", {"matching": "x.*"}, [(b"x", {"x1": "1", "ax": "2", "x": "3"})],
     [(b"x", {"ax": "2"})]),
    ("remove_header", {"with_name": "a", "matching": "B"}, [(b"x", {"a": "1", "b": "2"})],
     [(b"x", {"b": "2"})]),
    ("search_replace", {"search_pattern": r"^[A-Za-z0-9_]+", "replace_string": ""},
     [(b"abc_1 def", {"h": "1"})], [(b" def", {"h": "1"})]),
    ("search_replace",
     {"search_pattern": "The quick brown ([a-z]+) jumped over the lazy ([a-z]+)",
      "replace_string": "The hungry $2 ate the careless $1"},
     [(b"The quick brown fox jumped over the lazy dog", {})],
     [(b"The hungry dog ate the careless fox", {})]),
    ("search_replace", {"search_pattern": EMAIL, "replace_string": r"\$1 $1"},
     [(b"me@host you@there", {}), (None, {}), (b"", {})],
     [(b"$1 me $1 you", {}), (None, {}), (b"", {})]),
    ("search_replace", {"search_pattern": "é", "replace_string": "ö"},
     [("é".encode(), {}), (b"\xff\xc3\xa9", {}), (b"\xc3", {})],
     [("ö".encode(), {}), (b"\xff\xc3\xb6", {}), (b"\xc3", {})]),
    ("search_replace", {"search_pattern": "é", "replace_string": "ö€", "charset": "ISO-8859-1"},
     [(b"caf\xe9", {}), (None, {})], [(b"caf\xf6?", {}), (None, {})]),
    ("search_replace", {"search_pattern": "b", "replace_string": "c", "charset": "US-ASCII"},
     [(b"ab\xff", {})], [(b"ac\xff", {})]),
    ("search_replace", {"search_pattern": "€", "replace_string": "E", "charset": "windows-1252"},
     [(b"1 \x80", {}), (b"\x81\x80", {})], [(b"1 E", {}), (b"\x81E", {})]),
    ("search_replace", {"search_pattern": "b", "replace_string": "c", "charset": "UTF-16"},
     [(b"\0a\0b", {}), (b"\xff\xfeb\0", {}), (b"odd", {}), (b"\0a", {})],
     [(b"\xfe\xff\0a\0c", {}), (b"\xfe\xff\0c", {}), (b"odd", {}), (b"\0a", {})]),
    ("search_replace", {"search_pattern": r"(?<=\d)(?=(\d{3})+$)", "replace_string": ","},
     [(b"1234567", {})], [(b"1,234,567", {})]),
    ("regex_filter", {}, [(b"", {}), (b"x", {"h": "1"})], [(b"", {}), (b"x", {"h": "1"})]),
    ("regex_filter", {"regex": "ERR"}, [(b"an ERROR", {}), (b"err", {})], [(b"an ERROR", {})]),
    ("regex_filter", {"regex": "ERR", "exclude_events": True},
     [(b"an ERROR", {}), (b"err", {})], [(b"err", {})]),
    ("regex_filter", {"regex": "^(?!DEBUG)"}, [(b"DEBUG x", {}), (b"INFO x", {})],
     [(b"INFO x", {})]),
    ("regex_extractor",
     {"regex": r"(\d):(\d):(\d)",
      "serializers": [{"name": "one"}, {"name": "two"}, {"name": "three"}]},
     [(b"1:2:3.4foobar5", {})], [(b"1:2:3.4foobar5", {"one": "1", "two": "2", "three": "3"})]),
    ("regex_extractor", {"regex": r"(\d):(\d)", "serializers": [{"name": "one"}]},
     [(b"1:2", {"one": "0", "z": "z"}), (b"none", {"one": "0"})],
     [(b"1:2", {"one": "1", "z": "z"}), (b"none", {"one": "0"})]),
    ("regex_extractor",
     {"regex": r"^(?:\n)?(\d\d\d\d-\d\d-\d\d\s\d\d:\d\d)",
      "serializers": [{"name": "timestamp", "type": "millis", "pattern": "yyyy-MM-dd HH:mm"}]},
     [(b"2012-10-18 18:47:57,614 x", {}), (b"\n2012-10-18 18:47", {})],
     [(b"2012-10-18 18:47:57,614 x", {"timestamp": "1350586020000"}),
      (b"\n2012-10-18 18:47", {"timestamp": "1350586020000"})]),
    ("regex_extractor", {"regex": r"(?<=id=)(\w+)", "serializers": [{"name": "id"}]},
     [(b"id=7", {}), (None, {}), (b"x", {})], [(b"id=7", {"id": "7"}), (None, {}), (b"x", {})]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "given", "expected"), TABLE)
def test_table(
    kind: str, options: dict[str, object], given: list[Event], expected: list[Event]
) -> None:
    assert run(kind, options, given) == expected


def test_uuid_gives_every_event_its_own_and_keeps_those_that_are_there() -> None:
    got = run("uuid", {"prefix": "é-"}, [(b"a", {"id": "mine"}), (b"b", {}), (b"c", {})])
    ids = [row["id"] for _, row in got]
    assert ids[0] == "mine" and ids[1] != ids[2]
    form = re.compile(r"é-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(form.fullmatch(one) for one in ids[1:])
    other = run("uuid", {"header_name": "u", "preserve_existing": False}, [(b"a", {"u": "mine"})])
    assert other[0][1]["u"] != "mine"


def test_uuids_do_not_repeat() -> None:
    got = run("uuid", {}, [(b"", {})] * 10_000)
    assert len({row["id"] for _, row in got}) == 10_000


def test_headers_are_removed_from_many_names_as_well() -> None:
    names = [f"h{i:03}" for i in range(HEADERS_MAX + 2)]
    events: list[Event] = [(b"a", dict.fromkeys(names, "1")), (b"b", {"h001": "2"}), (b"", {})]
    got = run("remove_header", {"matching": "h0.*"}, events)
    assert set(got[0][1]) == {name for name in names if not name.startswith("h0")}
    assert got[1:] == [(b"b", {}), (b"", {})]


def test_headers_are_removed_from_part_of_a_map() -> None:
    kind = pa.map_(pa.string(), pa.string())
    more = pa.array([[("a", "1")], None, [("a", "2"), ("b", "3")], []], kind)
    batch = EventBatch(pa.array([b"1", b"2", b"3", b"4"]), {"c": "4"}, (), more).slice(1, 3)
    got = batch.without_headers(["a", "c"])
    assert got.header("b").to_pylist() == [None, "3", None]
    assert got.header_names() == ["b"]
    got.more.validate(full=True)  # type: ignore[union-attr]


def test_of_a_slow_pattern_the_log_hears_once(caplog: pytest.LogCaptureFixture) -> None:
    changed("regex_filter", {"regex": "a(?!b)"}, (b"a", {}))
    changed("search_replace", {"search_pattern": "a*"}, (b"a", {}))
    changed("regex_filter", {"regex": "a*"}, (b"a", {}))
    assert [record.getMessage() for record in caplog.records] == [
        "web: regex_filter: the pattern 'a(?!b)' is matched row by row, for RE2 has no look-ahead "
        "and no look-behind; that is slow",
        "web: search_replace: the pattern 'a*' is matched row by row, for RE2 has another idea of "
        "replacing what may be empty; that is slow",
    ]


ENDLESS = r"(?!z)(a|aa)+$"
"""Matched in 2**n steps by Python, and not at all by RE2."""


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("regex_filter", {"regex": ENDLESS}, [(b"aa", {})]),
        (
            "regex_extractor",
            {"regex": ENDLESS, "serializers": [{"name": "x"}]},
            [(b"a" * 60 + b"!", {}), (b"aa", {"x": "a"})],
        ),
        (
            "search_replace",
            {"search_pattern": ENDLESS, "replace_string": "b"},
            [(b"a" * 60 + b"!", {}), (b"b", {})],
        ),
    ],
)
def test_s5_a_body_on_which_a_pattern_never_ends_counts_as_not_matching(
    kind: str,
    options: dict[str, object],
    expected: list[Event],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("rayflume.regexes._patience.TEXT_S", 0.05)
    assert run(kind, options, [(b"a" * 60 + b"!", {}), (b"aa", {})]) == expected
    assert "took too long for 1 texts, which count as not matching" in caplog.messages[-1]


def test_s5_a_body_in_a_wide_charset_on_which_a_pattern_never_ends_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rayflume.regexes._patience.TEXT_S", 0.05)
    options: dict[str, object] = {
        "search_pattern": ENDLESS,
        "replace_string": "b",
        "charset": "utf-16-le",
    }
    bad, good = (text.encode("utf-16-le") for text in ("a" * 60 + "!", "aa"))
    expected: list[Event] = [(bad, {}), ("b".encode("utf-16-le"), {})]
    assert run("search_replace", options, [(bad, {}), (good, {})]) == expected


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("remove_header", {}, "it removes nothing"),
        ("search_replace", {}, "Field required"),
        ("search_replace", {"search_pattern": "a", "replace_string": "$1"}, "0 groups"),
        ("search_replace", {"search_pattern": "a", "charset": "klingon"}, "unknown character set"),
        ("search_replace", {"search_pattern": "a", "charset": "zlib"}, "unknown character set"),
        ("uuid", {"header_name": ""}, "at least 1 character"),
    ],
)
def test_bad_options(kind: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        lookup("interceptor", kind).model_validate(options)
    assert message in str(caught.value)
