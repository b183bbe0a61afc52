"""F12: the wall clock jumps. Order, de-duplication, leases, rolls and reading go on as if it had
not; partitions follow the events' own time.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from channel_model import Flow
from fakes import (
    context,
    manifest_of,
    manual,
    numbers,
    put_numbers,
    request,
    take_all,
    take_rows,
)
from fault_volume import scaled

from rayflume import flow
from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.flow import Lane
from rayflume.interfaces import PollableSource, PutOutcome, RowRef
from rayflume.journal.age import JournalTime, Stamp, later
from rayflume.journal.reader import decode_rows
from rayflume.metrics import Metrics
from rayflume.sources.taildir import Taildir

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_700_000_000_000
JUMPS = {
    "an hour on": HOUR,
    "an hour back, as when summer time ends": -HOUR,
    "a day on": DAY,
    "a day back": -DAY,
    "5 minutes back": -5 * MINUTE,
    "to 1970": -START,
    "to 2100": 4_102_444_800_000 - START,
}
KEY, DIGEST = "ab" * 16, b"d" * 16

jumps = pytest.mark.parametrize("jump", JUMPS.values(), ids=list(JUMPS))


class Wal:
    """A file channel that can be opened again, and its clock."""

    def __init__(self, directory: Path, **options: object) -> None:
        self.context, self.clock = manual(directory)
        part = lookup("channel", "file")
        self.options = part.model_validate(
            {"directory": "wal", "minimum_required_space": 0, **options}
        )
        self.channel = self._open()

    def _open(self) -> JournaledChannel:
        channel = self.options.build(self.context)
        assert isinstance(channel, JournaledChannel)
        channel.open()
        return channel

    def again(self) -> None:
        self.channel.close()
        self.channel = self._open()

    def send(self, key: str = KEY) -> bool:
        """A keyed request; whether it was stored."""
        before = self.channel.state().waiting
        reply = self.channel.put(request([b"keyed"], [Extent(key, 0, 1, 1, DIGEST, keyed=True)]))
        assert reply.outcome is PutOutcome.STORED and not reply.conflicts
        return self.channel.state().waiting > before


@pytest.fixture
def wal(tmp_path: Path) -> Iterator[Wal]:
    found = Wal(tmp_path)
    yield found
    found.channel.close()


# -- channel


@jumps
@pytest.mark.parametrize("reopened", [False, True])
def test_f12_order_and_duplicates_are_judged_as_before(wal: Wal, jump: int, reopened: bool) -> None:
    put_numbers(wal.channel, 0, 5)
    wal.clock.jump(jump)
    if reopened:
        wal.again()
    put_numbers(wal.channel, 0, 5)
    put_numbers(wal.channel, 5, 10)
    wal.clock.jump(-jump)
    if reopened:
        wal.again()
    put_numbers(wal.channel, 5, 10)
    assert take_all(wal.channel) == numbers(0, 10)


@jumps
@pytest.mark.parametrize("reopened", [False, True])
def test_f12_a_key_is_still_known_after_a_jump_and_back(
    wal: Wal, jump: int, reopened: bool
) -> None:
    assert wal.send()
    for step in (jump, -jump):
        wal.clock.jump(step)
        if reopened:
            wal.again()
        assert not wal.send()


@jumps
def test_f12_a_retired_stream_is_remembered_for_its_time(tmp_path: Path, jump: int) -> None:
    wal = Wal(tmp_path, stream_retention="1h", idempotency_key_retention="1h")
    put_numbers(wal.channel, 0, 5, "s")
    wal.channel.retire(["s"])
    for step in (jump, -jump):
        wal.clock.jump(step)
        wal.again()
        assert wal.channel.positions("s")["s"].next == 5
    for _ in range(4):
        wal.clock.advance(HOUR)
        put_numbers(wal.channel, 0, 1, "other")
        wal.again()
    assert not wal.channel.positions("s")
    wal.channel.close()


def test_f12_a_wrong_clock_at_one_opening_costs_a_quarter(tmp_path: Path) -> None:
    """The bound that the option states; and that keys do end, by the time that really passes."""
    wal = Wal(tmp_path, idempotency_key_retention="4h", stream_retention="4h")
    wal.send()
    wal.clock.jump(JUMPS["to 2100"])
    wal.again()
    wal.clock.advance(2 * HOUR - 1)
    put_numbers(wal.channel, 0, 1)
    wal.again()
    assert not wal.send()
    for n in range(8):
        wal.clock.advance(HOUR)
        put_numbers(wal.channel, n + 1, n + 2)
        wal.again()
    assert wal.send()
    wal.channel.close()


def test_f12_random_jumps_never_double_a_key_in_the_window(tmp_path: Path) -> None:
    """Resends at an age of up to half the retention, with one jump or opening in between."""
    for seed in range(scaled(40)):
        chance = random.Random(seed)
        wal = Wal(tmp_path / str(seed), idempotency_key_retention="1h", stream_retention="1h")
        sent: dict[str, int] = {}
        elapsed, doubled = 0, 0
        for n in range(60):
            step = chance.choice(["send", "again", "jump", "wait", "opened"])
            if step == "send":
                key = f"{seed:016x}{n:016x}"
                assert wal.send(key)
                sent[key] = elapsed
            elif step == "again" and sent:
                key = chance.choice(list(sent))
                stored = wal.send(key)
                doubled += stored and elapsed - sent[key] <= HOUR // 2
                sent[key] = elapsed if stored else sent[key]
            elif step == "jump":
                wal.clock.jump(chance.choice(list(JUMPS.values())))
            elif step == "wait":
                ms = chance.randrange(10 * MINUTE)
                wal.clock.advance(ms)
                elapsed += ms
            elif step == "opened" and chance.random() < 0.1:
                wal.again()
                sent = {}  # the bound counts openings: those before it are not judged any more
        wal.channel.close()
        assert doubled == 0, seed


def test_f12_the_journals_time_by_itself() -> None:
    clock = ManualClock(START)
    time = JournalTime(clock, None, HOUR)
    assert time.stamp() == Stamp(START, START)
    clock.jump(-START)
    clock.advance(10)
    last = time.stamp()
    assert last == Stamp(START + 10, 10)
    clock.jump(DAY)
    assert JournalTime(clock, last, HOUR).stamp().now_ms == last.now_ms + HOUR
    clock.jump(-DAY - 5)
    assert JournalTime(clock, last, HOUR).stamp().now_ms == last.now_ms
    assert later(last, {"now": 1, "wall": 2}) == last
    assert later(last, {}) == last
    assert later(None, {"now": 7}) == Stamp(7, 7)


@jumps
def test_f12_the_memory_channel_keeps_what_it_knew(tmp_path: Path, jump: int) -> None:
    """Its table of streams is a journal of its own, whose time the rows' journal shares."""
    around, clock = manual(tmp_path)
    options = lookup("channel", "memory").model_validate({})
    for step in (0, jump, -jump):
        clock.jump(step)
        channel = options.build(around)
        assert isinstance(channel, JournaledChannel)
        channel.open()
        put_numbers(channel, 0, 5, "s")
        leased = take_rows(channel)
        assert len(leased.rows) == (0 if step else 5)
        if leased.rows:
            channel.prepare(manifest_of(leased.taken.delivery, 5), "lake/0/a")
            channel.commit(leased.taken.delivery)
            channel.retire(["s"])
        channel.close()


