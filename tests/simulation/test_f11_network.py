"""F11: calls between actors that come in another order, late, or twice: 10 % of them, all the time.

(Hops between agents, which the fault is about, are not there yet; what exists is the calls between
sources, channels and sinks.)
"""

from __future__ import annotations

import pytest
from fault_volume import scaled

from simulation.schedule import run
from simulation.world import World

SEEDS = scaled(60)


def bad_network(world: World) -> None:
    world.network.trouble = world.network.replays = 0.1


@pytest.mark.exhaustive
def test_f11_reordered_late_and_repeated_calls_double_and_lose_nothing() -> None:
    for seed in range(SEEDS):
        outcome = run(seed, prepare=bad_network)
        assert outcome.problem == "", f"seed {seed}: {outcome.problem}"
