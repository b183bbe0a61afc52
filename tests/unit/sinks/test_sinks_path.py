"""Flume's path escapes: input, headers, expected path; headers that would lead out of the base."""

from __future__ import annotations

import posixpath
import socket
from collections.abc import Mapping
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.escapes import TIME_LETTERS, uses_time, without_unknown
from rayflume.sinks._bucket import TIME_ESCAPES, Buckets, LocalTime, Rounding
from rayflume.sinks._path import HOST_FIELDS, Escaped, host_values, split_base
from rayflume.storage import _paths

AT = 1_763_820_369_123  # 2025-11-22 14:06:09.123 UTC, a Saturday
EARLY = 1_741_396_085_007  # 2025-03-08 01:08:05.007 UTC
OSLO = ZoneInfo("Europe/Oslo")
KOLKATA = ZoneInfo("Asia/Kolkata")


def expand(
    text: str,
    headers: dict[str, str | None] | None = None,
    at: int = AT,
    zone: tzinfo = UTC,
    rounding: Rounding | None = None,
) -> str:
    buckets = Buckets([Escaped.parse(text)], zone, rounding)
    groups = buckets.group(np.array([at]), headers or {})
    assert len(groups.directories) == 1
    return groups.directories[0]


@pytest.mark.parametrize(
    ("text", "expected", "early"),
    [
        ("%a", "Sat", "Sat"),
        ("%A", "Saturday", "Saturday"),
        ("%b", "Nov", "Mar"),
        ("%B", "November", "March"),
        ("%c", "Sat Nov 22 14:06:09 2025", "Sat Mar 8 01:08:05 2025"),
        ("%d", "22", "08"),
        ("%e", "22", "8"),
        ("%D", "11/22/25", "03/08/25"),
        ("%H", "14", "01"),
        ("%I", "02", "01"),
        ("%j", "326", "067"),
        ("%k", "14", "1"),
        ("%l", "2", "1"),
        ("%m", "11", "03"),
        ("%n", "11", "3"),
        ("%M", "06", "08"),
        ("%p", "PM", "AM"),
        ("%s", "1763820369", "1741396085"),
        ("%S", "09", "05"),
        ("%t", "1763820369123", "1741396085007"),
        ("%y", "25", "25"),
        ("%Y", "2025", "2025"),
        ("%z", "+0000", "+0000"),
        ("100%%", "100%", "100%"),
        ("%Y-%m-%d/%H%M/%S", "2025-11-22/1406/09", "2025-03-08/0108/05"),
        ("dt=%Y%m%d/ev-%H.x", "dt=20251122/ev-14.x", "dt=20250308/ev-01.x"),
        ("%Y%%%m", "2025%11", "2025%03"),
        # Not escapes, so they stay as they are.
        ("a%-b%", "a%-b%", "a%-b%"),
        ("%{a b}%{}%[]%[a-b]", "%{a b}%{}%[]%[a-b]", "%{a b}%{}%[]%[a-b]"),
        ("x/%Y//y", "x/2025/y", "x/2025/y"),
    ],
)
def test_time_escapes(text: str, expected: str, early: str) -> None:
    assert expand(text) == expected
    assert expand(text, at=EARLY) == early


@pytest.mark.parametrize(
    ("text", "headers", "expected"),
    [
        ("%{host}", {"host": "web-1.example.com"}, "web-1.example.com"),
        ("%{a.b-c_d}/x", {"a.b-c_d": "v"}, "v/x"),
        ("%{a}%{b}", {"a": "1", "b": "2"}, "12"),
        ("x/%{gone}/y", {}, "x/y"),
        ("x-%{gone}-y", {}, "x--y"),
        ("x/%{empty}/y", {"empty": ""}, "x/y"),
        ("x/%{gone}", {}, "x/"),
        ("%{HOST}/y", {"host": "v"}, "y"),
        ("%{k}/y", {"k": "k=v, 1 (x)[y]'#~@"}, "k=v, 1 (x)[y]'#~@/y"),
        ("%{k}/y", {"k": "_hidden"}, "_hidden/y"),
        ("%{k}/y", {"k": "Übergröße 日本"}, "Übergröße 日本/y"),
        ("%{k}", {"k": "%Y"}, "%25Y"),
    ],
)
def test_headers(text: str, headers: dict[str, str | None], expected: str) -> None:
    assert expand(text, headers) == expected


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("%Y-%m-%d %H", ZoneInfo("America/New_York"), "2025-11-22 09"),
        ("%d%H%M %z", KOLKATA, "221936 +0530"),
        ("%d%H %z", OSLO, "2215 +0100"),
        ("%s %t", KOLKATA, "1763820369 1763820369123"),
        ("%d", ZoneInfo("Pacific/Kiritimati"), "23"),
    ],
)
def test_zones(text: str, zone: tzinfo, expected: str) -> None:
    assert expand(text, zone=zone) == expected


