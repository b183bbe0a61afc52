"""Syslog messages to events: against Flume's own answers, a table, and a slow parser."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import syslog_by_regex
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflume.sources._syslog import KEPT, STATUS, Encoded, Rules, SyslogReader, kept_fields
from rayflume.sources._syslog_times import LocalTimes

NOW_MS = 1_764_115_200_000  # 2025-11-26T00:00:00Z
INVALID = {STATUS: "Invalid"}
BAD = {"Facility": "0", "Severity": "0", STATUS: "Invalid"}
ALL_WORDS = "priority version timestamp hostname"
Event = tuple[bytes, dict[str, str]]


def read_all(
    reader: SyslogReader, lines: list[bytes], cut: list[bool] | None = None
) -> list[Event]:
    mask = None if cut is None else np.array(cut)
    bodies, headers = reader.read(pa.array(lines, pa.binary()), NOW_MS, mask)
    columns = {
        name: [column] * len(lines) if isinstance(column, str) else column.to_pylist()
        for name, column in headers.items()
    }
    return [
        (body, {name: column[row] for name, column in columns.items() if column[row] is not None})
        for row, body in enumerate(bodies.to_pylist())
    ]


def reader_of(by_hand: bool = False, keep: str = "none", zone: str = "UTC") -> SyslogReader:
    keep_all, words = kept_fields(keep)
    return SyslogReader(Rules(by_hand, words, keep_all, zone))


def one(line: bytes, by_hand: bool = False, keep: str = "none", zone: str = "UTC") -> Event:
    return read_all(reader_of(by_hand, keep, zone), [line])[0]


# -- as Flume --------------------------------------------------------------------------------------


def test_what_flume_answers() -> None:
    """What SyslogUtils and SyslogParser of flume-ng-core 1.11.0 made of each line, recorded."""
    recorded = json.loads(Path(__file__).with_name("syslog_of_flume.json").read_text())
    assert len(recorded) > 300
    for line, parser, keep, zone, body, headers in recorded:
        found = one(line.encode("latin-1"), parser == "by hand", keep, zone)
        assert found == (body.encode("latin-1"), headers), (line, parser, keep, zone)


RANK = {"Facility": "1", "Severity": "5"}
PATTERNS = RANK | {"priority": "13", "host": "h"}
HAND = RANK | {"Priority": "13", "host": "h"}
AT = "1065910455000"  # 2003-10-11T22:14:15Z
DIFFERENT: list[tuple[str, bool, bytes, str, Event]] = [
    (
        "a zone counts though there is a fraction",
        False,
        b"<13>1 2003-10-11T22:14:15.123456+01:00 h m",
        "Europe/Oslo",
        (b"m", PATTERNS | {"version": "1", "timestamp": "1065906855123"}),
    ),
    (
        "a fraction is one",
        False,
        b"<13>1 2003-10-11T22:14:15.5Z h m",
        "UTC",
        (b"m", PATTERNS | {"version": "1", "timestamp": "1065910455500"}),
    ),
    (
        "no such day",
        False,
        b"<13>1 2003-02-31T22:14:15Z h m",
        "UTC",
        (b"m", PATTERNS | {"version": "1"}),
    ),
    ("no such offset", False, b"<13>2003-10-11T22:14:15+24:00 h m", "UTC", (b"m", PATTERNS)),
    ("no such hour", False, b"<13>Nov 11 24:00:00 h m", "UTC", (b"m", PATTERNS)),
    ("no such month", True, b"<13>Abc 11 22:14:15 h m", "UTC", (b"m", HAND)),
    (
        "a tab",
        False,
        b"<13>Nov 11\t22:14:15 h m",
        "UTC",
        (b"m", PATTERNS | {"timestamp": "1762899255000"}),
    ),
    (
        "a carriage return is text",
        False,
        b"<13>Nov 11 22:14:15 h m\r",
        "UTC",
        (b"m\r", PATTERNS | {"timestamp": "1762899255000"}),
    ),
    ("the priority has no end", False, b"<13", "UTC", (b"<13", BAD)),
    ("nothing but its beginning", False, b"<", "UTC", (b"<", BAD)),
    (
        "bytes that are no text",
        False,
        b"<13>Nov 11 22:14:15 h \xff\xfe",
        "UTC",
        (b"\xff\xfe", PATTERNS | {"timestamp": "1762899255000"}),
    ),
    (
        "bytes that are no text, by hand",
        True,
        b"<13>Nov 11 22:14:15 h \xff\xfe",
        "UTC",
        (b"<13>Nov 11 22:14:15 h \xff\xfe", INVALID),
    ),
    (
        "an old message, by hand",
        True,
        b"<13>Oct 11 22:14:15 h m",
        "UTC",
        (b"m", HAND | {"timestamp": "1760220855000"}),
    ),
    (
        "no time, by hand: the present one",
        True,
        b"<13>1 - h m",
        "UTC",
        (b"m", HAND | {"Version": "1", "timestamp": str(NOW_MS)}),
    ),
    (
        "one blank before the day, by hand",
        True,
        b"<13>Nov 1 22:14:15 h m",
        "UTC",
        (b"m", HAND | {"timestamp": "1762035255000"}),
    ),
    (
        "a leap second, by hand",
        True,
        b"<13>1 2003-10-11T23:59:60Z h m",
        "UTC",
        (b"m", HAND | {"Version": "1", "timestamp": "1065916800000"}),
    ),
    *[
        (f"invalid by hand: {line!r}", True, line, "UTC", (line, INVALID))
        for line in (
            b"<13>1 2003-10-11T22:14:15.123 h m",
            b"<13>1 2003-02-31T22:14:15Z h m",
            b"<13>1 2003-10-11T24:00:00Z h m",
            b"<13>12003-10-11T22:14:15Z h m",
            b"<13>Nov   1 22:14:15 h m",
            b"<13>Nov 11 22:14:15:h m x",
            b"<+13>Nov 11 22:14:15 h m",
            b"<-13>Nov 11 22:14:15 h m",
            b"<13>1 -x h m",
        )
    ],
]


@pytest.mark.parametrize(
    ("by_hand", "line", "zone", "event"),
    [row[1:] for row in DIFFERENT],
    ids=[row[0] for row in DIFFERENT],
)
def test_where_flume_is_wrong(by_hand: bool, line: bytes, zone: str, event: Event) -> None:
    assert one(line, by_hand, zone=zone) == event


def test_nothing_of_one_message_is_in_the_next() -> None:
    first, second = read_all(reader_of(), [b"<34>1 2003-10-11T22:14:15Z h m", b"<13>garbage"])
    assert first[1]["priority"] == "34"
    assert second == (b"<13>garbage", RANK)


# -- keepFields ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "all_", "words"),
    [
        ("none", False, ()),
        ("false", False, ()),
        ("", False, ()),
        ("all", True, ()),
        ("true", True, ()),
        (" ALL ", True, ()),
        ("None", False, ()),
        ("PRIORITY", False, ("priority",)),
        ("all priority", False, ("priority",)),
        ("versionpriority", False, ("priority", "version")),
        ("yes", False, ()),
        ("priority", False, ("priority",)),
        ("hostname,priority", False, ("priority", "hostname")),
        ("timestamp hostname", False, ("timestamp", "hostname")),
        ("version;timestamp", False, ("version", "timestamp")),
        ("priority version timestamp hostname", False, KEPT),
    ],
)
def test_kept_fields(keep: str, all_: bool, words: tuple[str, ...]) -> None:
    assert kept_fields(keep) == (all_, words)


NEW, OLD = b"<34>1 2003-10-11T22:14:15.003Z h su - m", b"<34>Nov  1 02:14:15 h su: m"


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize(
    ("keep", "new", "old"),
    [
        ("none", b"su - m", b"su: m"),
        ("all", NEW, OLD),
        ("priority", b"<34>su - m", b"<34>su: m"),
        ("version", b"1 su - m", b"su: m"),
        ("timestamp", b"2003-10-11T22:14:15.003Z su - m", b"Nov  1 02:14:15 su: m"),
        ("hostname", b"h su - m", b"h su: m"),
        ("priority hostname", b"<34>h su - m", b"<34>h su: m"),
        (ALL_WORDS, NEW, OLD),
    ],
)
def test_kept_fields_in_the_body(by_hand: bool, keep: str, new: bytes, old: bytes) -> None:
    found = read_all(reader_of(by_hand, keep), [NEW, OLD, b"nothing"])
    assert [body for body, _ in found] == [new, old, b"nothing"]


@pytest.mark.parametrize("by_hand", [False, True])
def test_dashes_stay_dashes(by_hand: bool) -> None:
    assert one(b"<13>1 - - m", by_hand, ALL_WORDS)[0] == b"<13>1 - - m"


# -- messages that were cut ------------------------------------------------------------------------


@pytest.mark.parametrize("by_hand", [False, True])
def test_incomplete(by_hand: bool) -> None:
    lines = [b"<13>Nov 11 22:14:15 h begin", b"ning", b"<13>Nov 11 22:14:15 h whole"]
    found = read_all(reader_of(by_hand), lines, [True, False, False])
    assert [headers.get(STATUS) for _, headers in found] == ["Incomplete", "Invalid", None]
    assert [body for body, _ in found] == [b"begin", b"ning", b"whole"]
    assert found[0][1]["host"] == "h"


@pytest.mark.parametrize("by_hand", [False, True])
def test_invalid_goes_before_incomplete(by_hand: bool) -> None:
    assert read_all(reader_of(by_hand), [b"x"], [True])[0][1][STATUS] == "Invalid"


# -- times -----------------------------------------------------------------------------------------


def stamp(now: str, text: bytes, zone: str = "UTC", by_hand: bool = False) -> str | None:
    now_ms = int(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000)
    lines = pa.array([b"<13>" + text + b" h m"], pa.binary())
    headers = SyslogReader(Rules(by_hand, zone=zone)).read(lines, now_ms)[1]
    found = headers.get("timestamp")
    if found is None:
        return None
    assert isinstance(found, str), "one value for one row"
    return datetime.fromtimestamp(int(found) / 1000, UTC).isoformat().removesuffix("+00:00")


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2025-11-26", b"Nov 25 23:59:59", "2025-11-25T23:59:59"),
        ("2025-12-31T23:59:59", b"Jan  1 00:00:30", "2026-01-01T00:00:30"),
        ("2026-01-01T00:00:10", b"Dec 31 23:59:50", "2025-12-31T23:59:50"),
        ("2025-11-26", b"Dec 26 00:00:00", "2025-12-26T00:00:00"),
        ("2025-11-26", b"Dec 26 00:00:01", "2024-12-26T00:00:01"),
        ("2025-12-26", b"Jan 26 00:00:00", "2025-01-26T00:00:00"),
        ("2025-12-26", b"Jan 25 23:59:59", "2026-01-25T23:59:59"),
        ("2025-01-31", b"Feb 28 00:00:00", "2025-02-28T00:00:00"),
        ("2025-01-31", b"Mar  1 00:00:00", "2024-03-01T00:00:00"),
        ("2025-01-05", b"Feb 29 12:00:00", "2024-02-29T12:00:00"),
        ("2025-03-05", b"Feb 29 12:00:00", None),
        ("2024-03-05", b"Feb 29 12:00:00", "2024-02-29T12:00:00"),
        ("2025-03-05", b"Feb 30 12:00:00", None),
        ("2025-03-05", b"Mar  0 12:00:00", None),
        ("2025-03-05", b"Mar  4 23:59:60", "2025-03-05T00:00:00"),
        ("2025-03-05", b"Mar  4 23:59:61", None),
        ("2025-03-05", b"Mar  4 23:60:00", None),
    ],
)
def test_the_missing_year(by_hand: bool, now: str, text: bytes, expected: str | None) -> None:
    assert stamp(now, text, by_hand=by_hand) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"Jul  1 12:00:00", "2025-07-01T10:00:00"),
        (b"Jan  1 12:00:00", "2025-01-01T11:00:00"),
        (b"Mar 30 01:59:59", "2025-03-30T00:59:59"),
        (b"Mar 30 02:30:00", "2025-03-30T01:30:00"),  # skipped: half an hour after the jump
        (b"Mar 30 03:00:00", "2025-03-30T01:00:00"),
        (b"Oct 26 01:59:59", "2025-10-25T23:59:59"),
        (b"Oct 26 02:30:00", "2025-10-26T01:30:00"),  # twice: the second
        (b"Oct 26 03:00:00", "2025-10-26T02:00:00"),
        (b"2025-07-01T12:00:00", "2025-07-01T10:00:00"),
        (b"2025-07-01T12:00:00Z", "2025-07-01T12:00:00"),
    ],
)
def test_the_missing_zone(text: bytes, expected: str) -> None:
    assert stamp("2025-11-26", text, "Europe/Oslo") == expected


def test_the_year_is_that_of_the_zone() -> None:
    # 23:30 UTC on December 31st is next year in Oslo.
    assert stamp("2025-12-31T23:30:00", b"Jan  1 00:29:00", "Europe/Oslo") == "2025-12-31T23:29:00"


def test_the_zone_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert stamp("2025-11-26", b"Nov 25 12:00:00", "") == "2025-11-25T06:30:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_of_many_hours() -> None:
    local = np.arange(0, 400 * 86_400_000, 3_600_000, dtype=np.int64) + 1_735_689_600_000
    found = LocalTimes("Australia/Lord_Howe").to_utc(local)
    shifts = {int(shift) for shift in (local - found) // 60_000}
    assert shifts == {630, 660}


# -- hosts in other character sets -----------------------------------------------------------------


def test_character_sets() -> None:
    lines = [
        "<13>Nov 11 22:14:15 hóst grüße".encode(),
        "<13>Nov 11 22:14:15 hóst grüße".encode("latin-1"),
        "<13>Nov 11 22:14:15 hôte 日本".encode(),
        "<13>Nov 11 22:14:15 日本 本".encode("shift_jis"),
        b"<13>Nov 11 22:14:15 h \x81",
        "<13>Nov 11 22:14:15 hóst grüße".encode("latin-1"),
    ]
    encoded = [
        Encoded("latin-1", np.array([False, True, False, False, False, False])),
        Encoded("shift_jis", np.array([False, False, False, True, True, False])),
    ]
    reader = SyslogReader(Rules(by_hand=True, zone="UTC"))
    bodies, headers = reader.read(pa.array(lines, pa.binary()), NOW_MS, None, encoded)
    assert not isinstance(headers["host"], str)
    assert headers["host"].to_pylist() == ["hóst", "hóst", "hôte", "日本", None, None]
    assert bodies.to_pylist() == [
        "grüße".encode(),
        "grüße".encode("latin-1"),
        "日本".encode(),
        "本".encode("shift_jis"),
        lines[4],
        lines[5],
    ]
    status = headers[STATUS]
    assert not isinstance(status, str)
    assert status.to_pylist() == [None, None, None, None, "Invalid", "Invalid"]


# -- against the slow parser -----------------------------------------------------------------------

PRIORITIES = st.sampled_from(["<13>", "<0>", "<191>", "<999>", "<1234>", "<>", "<13", "13>", "<x>"])
VERSIONS = st.sampled_from(["", "1 ", "1", " ", "2 ", "1  ", "12 "])
DATES = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format,
    st.integers(0, 3000),
    st.integers(0, 13),
    st.integers(0, 32),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 62),
    st.sampled_from(["", ".", ".1", ".12", ".123", ".123456", ".1234567", ".999999"]),
    st.sampled_from(["", "Z", "z", "+01:00", "-08:30", "+24:00", "+0100", "+1:00", "UTC"]),
)
OLD_DATES = st.builds(
    "{}{}{}{}{:02}:{:02}:{:02}".format,
    st.sampled_from(["Jan", "Feb", "Jul", "Nov", "Dec", "NOV", "nov", "Abc", "Ma"]),
    st.sampled_from([" ", "  ", "\t", "   ", ""]),
    st.integers(0, 32),
    st.sampled_from([" ", " ", "  "]),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 62),
)
HOSTS = st.sampled_from(
    [" h ", " - ", "  ", " h", " host.example.com ", " 10.0.0.1 ", " ::1 ", " -h ", "\th\t", " é ",
     " a@b_c ", " h\r", ""]
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(
        [b"", b" ", b"m", b"su: 'su root' failed", b"<13>", b"\xff", b"\x00", b"a b\r"]
    ),
    st.binary(max_size=12).map(lambda value: value.replace(b"\n", b"")),
)
MADE = st.builds(
    lambda *parts: "".join(parts[:-1]).encode() + parts[-1],
    PRIORITIES,
    VERSIONS,
    st.one_of(DATES, OLD_DATES, st.sampled_from(["-", "x", ""])),
    HOSTS,
    TEXTS,
)
ANYTHING = st.binary(max_size=60).map(lambda value: value.replace(b"\n", b""))
MESSAGES = st.one_of(MADE, MADE, MADE, ANYTHING, MADE.map(lambda line: line[: len(line) // 2]))


@settings(max_examples=400, deadline=None)
@given(
    lines=st.lists(MESSAGES, min_size=1, max_size=8),
    by_hand=st.booleans(),
    keep=st.sampled_from(["none", "all", "priority", "version hostname", ALL_WORDS]),
    zone=st.sampled_from(["UTC", "Europe/Oslo"]),
)
def test_as_the_slow_parser(lines: list[bytes], by_hand: bool, keep: str, zone: str) -> None:
    expected = [
        syslog_by_regex.read(line, by_hand=by_hand, keep=keep, zone=zone, now_ms=NOW_MS)
        for line in lines
    ]
    assert read_all(reader_of(by_hand, keep, zone), lines) == expected


def test_slices_are_read_as_wholes() -> None:
    lines = pa.array([b"x" * 50, NEW, OLD, b"nothing", b"y"], pa.binary())
    bodies, headers = reader_of().read(lines.slice(1, 3), NOW_MS)
    assert bodies.to_pylist() == [b"su - m", b"su: m", b"nothing"]
    assert not isinstance(headers["host"], str)
    assert headers["host"].to_pylist() == ["h", "h", None]


def test_no_rows() -> None:
    bodies, headers = reader_of().read(pa.array([], pa.binary()), NOW_MS)
    assert (len(bodies), headers) == (0, {})


def test_one_value_for_all_rows_is_one() -> None:
    _, headers = reader_of().read(pa.array([b"<13>x"] * 3, pa.binary()), NOW_MS)
    assert headers == RANK