@jumps
def test_f12_leases_live_by_the_monotonic_clock(wal: Wal, jump: int) -> None:
    put_numbers(wal.channel, 0, 5)
    assert len(take_rows(wal.channel).rows) == 5
    wal.clock.jump(jump)
    assert wal.channel.state().leased == 5
    wal.clock.advance(29_000)
    assert wal.channel.state().leased == 5
    wal.clock.advance(2_000)
    assert wal.channel.state().leased == 0


# -- sink


def lane_over(wal: Wal, directory: Path, **options: object) -> Lane:
    part = lookup("sink", "parquet").model_validate(
        {
            "path": str(directory / "lake"),
            "format": {"type": "json", "schema": {"n": "int64", "ts": "timestamp_ms"}},
            **options,
        }
    )
    sink = part.build(context(directory, "lake", wal.clock))
    sink.open()

    def read(ref: RowRef) -> EventBatch:
        [record] = wal.channel.fetch([ref])
        return decode_rows(record, ref)

    return Lane("lake", "lake/0/a", wal.channel, sink, read, wal.clock, Metrics())


def put_events(wal: Wal, times: list[int]) -> None:
    bodies: list[bytes | None] = [
        json.dumps({"n": n, "ts": time}).encode() for n, time in enumerate(times)
    ]
    wal.channel.put(request(bodies, [Extent("e", 0, len(times), len(times))]))