@pytest.mark.parametrize(
    ("unit", "value", "zone", "expected"),
    [
        ("s", 1, UTC, "22 14:06:09"),
        ("s", 4, UTC, "22 14:06:08"),
        ("s", 10, UTC, "22 14:06:00"),
        ("s", 60, UTC, "22 14:06:00"),
        ("min", 1, UTC, "22 14:06:00"),
        ("min", 4, UTC, "22 14:04:00"),
        ("min", 10, UTC, "22 14:00:00"),
        ("min", 60, UTC, "22 14:00:00"),
        ("min", 10, KOLKATA, "22 19:30:00"),
        ("h", 1, UTC, "22 14:00:00"),
        ("h", 1, KOLKATA, "22 19:00:00"),
        ("h", 5, UTC, "22 10:00:00"),
        ("h", 6, OSLO, "22 12:00:00"),
        ("h", 24, UTC, "22 00:00:00"),
        ("h", 24, KOLKATA, "22 00:00:00"),
    ],
)
def test_rounding(unit: str, value: int, zone: tzinfo, expected: str) -> None:
    rounding = Rounding.of(value * {"s": 1_000, "min": 60_000, "h": 3_600_000}[unit])
    text = "%d %H-%M-%S".replace("-", "_")
    assert expand(text, zone=zone, rounding=rounding) == expected.replace(":", "_")
    assert expand("%t", zone=zone, rounding=rounding) == str(AT)


def test_epoch_seconds_are_rounded_and_milliseconds_are_not() -> None:
    rounding = Rounding.of(600_000)
    assert expand("%s %t", rounding=rounding) == f"{AT // 600_000 * 600} {AT}"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "ip", "IP", "Fqdn"])
def test_names_of_the_host_in_any_case(name: str) -> None:
    [piece] = Escaped.parse(f"%[{name}]").pieces
    assert piece.text in HOST_FIELDS
    assert piece.text[1:-1].casefold() == name.casefold()
    assert host_values()["[localhost]"] == socket.gethostname()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%q", "no escape"),
        ("%1", "no escape"),
        ("%_", "no escape"),
        ("%[other]", "no escape"),
        ("%Y/../x", "leave it out"),
        ("%Y/./x", "leave it out"),
        ("_rayflume/%Y", "own directory"),
        ("%{a}/_rayflume/x", "own directory"),
        ("_RayFlume/%Y", "own directory"),
        ("%Y/a\\b", "backslash"),
        ("%Y/a\x00b", "control"),
        ("x" * 150, "145 bytes"),
        ("%Y/" + "x" * 256 + "/y", "255 bytes"),
        ("/".join(f"%{{h{n}}}" for n in range(30)), "too many headers"),
    ],
)
def test_what_cannot_be_a_path_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Escaped.parse(text)


@pytest.mark.parametrize(
    ("path", "base", "rest"),
    [
        ("/flume/events/%y-%m-%d/%H", "/flume/events", "%y-%m-%d/%H/F"),
        ("/flume/events", "/flume/events", "F"),
        ("/flume/events/", "/flume/events", "F"),
        ("/flume//events/x%Y/z", "/flume/events", "x%Y/z/F"),
        ("/%Y", "/", "%Y/F"),
        ("%Y/x", ".", "%Y/x/F"),
        ("lake/%{host}", "lake", "%{host}/F"),
        ("hdfs://nn:8020/flume/%Y", "hdfs://nn:8020/flume", "%Y/F"),
        ("hdfs:///flume/%Y", "hdfs:///flume", "%Y/F"),
        ("hdfs://nn/%Y", "hdfs://nn/", "%Y/F"),
        ("s3a://bucket/a/%[IP]", "s3a://bucket/a", "%[IP]/F"),
        ("file:///data/%Y", "file:///data", "%Y/F"),
        ("file:/data/%Y", "file:///data", "%Y/F"),
        ("/data/%-x/%Y", "/data/%-x", "%Y/F"),
        ("/data/100%%/%Y", "/data/100%", "%Y/F"),
    ],
)
def test_the_base_is_what_stands_before_the_first_escape(path: str, base: str, rest: str) -> None:
    assert split_base(path, "F") == (base, Escaped.parse(rest))


def test_the_store_cannot_depend_on_the_event() -> None:
    with pytest.raises(ValueError, match="the store cannot depend"):
        split_base("hdfs://%{host}/x", "F")


def test_a_scheme_with_one_slash_is_no_local_directory() -> None:
    with pytest.raises(ValueError, match="write hdfs:///path"):
        split_base("hdfs:/flume/%Y", "F")


def test_one_letter_table() -> None:
    assert set(TIME_ESCAPES) == TIME_LETTERS
    assert without_unknown("a%q%%%Y%_%{x}") == ("a%%%Y%{x}", ["%q", "%_"])
    assert [uses_time(text) for text in ("%Y", "%{Y}", "%%Y", "x", "%%%Y")] == [
        True, False, False, False, True,
    ]  # fmt: skip


