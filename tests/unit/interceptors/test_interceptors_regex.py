"""regex_filter, regex_extractor and what they stand on."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from pydantic import ValidationError

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.interceptors._text import as_text
from rayflume.interceptors.regex_extractor import RegexExtractor, Serializer
from rayflume.interceptors.regex_filter import RegexFilter
from rayflume.interfaces import Interceptor
from rayflume.metrics import Metrics
from rayflume.time_patterns import MillisPattern

BODIES = [b"GET /a 200", None, b"\xff\xfe GET", b"", "POST /é 404".encode(), b"xGET"]


def batch(
    bodies: list[bytes | None] | None = None, headers: list[dict[str, str]] | None = None
) -> EventBatch:
    rows = BODIES if bodies is None else bodies
    return EventBatch.from_events(rows, headers or [], (Extent("s", 0, 100, len(rows)),))


def filtering(**options: object) -> Interceptor:
    context = Context("a", "web", ManualClock(), Metrics(), Path.cwd())
    return RegexFilter.model_validate(options).build(context)


def extracted(options: RegexExtractor, given: EventBatch) -> EventBatch:
    context = Context("a", "web", ManualClock(), Metrics(), Path.cwd())
    return options.build(context).intercept(given)


# -- text ------------------------------------------------------------------------------------------


def test_valid_text_is_not_copied() -> None:
    body = pa.array([b"abc", None, "é".encode()], pa.binary())
    assert as_text(body).buffers()[2].address == body.buffers()[2].address


@pytest.mark.parametrize("seed", range(5))
def test_broken_text_is_mended_as_python_and_java_do(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [
        b"\xc3\xa9",
        b"a",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"\xf5",
        b"\xc3",
        b"\n",
    ]
    rows: list[bytes | None] = [
        b"".join(chance.choices(pieces, k=chance.randrange(6))) for _ in range(200)
    ]
    rows[7] = None
    body = pa.array(rows, pa.binary())
    expected = [None if row is None else row.decode("utf-8", "replace") for row in rows]
    assert as_text(body).to_pylist() == expected
    assert as_text(body.slice(3, 50)).to_pylist() == expected[3:53]


# -- filter ----------------------------------------------------------------------------------------


def test_filter_keeps_what_matches_anywhere_and_the_extent_covers_what_was_read() -> None:
    got = filtering(regex="GET").intercept(batch())
    assert got.body.to_pylist() == [b"GET /a 200", b"\xff\xfe GET", b"xGET"]
    assert got.extents == (Extent("s", 0, 100, 3),)


def test_filter_exclude_drops_what_matches_and_keeps_a_null_body() -> None:
    got = filtering(regex="GET", exclude_events=True).intercept(batch())
    assert got.body.to_pylist() == [None, b"", "POST /é 404".encode()]


def test_filter_default_matches_every_body_but_not_none() -> None:
    assert filtering().intercept(batch()).body.to_pylist() == [b for b in BODIES if b is not None]


def test_filter_sees_characters_not_bytes() -> None:
    assert filtering(regex="^POST /. 404$").intercept(batch()).num_rows == 1
    assert filtering(regex="^\ufffd\ufffd GET$").intercept(batch()).num_rows == 1


def test_filter_that_keeps_nothing_still_moves_the_position() -> None:
    got = filtering(regex="nowhere").intercept(batch())
    assert got.num_rows == 0
    assert got.extents == (Extent("s", 0, 100, 0),)


@pytest.mark.parametrize("regex", ["(", "[a", "a{3", "a**", r"\y", "[[:alpha:]]", "(?i"])
def test_what_is_no_regex_of_javas_is_an_error_naming_it(regex: str) -> None:
    for cls, more in ((RegexFilter, {}), (RegexExtractor, {"serializers": [{"name": "x"}]})):
        with pytest.raises(ValidationError) as caught:
            cls.model_validate({"regex": regex, **more})
        message = caught.value.errors()[0]["msg"]
        assert repr(regex) in message
        assert "Java" in message


# -- extractor -------------------------------------------------------------------------------------


def test_extractor_sets_headers_of_matching_rows_and_leaves_the_others() -> None:
    options = RegexExtractor.model_validate(
        {"regex": r"(\w+) (/\S*) (\d+)", "serializers": [{"name": "method"}, {"name": "path"}]}
    )
    headers = [{"method": "old"}] * len(BODIES)
    got = extracted(options, batch(headers=headers))
    assert got.header("method").to_pylist() == ["GET", "old", "old", "old", "POST", "old"]
    assert got.header("path").to_pylist() == ["/a", None, None, None, "/é", None]
    assert got.body.equals(batch().body)
    assert got.extents == batch().extents


def test_extractor_that_matches_nothing_adds_no_header() -> None:
    options = RegexExtractor.model_validate({"regex": "(zzz)", "serializers": [{"name": "z"}]})
    assert extracted(options, batch()).header_names() == []
    assert extracted(options, batch([])).num_rows == 0


def test_extractor_takes_the_first_match_and_empty_text_for_a_group_without_part() -> None:
    options = RegexExtractor.model_validate(
        {"regex": r"(\d)(x)?", "serializers": [{"name": "a"}, {"name": "b"}]}
    )
    got = extracted(options, batch([b"1 2x", b"2x"]))
    assert got.header("a").to_pylist() == ["1", "2"]
    assert got.header("b").to_pylist() == ["", "x"]


def test_extractor_header_is_valid_text_whatever_the_body_holds() -> None:
    options = RegexExtractor.model_validate({"regex": "(.*)", "serializers": [{"name": "all"}]})
    got = extracted(options, batch([b"\xff", b"\xc3"]))
    assert got.header("all").to_pylist() == ["\ufffd", "\ufffd"]
    got.header("all").validate(full=True)


def test_extractor_millis() -> None:
    options = RegexExtractor.model_validate(
        {
            "regex": r"\[([^\]]+)\]",
            "serializers": [
                {"name": "timestamp", "type": "MILLIS", "pattern": "dd/MMM/yyyy:HH:mm:ss Z"}
            ],
        }
    )
    rows: list[bytes | None] = [b"x [22/Nov/2026:14:00:01 +0100]", b"[soon]", b"none", None]
    got = extracted(options, batch(rows, [{"timestamp": "7"}] * 4))
    expected = datetime(2026, 11, 22, 13, 0, 1, tzinfo=UTC).timestamp() * 1000
    assert got.header("timestamp").to_pylist() == [str(int(expected)), "7", "7", "7"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regex": "(a)", "serializers": []}, "at least 1 item"),
        ({"regex": "a", "serializers": [{"name": "x"}]}, "has 0 groups for 1 serializers"),
        ({"regex": "(a)", "serializers": [{"name": ""}]}, "at least 1 character"),
        ({"regex": "(a)", "serializers": [{"name": "x", "type": "millis"}]}, "needs a `pattern`"),
        (
            {"regex": "(a)", "serializers": [{"name": "x", "pattern": "yyyy"}]},
            "only `type: millis`",
        ),
        (
            {"regex": "(a)", "serializers": [{"name": "x", "type": "millis", "pattern": "ww e"}]},
            "the letters 'ww' of the time pattern 'ww e' are not supported; use y M d",
        ),
        (
            {
                "regex": "(a)",
                "serializers": [
                    {"name": "x", "type": "millis", "pattern": "yyyy", "timezone": "Mars/North"}
                ],
            },
            "'Mars/North' is not a time zone",
        ),
    ],
)
def test_extractor_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RegexExtractor.model_validate(options)
    assert message in str(caught.value)


# -- millis ----------------------------------------------------------------------------------------


def millis(pattern: str, *texts: str | None, timezone: str = "UTC") -> list[str | None]:
    parsed = MillisPattern.compile(pattern, timezone).parse(pa.array(texts, pa.string()))
    found: list[str | None] = parsed.to_pylist()
    return found


def epoch(year: int, *rest: int, zone: str = "UTC") -> str:
    month, day, hour, minute, second = (*rest, *(1, 1, 0, 0, 0)[len(rest) :])
    at = datetime(year, month, day, hour, minute, second, tzinfo=ZoneInfo(zone))
    return str(int(at.timestamp()) * 1000)


def test_millis_forms_of_a_time() -> None:
    assert millis("yyyy-MM-dd HH:mm:ss", "2026-11-22 14:05:06") == [epoch(2026, 11, 22, 14, 5, 6)]
    assert millis("yyyyMMddHHmmss", "20261122140506") == [epoch(2026, 11, 22, 14, 5, 6)]
    assert millis("d MMMM yyyy", "3 february 2024", "30 February 2024") == [epoch(2024, 2, 3), None]
    assert millis("EEE, dd MMM yyyy HH:mm:ss Z", "Sun, 22 Nov 2026 10:00:00 Z") == [
        epoch(2026, 11, 22, 10)
    ]
    assert millis("yyyy-MM-dd'T'HH:mm:ss.SSSZZ", "2026-11-22T10:00:00.5+01:30") == [
        str(int(epoch(2026, 11, 22, 8, 30)) + 500)
    ]
    assert millis("HH:mm", "00:01") == ["60000"]
    assert millis("yyyy'o''clock'", "1970o'clock") == ["0"]
    assert millis("yyyy", "1969") == [epoch(1969)]


def test_millis_refuses_times_that_do_not_exist() -> None:
    texts = ["2024-02-29 00:00", "2023-02-29 00:00", "2024-13-01 00:00", "2024-00-01 00:00"]
    texts += ["2024-01-00 00:00", "2024-01-01 24:00", "2024-01-01 00:60", " 2024-01-01 00:00"]
    assert millis("yyyy-MM-dd HH:mm", *texts, None) == [epoch(2024, 2, 29)] + [None] * 8
    assert millis("yyyy", "nope") == [None]
    assert millis("yyyy") == []


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("yy-MM-dd", "26-11-22", (2026, 11, 22)),
        ("yy-MM-dd", "45-01-01", (2045,)),
        ("yy-MM-dd", "46-01-01", (1946,)),
        ("yyyy D", "2024 366", (2024, 12, 31)),
        ("yyyy D", "2023 366", None),
        ("yyyy hh:mm a", "2024 12:30 AM", (2024, 1, 1, 0, 30)),
        ("yyyy h:mm a", "2024 12:30 pm", (2024, 1, 1, 12, 30)),
        ("yyyy h:mm a", "2024 13:30 pm", None),
        ("yyyy KK a", "2024 11 PM", (2024, 1, 1, 23)),
        ("yyyy kk", "2024 24", (2024,)),
        ("yyyy kk", "2024 0", None),
    ],
)
def test_millis_letters_of_joda(pattern: str, text: str, expected: tuple[int, ...] | None) -> None:
    parsed = MillisPattern.compile(pattern, "UTC", 2026).parse(pa.array([text]))
    assert parsed.to_pylist() == [None if expected is None else epoch(*expected)]


def test_millis_in_the_zone_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Oslo")
    serializer = Serializer(name="t", type="millis", pattern="yyyy", timezone="local")
    assert serializer.compiled().parse(pa.array(["2024"])).to_pylist() == [
        epoch(2024, zone="Europe/Oslo")
    ]


def test_millis_in_a_zone_also_where_clocks_change() -> None:
    pattern = "yyyy-MM-dd HH:mm"
    assert millis(pattern, "2026-07-01 00:00", "2026-01-01 00:00", timezone="Europe/Oslo") == [
        epoch(2026, 7, 1, zone="Europe/Oslo"),
        epoch(2026, 1, 1, zone="Europe/Oslo"),
    ]
    twice, never = "2026-10-25 02:30", "2026-03-29 02:30"
    assert None not in millis(pattern, twice, never, timezone="Europe/Oslo")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("yyy", "the letters 'yyy'"),
        ("", "reads nothing"),
        ("'at'", "reads nothing"),
        ("yyyy 'at", "a quote that is not closed"),
        ("yyyy yyyy", "'yyyy' twice"),
        ("yyyy Q", "the letters 'Q'"),
    ],
)
def test_millis_bad_patterns(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MillisPattern.compile(pattern, "UTC")


def test_serializer_type_has_no_case() -> None:
    assert Serializer(name="x", type="DEFAULT").type == "default"
