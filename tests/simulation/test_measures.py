"""Prove that the simulator can see: each protecting measure is switched off, and missed."""

from __future__ import annotations

import re

import pytest

from simulation.measures import MEASURES, MISSED
from simulation.test_simulation import simulate

SEEDS_MAX = 600
"""Within so many schedules a missing measure must show."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_a_measure_that_is_switched_off_is_missed(measure: str) -> None:
    seeds = f"0:{SEEDS_MAX}"
    ended = simulate("--seeds", seeds, "--stop", "--without", measure, timeout_s=600)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    [first] = [line for line in ended.stdout.splitlines() if line.startswith("seed ")]
    problem = first.partition(": ")[2]
    assert re.match(MISSED[measure], problem), first