def test_a_path_is_expanded_once_for_each_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[LocalTime | None] = []
    render = Escaped.render

    def counted(self: Escaped, at: LocalTime | None, fields: Mapping[str, bytes | None]) -> str:
        calls.append(at)
        return render(self, at, fields)

    monkeypatch.setattr(Escaped, "render", counted)
    buckets = Buckets([Escaped.parse("%Y/%m/%d/%H/%{h}")])
    times = AT + np.arange(100_000, dtype=np.int64) * 60
    groups = buckets.group(times, {"h": "x"})
    assert len(groups.directories) == len(calls) <= 3


HOSTILE = [
    "..", "../", "../..", "../../etc/passwd", "..\\..\\x", "/", "//", "/etc/passwd", "///", ".",
    "./x", "a/../b", "a/../../../b", "\\", "\\\\server\\share", "C:\\x", "C:", "c:/x", "\0",
    "a\0b", "\0/..", "\n", "a\r\nb", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\u2066x",
    "%2e%2e%2f", "%2F", "%00", "..%2f", "%%", "%", "%{host}", "%Y", "%[IP]", "~", "~root",
    "$HOME", "`id`", "$(id)", "; rm -rf /", "| x", "&", "*", "?", "[a]", "{a,b}", "CON", "con",
    "NUL", "nul.txt", "COM1", "LPT9.log", "AUX", " ", "  ", "a ", "a.", "...", "....", ". .", " .",
    "_rayflume", "_RAYFLUME", "_rayflume/staging", ".hidden", "x" * 201, "x" * 255, "x" * 5_000,
    "é" * 200, "日" * 300, "../" * 300, ":" * 150, "a:b", "s3://other/x", "hdfs://nn/x",
    "", "file:///etc", "https://x/y", "\ufeff", "\u200b", "\U0001f4a9", "０．．／", "․․/", "．．",
]  # fmt: skip


def stays_inside(text: str, value: str) -> str:
    path = expand(text, {"h": value, "g": value})
    whole = f"{path}.0123456789abcdef-4294967295-999999999999-99999999" + "s" * 50
    _paths.visible(whole.removeprefix("/"))
    assert posixpath.normpath(f"/base/{whole}").startswith("/base/")
    names = whole.split("/")
    assert names[0].casefold() != "_rayflume"
    assert all(name not in (".", "..") and len(name.encode()) <= 255 for name in names)
    assert not any(ord(char) < 32 or char in "\\\x7f:" for char in whole)
    # Not one directory more than the path has without values.
    assert path.count("/") <= text.count("/")
    return path


TEXTS = ("%{h}", "%{h}/x", "x/%{h}/y", "x/%{h}%{g}/%{g}", "pre-%{h}-%Y/%{g}.", ".%{h}/%{h}.%{g}")


@pytest.mark.parametrize("text", TEXTS)
def test_s8_hostile_values_stay_below_the_base(text: str) -> None:
    assert len(set(HOSTILE)) >= 60
    for value in HOSTILE:
        stays_inside(text, value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("..", "%2E%2E/x"),
        (".", "%2E/x"),
        ("...", "%2E%2E%2E/x"),
        ("../../etc", "..%2F..%2Fetc/x"),
        ("/etc/passwd", "%2Fetc%2Fpasswd/x"),
        ("a\0b", "a%00b/x"),
        ("a\\b", "a%5Cb/x"),
        ("10.0.0.1:8080", "10.0.0.1%3A8080/x"),
        ("a\r\nb", "a%0D%0Ab/x"),
        ("_rayflume", "%5Frayflume/x"),
        ("CON", "%43ON/x"),
        ("con.txt", "%63on.txt/x"),
        ("a.", "a%2E/x"),
        ("a ", "a%20/x"),
        ("50%", "50%25/x"),
        ("\u202egpj", "%E2%80%AEgpj/x"),
    ],
)
def test_s8_how_hostile_values_read(value: str, path: str) -> None:
    assert expand("%{h}/x", {"h": value}) == path


def test_s8_pieces_of_one_name_are_judged_together() -> None:
    assert expand("%{a}%{b}/x", {"a": ".", "b": "."}) == "%2E%2E/x"
    assert expand(".%{a}/x", {"a": "."}) == "%2E%2E/x"
    assert expand("_ray%{a}/x", {"a": "flume"}) == "%5Frayflume/x"
    assert expand("_rayflume%{a}/x", {}) == "%5Frayflume/x"
    assert expand("y/.%{a}/x", {}) == "y/%2E/x"


def test_s8_long_values_are_cut_and_differ() -> None:
    one, two = (expand("%{h}/x", {"h": "v" * 400 + end}) for end in "ab")
    assert one != two
    assert len(one) <= 202


@given(text=st.sampled_from(TEXTS), value=st.text(max_size=400))
def test_s8_whatever_a_header_holds_the_path_stays_below_the_base(text: str, value: str) -> None:
    stays_inside(text, value)


@given(one=st.text(max_size=60), two=st.text(max_size=60))
def test_different_values_have_different_paths(one: str, two: str) -> None:
    same = expand("%{h}/x", {"h": one}) == expand("%{h}/x", {"h": two})
    assert same == (one == two)
