"""When the time of a partition ends, with clocks that are set to and fro."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflume.sinks._bucket import Partitioning, Rounding
from rayflume.sinks._span import Spans

OSLO, LORD_HOWE, HAVANA = (
    ZoneInfo(n) for n in ("Europe/Oslo", "Australia/Lord_Howe", "America/Havana")
)
ZONES: dict[str, tzinfo] = {"UTC": UTC, "Oslo": OSLO, "Lord Howe": LORD_HOWE, "Havana": HAVANA}
HOURS = ["dt=%Y-%m-%d", "hour=%H"]


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def end(patterns: list[str], zone: tzinfo, at: str) -> str:
    found = Spans(Partitioning(patterns, zone), zone).end_of(ms(at))
    assert found is not None
    return datetime.fromtimestamp(found / 1000, UTC).isoformat(timespec="milliseconds")


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["%Y"], "2026-01-01T00:00:00.000+00:00"),
        (["y=%Y", "m=%m"], "2025-12-01T00:00:00.000+00:00"),
        (["dt=%Y-%m-%d"], "2025-11-23T00:00:00.000+00:00"),
        (["%Y", "%j"], "2025-11-23T00:00:00.000+00:00"),
        (["d=%D"], "2025-11-23T00:00:00.000+00:00"),
        (HOURS, "2025-11-22T15:00:00.000+00:00"),
        (["dt=%Y%m%d", "%I%p"], "2025-11-22T15:00:00.000+00:00"),
        (["host=%{host}", "dt=%Y-%m-%d-%H%M"], "2025-11-22T14:31:00.000+00:00"),
        (["at=%c"], "2025-11-22T14:30:16.000+00:00"),
        (["at=%s"], "2025-11-22T14:30:16.000+00:00"),
        (["at=%t"], "2025-11-22T14:30:15.251+00:00"),
    ],
)
def test_it_ends_with_the_finest_unit_that_is_shown(patterns: list[str], wanted: str) -> None:
    assert end(patterns, UTC, "2025-11-22T14:30:15.250+00:00") == wanted


@pytest.mark.parametrize(
    ("at", "days", "hours"),
    [
        # 23 hours: 01:59 is followed by 03:00.
        ("2025-03-30T00:30:00+00:00", "2025-03-30T22:00", "2025-03-30T01:00"),
        ("2025-03-30T01:30:00+00:00", "2025-03-30T22:00", "2025-03-30T02:00"),
        # 25 hours: 02:00 to 02:59 comes twice, and is one partition.
        ("2025-10-25T23:30:00+00:00", "2025-10-26T23:00", "2025-10-26T00:00"),
        ("2025-10-26T00:30:00+00:00", "2025-10-26T23:00", "2025-10-26T02:00"),
        ("2025-10-26T01:30:00+00:00", "2025-10-26T23:00", "2025-10-26T02:00"),
        ("2025-10-26T02:30:00+00:00", "2025-10-26T23:00", "2025-10-26T03:00"),
    ],
)
def test_days_and_hours_when_clocks_are_set(at: str, days: str, hours: str) -> None:
    assert end(["dt=%Y-%m-%d"], OSLO, at) == f"{days}:00.000+00:00"
    assert end(HOURS, OSLO, at) == f"{hours}:00.000+00:00"


def test_a_minute_that_comes_twice_ends_the_second_time() -> None:
    minutes = ["dt=%Y-%m-%d", "%H%M"]
    assert end(minutes, OSLO, "2025-10-26T00:15:00+00:00") == "2025-10-26T01:16:00.000+00:00"
    assert end(minutes, OSLO, "2025-10-25T23:59:00+00:00") == "2025-10-26T00:00:00.000+00:00"


def test_where_times_are_rounded_a_partition_lasts_as_long() -> None:
    quarters = Partitioning(["%Y-%m-%d-%H%M"], UTC, Rounding.of(15 * 60_000))
    at, wanted = ms("2025-11-22T14:31:07+00:00"), ms("2025-11-22T14:45:00+00:00")
    assert Spans(quarters, UTC).end_of(at) == wanted


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["host=%{host}"], "no time escape"),
        (["hour=%H"], "year and month and day is not in it"),
        (["dt=%Y-%d"], "month is not in it"),
        (["dt=%Y-%m-%d", "%I"], ""),
        (["day=%A"], "no time escape"),
        (["dt=%Y-%m-%d", "m=%M"], "hour is not in it"),
    ],
)
def test_times_that_come_again_are_refused(patterns: list[str], said: str) -> None:
    if said:
        with pytest.raises(ValueError, match=said):
            Spans(Partitioning(patterns), UTC)
    else:  # the hour of a clock without am and pm only repeats: the day is what ends
        assert end(patterns, UTC, "2025-11-22T14:30:00+00:00") == "2025-11-23T00:00:00.000+00:00"


def test_the_last_day_of_the_calendar_does_not_end() -> None:
    assert Spans(Partitioning(["%Y-%m-%d"]), UTC).end_of(253_402_214_400_000) is None


PATTERNS = {
    "day": ["dt=%Y-%m-%d"],
    "hour": HOURS,
    "minute": ["dt=%Y-%m-%d", "hour=%H", "%M"],
}
ROUNDS = {"": 0, " by ten": 10 * 60_000, " by six": 6 * 3_600_000}
EDGES = [ms(f"{day}T00:00:00+00:00") for day in ("2025-03-30", "2025-04-05", "2025-10-04")]
EDGES += [ms(f"{day}T00:00:00+00:00") for day in ("2025-10-26", "2025-11-02", "2025-03-09")]


@settings(deadline=None, max_examples=50)
@given(
    zone=st.sampled_from(sorted(ZONES)),
    kind=st.sampled_from(["day", "hour", "minute", "minute by ten", "hour by six"]),
    edge=st.sampled_from(EDGES),
    minutes=st.integers(-1_500, 1_500),
)
def test_the_end_is_the_first_moment_behind_the_last_of_it(
    zone: str, kind: str, edge: int, minutes: int
) -> None:
    """Against a walk over every minute of the days around."""
    shown, at = kind.partition(" ")[0], edge + minutes * 60_000 + 17
    rounding = Rounding.of(ROUNDS[kind.removeprefix(shown)])
    partitioning = Partitioning(PATTERNS[shown], ZONES[zone], rounding)
    found = Spans(partitioning, ZONES[zone]).end_of(at)
    assert found is not None
    first = at // 60_000 * 60_000
    walk = np.arange(first, first + 28 * 3_600_000, 60_000, dtype=np.int64)
    groups = partitioning.group(np.concatenate([[at], walk]), {})
    assert groups.codes is not None
    same = np.flatnonzero(groups.codes[1:] == groups.codes[0])
    assert found == int(walk[same[-1]]) + 60_000
