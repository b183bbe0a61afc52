from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.sinks._bucket import Partitioning
from rayflume.sinks._escape import EMPTY, NULL, SEGMENT_BYTES_MAX, escape, guard_segment
from rayflume.sinks._event_time import event_times

HOSTILE = [
    b"..", b".", b"../../etc/passwd", b"a/b", b"a\\b", b"/", b"\\", b"\0", b"a\0b", b"\r\n",
    b"\x1b[31m", b"=", b"%", b"%2e%2e", b"%2F", b"a=b", b"*", b"?", b"~", b"C:", b"CON", b"nul",
    b"a.", b"a ", b"...", b".hidden", b"_hidden", b"_rayflume", b"\xff\xfe", b"\xc0\xae",
    "\u202e".encode(), "\u2028".encode(), "\u0085".encode(), b"a" * 5000, b"/" * 300,
    "\u00e6".encode() * 300, b"__HIVE_DEFAULT_PARTITION__", b"__EMPTY__", b"<x>|\"'`", b":",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_s8_hostile_values_stay_one_harmless_segment(value: bytes) -> None:
    text = escape(value)
    assert not set(text) & set('/\\\0\r\n:*?"<>|=')
    assert text not in {".", "..", "", NULL, EMPTY}
    assert not text.endswith((".", " "))
    assert len(text.encode()) <= SEGMENT_BYTES_MAX
    assert all(char.isprintable() for char in text)


def test_s8_null_and_empty_have_fixed_tokens() -> None:
    assert (escape(None), escape(b"")) == (NULL, EMPTY)


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=2, unique=True))
def test_s8_different_values_have_different_segments(values: list[bytes]) -> None:
    assert escape(values[0]) != escape(values[1])


@given(st.text(max_size=30))
def test_s8_a_segment_without_a_name_is_neither_hidden_nor_reserved(value: str) -> None:
    segment = guard_segment(escape(value.encode("utf-8", "surrogatepass")))
    assert segment[0] not in "._"
    assert segment.partition(".")[0].upper() not in {"CON", "NUL", "COM1"}


def test_every_row_gets_the_hour_it_lies_in() -> None:
    generator = np.random.default_rng(5)
    times = generator.integers(-4_000_000_000_000, 4_000_000_000_000, 300)
    for zone in (
        UTC,
        ZoneInfo("Asia/Kolkata"),
        ZoneInfo("America/St_Johns"),
        ZoneInfo("Europe/Oslo"),
    ):
        groups = Partitioning(["dt=%Y-%m-%d", "hour=%H"], zone).group(times, {})
        assert groups.codes is not None
        for ms, code in zip(times.tolist(), groups.codes.tolist(), strict=True):
            local = datetime.fromtimestamp(ms // 1000, UTC).astimezone(zone)
            want = f"dt={local:%Y-%m-%d}/hour={local:%H}"
            assert groups.directories[code] == want


def test_flume_escapes_read_as_in_flume() -> None:
    at = int(datetime(2026, 3, 5, 14, 7, 9, tzinfo=UTC).timestamp() * 1000) + 21
    shown = {
        "%a %A %b %B": "Thu Thursday Mar March",
        "%c": "Thu Mar 5 14%3A07%3A09 2026",
        "%d%e%j%m%n": "055064033",
        "%D": "03%2F05%2F26",
        "%H%I%k%l%p": "1402142PM",
        "%M%S%y%Y": "0709262026",
        "%s_%t": f"{at // 1000}_{at}",
        "%z%%": "+0000%25",
    }
    for pattern, want in shown.items():
        groups = Partitioning([f"x={pattern}"]).group(np.array([at]), {})
        assert groups.directories == [f"x={want}"]


def test_fields_are_combined_and_nulls_are_hives() -> None:
    country = pa.array(["no", None, "no", ""])
    status = pa.array([200, 200, 404, 200])
    groups = Partitioning(["c=%{country}", "s=%{status}"]).group(
        None, {"country": country, "status": status}
    )
    assert groups.codes is not None
    got = [groups.directories[code] for code in groups.codes]
    assert got == ["c=no/s=200", f"c={NULL}/s=200", "c=no/s=404", f"c={EMPTY}/s=200"]
    assert [rows.tolist() for rows in groups.rows()] == [
        [i for i, name in enumerate(got) if name == directory] for directory in groups.directories
    ]


def test_many_distinct_values_are_grouped_rightly() -> None:
    names = pa.array([f"v{i * 7919 % 3000}" for i in range(9000)])
    numbers = pa.array([i % 11 for i in range(9000)])
    times = np.arange(9000, dtype=np.int64) * 10_000_000
    part = Partitioning(["a=%{a}", "dt=%Y-%m-%d", "n=%{n}"])
    groups = part.group(times, {"a": names, "n": numbers})
    assert groups.codes is not None
    for i in (0, 17, 4444, 8999):
        day = datetime.fromtimestamp(times[i] / 1000, UTC)
        want = f"a={names[i].as_py()}/dt={day:%Y-%m-%d}/n={i % 11}"
        assert groups.directories[groups.codes[i]] == want


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        ("dt=%Q", "no escape"),
        ("dt=", "no partition"),
        ("=x", "no partition"),
        ("_dt=%Y", "no partition name"),
        ("dt=%Y/%m", "holds a `/`"),
        ("", "no partition"),
        ("x=%", "no escape"),
        ("x=%{}", "no escape"),
    ],
)
def test_a_bad_pattern_is_an_error_that_says_what_to_write(pattern: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Partitioning([pattern])


def test_event_times_of_columns_and_headers() -> None:
    column = pa.array([1_700_000_000_123_456, None, -1], pa.timestamp("us", "UTC"))
    found = event_times(column, 3)
    assert found.ms.tolist() == [1_700_000_000_123, 0, -1]
    assert found.known is not None
    assert found.known.tolist() == [True, False, True]
    header = event_times(pa.array(["12", "x", None, "9" * 30, "999999999999999"]), 5)
    assert header.known is not None
    assert header.unreadable is not None
    assert header.known.tolist() == [True, False, False, False, False]
    assert header.unreadable.tolist() == [False, True, False, True, True]
    assert event_times("12", 2).ms.tolist() == [12, 12]
    assert event_times(pa.array([1], pa.date32()), 1).ms.tolist() == [86_400_000]
    assert event_times(pa.array([3], pa.timestamp("s")), 1).ms.tolist() == [3000]


@pytest.mark.parametrize("value", ["d\u00a0e", "\u3000", "👩\u200d💻", "日本", "é"])
def test_what_is_not_ascii_is_left_as_hive_leaves_it(value: str) -> None:
    """Spark and Hive decode each %XX to one character and would read mojibake."""
    assert escape(value.encode()) == value
