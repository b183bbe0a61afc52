"""Groups at their channel: who is given rows, and what becomes of rows whose sink fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fakes import bodies_of, context, journaled, manifest_of, manual, numbers, put_numbers
from reload_agent import until

from rayflume.agent.gate import SILENT_MS, Gates
from rayflume.agent.parts import ChannelPart
from rayflume.channels._journaled import JournaledChannel
from rayflume.component import lookup
from rayflume.errors import ChannelClosed
from rayflume.interfaces import Taken
from rayflume.journal.disk import MemoryDisk
from rayflume.sink_processors.failover import FailoverProcessor
from rayflume.sink_processors.load_balance import LoadBalanceProcessor
from rayflume.sink_selectors.round_robin import InTurn

ANY = 2**30


class Owner:
    """A channel with groups, as its owner has it."""

    def __init__(self, directory: Path, kind: str) -> None:
        around, self.clock = manual(directory)
        leader = (
            FailoverProcessor(("a", "b"), 30_000)
            if kind == "failover"
            else LoadBalanceProcessor(("a", "b"), InTurn(), 30_000)
        )
        self.channel: JournaledChannel = journaled(MemoryDisk(), around)
        self.gates = Gates([(("a", "b"), leader)], around)
        self.turns = dict.fromkeys(("a", "b", "c"), 0)

    def call(self, method: str, *args: object) -> object:
        return self.gates.call(self.channel, method, *args)

    def take(self, sink: str, delivery: str = "") -> Taken:
        self.turns[sink] += 1
        taken = self.call("take", f"{sink}/0/x", delivery, ANY, 0, self.turns[sink])
        assert isinstance(taken, Taken)
        return taken

    def rows(self, sink: str) -> list[bytes]:
        rows: list[bytes] = bodies_of(self.channel, self.take(sink).refs)
        return rows

    def finish(self, sink: str, taken: Taken) -> None:
        self.call("prepare", manifest_of(taken.delivery, taken.rows, sink), f"{sink}/0/x")
        self.call("commit", taken.delivery)


@pytest.fixture
def failover(tmp_path: Path) -> Owner:
    return Owner(tmp_path, "failover")


@pytest.fixture
def balanced(tmp_path: Path) -> Owner:
    return Owner(tmp_path, "load_balance")


def test_only_the_sink_whose_turn_it_is_gets_rows(failover: Owner) -> None:
    put_numbers(failover.channel, 0, 5)
    assert failover.rows("b") == []
    assert failover.rows("a") == numbers(0, 5)


def test_a_sink_of_no_group_takes_as_ever(failover: Owner) -> None:
    put_numbers(failover.channel, 0, 5)
    assert failover.rows("c") == numbers(0, 5)
    assert failover.call("sink_failed", "c") is False


def test_rows_of_a_failed_sink_go_to_the_next_and_it_closes_what_it_has_when_it_is_out(
    failover: Owner,
) -> None:
    put_numbers(failover.channel, 0, 5)
    first = failover.take("a")
    assert failover.call("sink_failed", "a") is True
    failover.channel.release(first.delivery)
    second = failover.take("b")
    assert bodies_of(failover.channel, second.refs) == numbers(0, 5)
    failover.clock.advance(2_000)
    put_numbers(failover.channel, 5, 9)
    trial = failover.take("a")
    assert (trial.rows, trial.close) == (4, True), "one small delivery shows whether it works"
    assert not failover.take("b", second.delivery).close, "it goes on meanwhile"
    failover.finish("a", trial)
    out = failover.take("b", second.delivery)
    assert (out.refs, out.close) == ((), True), "the first leads again"


def test_a_lost_answer_is_given_again_though_it_is_anothers_turn_now(failover: Owner) -> None:
    put_numbers(failover.channel, 0, 5)
    first = failover.take("a")
    failover.call("sink_failed", "a")
    failover.turns["a"] -= 1
    assert failover.take("a") == first


def test_deliveries_that_nobody_holds_are_shown_to_a_sink_that_is_out(failover: Owner) -> None:
    put_numbers(failover.channel, 0, 5)
    taken = failover.channel.take("b/1/dead", "", ANY, 0)
    failover.channel.prepare(manifest_of(taken.delivery, 5, "b"), "b/1/dead")
    failover.call("holder_gone", "b/1/dead")
    assert failover.take("b").orphans


def test_a_sink_that_dies_or_is_silent_leaves_the_rows_to_the_others(
    failover: Owner, tmp_path: Path
) -> None:
    put_numbers(failover.channel, 0, 5)
    failover.call("holder_gone", "a/0/x")
    assert failover.rows("b") == numbers(0, 5)
    silent = Owner(tmp_path, "failover")
    put_numbers(silent.channel, 0, 5)
    silent.clock.advance(SILENT_MS)
    assert silent.rows("b") == []
    silent.call("heartbeat", "a/0/x")
    silent.clock.advance(SILENT_MS)
    assert silent.rows("b") == []
    silent.clock.advance(1)
    assert silent.rows("b") == numbers(0, 5)


def test_takes_go_round(balanced: Owner) -> None:
    got = []
    for first in range(0, 12, 3):
        put_numbers(balanced.channel, first, first + 3)
        got.append((balanced.rows("a"), balanced.rows("b")))
    assert sum(len(a) for a, _ in got) == 12, "nobody waits for one that does not ask"


def test_a_sink_that_waits_gets_its_turn_when_the_other_has_taken(tmp_path: Path) -> None:
    channel = journaled(MemoryDisk(), context(tmp_path))
    leader = LoadBalanceProcessor(("a", "b"), InTurn(), None)
    gates = Gates([(("a", "b"), leader)], context(tmp_path))
    got: dict[str, list[bytes]] = {"a": [], "b": []}
    enough = threading.Event()

    def sink(name: str) -> None:
        turn = 0
        while not enough.is_set():
            turn += 1
            taken = gates.take(channel, f"{name}/0/x", "", 1, 100, turn)
            got[name] += bodies_of(channel, taken.refs)

    threads = [threading.Thread(target=sink, args=(name,), daemon=True) for name in got]
    for thread in threads:
        thread.start()
    [gate] = {id(gate): gate for gate in gates._gates.values()}.values()
    for number in range(20):
        until(lambda: min(gate._asking["a"], gate._asking["b"]) == 1)
        put_numbers(channel, number, number + 1)
        until(lambda number=number: len(got["a"]) + len(got["b"]) > number)
    enough.set()
    for thread in threads:
        thread.join(30)
    assert sorted(got["a"] + got["b"], key=int) == numbers(0, 20)
    assert min(len(got["a"]), len(got["b"])) >= 5, got


def test_a_waiting_sink_is_woken(failover: Owner) -> None:
    failover.call("wake", "b/0/x")
    taken = failover.call("take", "b/0/x", "", ANY, 60_000, 1)
    assert taken == Taken("")


def test_other_groups_take_effect_at_once(failover: Owner) -> None:
    put_numbers(failover.channel, 0, 5)
    assert failover.rows("b") == []
    failover.gates.lead([(("a", "b"), FailoverProcessor(("b", "a"), 30_000))])
    assert failover.rows("b") == numbers(0, 5)


def test_a_channel_that_closes_while_it_is_asked_is_waiting_and_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 5225 of the simulation: another process opened the journal between two questions."""
    around, _ = manual(tmp_path)
    part = ChannelPart(lookup("channel", "memory")(), around)
    part.start()
    until(lambda: part.status()["state"] == "running")

    def closed() -> list[str]:
        raise ChannelClosed("another process has opened the journal")

    monkeypatch.setattr(part.channel, "prepared_sinks", closed)
    assert part.status()["state"] == "waiting"
    part.stop()
