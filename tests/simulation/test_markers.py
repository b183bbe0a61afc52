"""Whole agents that mark complete partitions while everything goes wrong: no marker before its
rows, in any schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

import pytest
from fault_volume import scaled

from rayflume.agent import marking
from rayflume.journal.ledger import Ledger
from rayflume.journal.watermark import _Looks
from simulation.schedule import run
from simulation.world import MARKED, World

SEEDS = range(12)
MANY = range(scaled(30))
LINGER_MS = 150_000
"""Sources fall idle, and stop holding those that are further."""


def marked(seed: int) -> tuple[int, str]:
    """How many partitions were marked, and what went wrong."""
    worlds: list[World] = []

    def prepare(world: World) -> None:
        world.parquet, world.inputs.timed = MARKED, True
        world.linger_ms = LINGER_MS
        worlds.append(world)

    with patch.object(marking, "EVERY_MS", 300):
        outcome = run(seed, prepare=prepare)
    return worlds[0].judge.marked, outcome.problem


def test_a_marker_never_comes_before_its_rows() -> None:
    found = {seed: marked(seed) for seed in SEEDS}
    assert {seed: problem for seed, (_, problem) in found.items() if problem} == {}
    assert sum(count > 0 for count, _ in found.values()) > len(SEEDS) // 2


@pytest.mark.exhaustive
def test_a_marker_never_comes_before_its_rows_in_many_schedules() -> None:
    assert {seed: p for seed in MANY for _, p in [marked(seed)] if p} == {}


def _all_positions(self: Ledger) -> int:
    return self.next_position


@contextmanager
def _only_who_came() -> Iterator[None]:
    """A source that was never heard of does not count."""
    places = _Looks.places

    def known(self: _Looks, name: str, count: int) -> object:
        return places(self, name, 0)

    with patch.object(_Looks, "places", known):
        yield


TWO_SINKS = 2
"""Number of the topology in which a later row may be delivered before an earlier one."""
WITHOUT: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "the oldest unfinished row": lambda: patch.object(Ledger, "finished", property(_all_positions)),
    "sources that never came": _only_who_came,
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", WITHOUT)
def test_without_a_rule_it_is_seen(rule: str) -> None:
    """What the simulation could not see, it could not prove."""
    first = TWO_SINKS if "row" in rule else 0
    with WITHOUT[rule]():
        problems = (marked(seed)[1] for seed in range(first, 400, 4 if first else 1))
        assert any("is marked" in problem for problem in problems)
