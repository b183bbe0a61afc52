"""F6: a disk that is really full. Puts wait and say why, deliveries go on, all heals by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fakes import deliver, manifest_of, manual, numbers, put_numbers, request, take_all, take_rows
from full_disk import fill, small_disk

from rayflume.agent.inline import InlineAgent
from rayflume.batch import Extent
from rayflume.channels._journaled import REOPEN_AFTER_MS, JournaledChannel
from rayflume.channels._room import FREE_CHECK_MS
from rayflume.channels.file import File
from rayflume.clock import ManualClock
from rayflume.config import plan_of
from rayflume.errors import ChannelClosed
from rayflume.interfaces import PutOutcome
from rayflume.journal.disk import RESERVE_NAME

REASON = "the disk has less than minimum_required_space (1.0 MiB) free: puts wait, deliveries go on"
WAIT_S = 60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 24) as place:
        yield place


def opened(disk: Path, **options: object) -> tuple[JournaledChannel, ManualClock]:
    """A channel whose reserve is 4 MiB."""
    given: dict[str, object] = {
        "directory": str(disk / "wal"),
        "capacity": {"bytes": "64MiB"},
        "minimum_required_space": "1MiB",
    }
    around, clock = manual(disk)
    channel = File.model_validate(given | options).build(around)
    channel.open()
    return channel, clock


def reserve(disk: Path) -> int:
    path = disk / "wal" / RESERVE_NAME
    return path.stat().st_blocks * 512 if path.exists() else 0


def test_f6_deliveries_are_recorded_on_a_full_disk_and_puts_wait(disk: Path) -> None:
    channel, clock = opened(disk)
    for start in range(0, 2_000, 10):
        put_numbers(channel, start, start + 10)
    assert reserve(disk) == 4 * 2**20
    filler = fill(disk)
    clock.advance(FREE_CHECK_MS)
    assert put_numbers(channel, 2_000, 2_001).outcome is PutOutcome.FULL
    assert channel.credit() == 0
    assert channel.state().degraded == (REASON,)
    for number in range(200):
        taken = channel.take("lake/0/a", "", 1, 0)
        assert taken.rows == 10
        channel.prepare(manifest_of(taken.delivery, 10), "lake/0/a")
        channel.commit(taken.delivery)
        if number % 20 == 0:
            fill(disk)  # what the reserve gave is gone, too
    assert channel.state().waiting == 0
    filler.unlink()
    clock.advance(FREE_CHECK_MS)
    assert put_numbers(channel, 2_000, 2_010).outcome is PutOutcome.STORED
    assert channel.state().degraded == ()
    assert reserve(disk) == 4 * 2**20
    assert take_all(channel) == numbers(2_000, 2_010)
    channel.close()


def test_f6_a_journal_is_opened_on_a_full_disk(disk: Path) -> None:
    channel, clock = opened(disk)
    put_numbers(channel, 0, 10)
    leased = take_rows(channel)
    channel.prepare(manifest_of(leased.taken.delivery, 10), "lake/0/a")
    channel.close()
    fill(disk)
    channel, clock = opened(disk)
    assert [m.delivery for m in channel.adopt("lake", "lake/0/b")] == [leased.taken.delivery]
    channel.commit(leased.taken.delivery)
    assert put_numbers(channel, 10, 20).outcome is PutOutcome.FULL
    (disk / "filler").unlink()
    clock.advance(FREE_CHECK_MS)
    assert put_numbers(channel, 10, 20).outcome is PutOutcome.STORED
    assert deliver(channel) == numbers(10, 20)
    channel.close()


def test_f6_what_a_failed_put_left_is_given_back(disk: Path) -> None:
    """More is put than there is room for: the journal fails, and is opened in the room of that."""
    channel, clock = opened(disk, minimum_required_space=0)
    put_numbers(channel, 0, 10)
    with (disk / "filler").open("wb") as file:
        file.write(bytes(channel.credit() - 2**20))
    channel._room.took(-(2**40))  # what another just used up
    large = request([bytes(9 * 2**20)], [Extent("large", 0, 1, 1)])
    with pytest.raises(ChannelClosed, match="No space left"):
        channel.put(large)
    fill(disk)
    clock.advance(REOPEN_AFTER_MS)
    assert deliver(channel) == numbers(0, 10)
    assert channel.put(large).outcome is PutOutcome.FULL
    (disk / "filler").unlink()
    clock.advance(FREE_CHECK_MS)
    assert channel.put(large).outcome is PutOutcome.STORED
    assert take_all(channel) == [bytes(9 * 2**20)]
    channel.close()


def until(condition: Callable[[], bool]) -> None:
    for _ in range(WAIT_S * 20):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("not reached in time")


def test_f6_an_agent_waits_says_why_and_every_row_arrives_once(tmp_path: Path, disk: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    rows = [f"{i:07d} {'x' * 200}" for i in range(20_000)]
    (inputs / "a.log").write_text("".join(f"{row}\n" for row in rows[:1_000]))
    plan = plan_of(
        {
            "agent": "full",
            "sources": {"web": {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"]}},
            "channels": {
                "wal": {
                    "type": "file",
                    "directory": "disk/wal",
                    "capacity": {"bytes": "64MiB"},
                    "minimum_required_space": "1MiB",
                }
            },
            "sinks": {
                "lake": {
                    "type": "parquet",
                    "channel": "wal",
                    "path": "lake",
                    "format": {"type": "text"},
                    "roll": {"age": "200ms"},
                }
            },
        },
        tmp_path,
    )
    agent = InlineAgent(plan).start()

    def error(name: str) -> str:
        parts = agent.status()["components"]
        assert isinstance(parts, list)
        [found] = [p for p in parts if isinstance(p, dict) and p["name"] == name]
        return str(found["last_error"])

    def lake() -> list[str]:
        files = (tmp_path / "lake").glob("part-*.parquet")
        return sorted(row for f in files for row in pq.read_table(f).column(0).to_pylist())

    try:
        until(lambda: lake() == rows[:1_000])
        filler = fill(disk)
        until(lambda: REASON in error("wal"))
        (inputs / "b.log").write_text("".join(f"{row}\n" for row in rows[1_000:]))
        until(lambda: "is full" in error("web"))
        assert lake() == rows[:1_000]
        filler.unlink()
        until(lambda: len(lake()) == len(rows))
        assert lake() == rows
        until(lambda: error("wal") == error("web") == "None")
    finally:
        agent.stop()
        assert agent.join(WAIT_S)
