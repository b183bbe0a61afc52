"""Clauses C1 to C11 of Channel, over every channel type, and the file channel opened anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import FaultyDisk
from fakes import (
    deliver,
    journaled,
    manifest_of,
    manual,
    numbers,
    put_numbers,
    take_all,
    take_rows,
)

from rayflume.channels._journaled import JournaledChannel
from rayflume.completeness import WatermarkQuery
from rayflume.component import lookup, types_of
from rayflume.errors import ChannelClosed
from rayflume.interfaces import PutOutcome, StreamPosition
from rayflume.testing import Check, Trial, checks
from rayflume.testing._channel import Lab

STORED, FULL = PutOutcome.STORED, PutOutcome.FULL
REQUIRED = {"file": {"directory": "wal"}}
A, B = "lake/0/a", "lake/1/b"


@pytest.fixture(params=[*types_of("channel"), "file reopened", "file reopened and encrypted"])
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Trial:
    kind, _, again = str(request.param).partition(" ")
    options: dict[str, object] = dict(REQUIRED.get(kind, {}))
    if "encrypted" in again:
        (tmp_path / "key").write_bytes(bytes(range(32)))
        options["encryption"] = {"active_key": "k", "key_files": {"k": "key"}}
    return Trial(lookup("channel", kind), options, tmp_path, reopens=bool(again))


@pytest.fixture
def lab(trial: Trial) -> Iterator[Lab]:
    yield Lab(trial)
    trial.close()


@pytest.mark.parametrize("check", checks("channel"), ids=str)
def test_contract(check: Check, trial: Trial) -> None:
    check(trial)


def test_c2_a_full_channel_takes_nothing_and_says_so(tmp_path: Path) -> None:
    for kind in types_of("channel"):
        context, _ = manual(tmp_path, f"{kind}-small")
        options = REQUIRED.get(kind, {}) | {"capacity": 3}
        channel = lookup("channel", kind).model_validate(options).build(context)
        channel.open()
        assert put_numbers(channel, 0, 3).outcome is STORED
        reply = put_numbers(channel, 3, 4)
        assert (reply.outcome, reply.credit) == (FULL, 0)
        assert channel.positions("")["s"].next == 3
        assert put_numbers(channel, 0, 3).outcome is STORED, "what is there needs no room"
        assert deliver(channel) == numbers(0, 3)
        assert put_numbers(channel, 3, 4).outcome is STORED
        channel.close()


def test_c9_memory_moves_positions_on_only_when_rows_are_committed(tmp_path: Path) -> None:
    def opened() -> JournaledChannel:
        channel = lookup("channel", "memory").model_validate({}).build(manual(tmp_path)[0])
        assert isinstance(channel, JournaledChannel)
        channel.open()
        return channel

    channel = opened()
    put_numbers(channel, 0, 3)
    assert deliver(channel) == numbers(0, 3)
    put_numbers(channel, 3, 6)
    channel.retire(["s"])
    channel.close()
    channel = opened()
    assert channel.positions("") == {"s": StreamPosition(3)}
    put_numbers(channel, 3, 6)
    channel.retire(["s"])
    deliver(channel)
    channel.close()
    channel = opened()
    assert channel.positions("") == {"s": StreamPosition(6, retired=True)}
    channel.close()


def test_c10_nothing_is_acknowledged_once_another_process_has_the_journal(tmp_path: Path) -> None:
    disk = FaultyDisk()
    zombie = journaled(disk, manual(tmp_path)[0])
    put_numbers(zombie, 0, 2)
    leased = take_rows(zombie)
    heir = journaled(disk, manual(tmp_path)[0])
    with pytest.raises(ChannelClosed, match="another process"):
        zombie.prepare(manifest_of(leased.taken.delivery, 2), A)
    assert take_all(heir) == numbers(0, 2)


def test_memory_delivers_on_when_the_disk_of_its_positions_is_full(tmp_path: Path) -> None:
    context, _ = manual(tmp_path)
    channel = lookup("channel", "memory")().build(context)
    channel.open()
    put_numbers(channel, 0, 3)
    table = channel._table
    table._room.took(table.credit())
    assert deliver(channel) == numbers(0, 3)
    table._room.look_again()
    put_numbers(channel, 3, 5)
    assert deliver(channel) == numbers(3, 5)
    assert table.positions("")["s"].next == 5
    channel.close()


def test_a_source_that_tells_is_known(lab: Lab) -> None:
    query = WatermarkQuery("lake", {"web": 1}, 60_000)
    lab.channel.seal("lake", None)
    assert lab.channel.watermark(query).held_by == ("web",)
    lab.channel.idle("host/web")
    assert lab.channel.watermark(query).held_by == ("host/web",)


def test_drain_asks_holders_to_close_once_nothing_waits(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    taken = lab.channel.take(A, "", 1, 0)
    lab.channel.drain(True)
    last = lab.channel.take(A, taken.delivery, 1, 1000)
    assert (last.close, last.draining, last.refs) == (True, True, ())
    assert lab.channel.take(B, "", 1, 0).draining
    lab.channel.drain(False)
    assert not lab.channel.take(A, taken.delivery, 1, 0).close


def test_tap_shows_the_newest_rows_without_taking_them(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    put_numbers(lab.channel, 2, 4)
    assert len(lab.again().tap(2)) == 1
    assert lab.channel.state().waiting == 4


def test_a_closed_channel_says_come_back_and_may_be_closed_again(lab: Lab) -> None:
    lab.channel.close()
    lab.channel.close()
    with pytest.raises(ChannelClosed):
        put_numbers(lab.channel, 0, 1)