@jumps
def test_f12_a_delivery_ends_by_its_age_and_not_by_the_wall(
    wal: Wal, tmp_path: Path, jump: int
) -> None:
    lane = lane_over(wal, tmp_path, roll={"age": "10s"})
    put_events(wal, [START])
    flow.drain(lane, 0)
    wal.clock.jump(jump)
    flow.drain(lane, 0)
    assert lane.open is not None and not lane.closing
    wal.clock.advance(9_999)
    flow.drain(lane, 0)
    assert lane.open is not None
    wal.clock.advance(1)
    flow.drain(lane, 0)
    assert lane.open is None and len(lane.closing) == 1
    flow.release(lane)


@jumps
def test_f12_partitions_follow_the_events_time(wal: Wal, tmp_path: Path, jump: int) -> None:
    """Also through the hour that the local clock has twice, and for events of 1970 and 2100."""
    ends = dt.datetime(2026, 10, 25, 0, 0, tzinfo=dt.UTC)
    times = [int((ends + dt.timedelta(minutes=30 * n)).timestamp() * 1000) for n in range(6)]
    times += [0, 4_102_444_800_000]
    lane = lane_over(
        wal,
        tmp_path,
        event_time="ts",
        partition_by=["dt=%Y-%m-%d", "hour=%H"],
        time_zone="Europe/Oslo",
        roll={"age": "10s"},
    )
    put_events(wal, times)
    wal.clock.jump(jump)
    wal.channel.drain(True)
    while not lane.closing:
        flow.drain(lane, 0)
    wal.clock.jump(jump)
    flow.finish(lane, lane.closing[0])
    found: dict[str, list[int]] = {}
    for path in (tmp_path / "lake").rglob("*.parquet"):
        place = str(path.parent.relative_to(tmp_path / "lake"))
        found.setdefault(place, []).extend(pq.ParquetFile(path).read()["n"].to_pylist())
    assert found == {
        "dt=2026-10-25/hour=02": [0, 1, 2, 3],
        "dt=2026-10-25/hour=03": [4, 5],
        "dt=1970-01-01/hour=01": [6],
        "dt=2100-01-01/hour=01": [7],
    }


# -- source


@jumps
def test_f12_a_followed_file_is_read_on_whatever_the_clocks_say(tmp_path: Path, jump: int) -> None:
    """Neither the wall clock nor the times that files carry decide what is read."""

    def build(around: Context) -> PollableSource:
        return Taildir.model_validate({"paths": ["*.log"]}).build(around)

    followed = Flow(build, tmp_path)
    log = tmp_path / "a.log"
    lines: list[bytes] = []
    for n in range(6):
        with log.open("ab") as file:
            file.write(b"line %d\n" % n)
        lines.append(b"line %d" % n)
        seconds = max(0, (followed.clock.now_ms() + jump) // 1000)
        os.utime(log, (seconds, seconds))
        followed.clock.jump(jump if n % 2 else -jump)
        if n == 3:
            followed.restart()
        followed.settle()
        assert followed.channel.arrived == lines
    assert len(followed.channel.rows) == 1
    followed.source.stop()
