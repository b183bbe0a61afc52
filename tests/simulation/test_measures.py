"""Prove that the simulator can see: each protecting measure is switched off, and missed."""

from __future__ import annotations

import re

import pytest

from simulation.measures import MEASURES, MISSED
from simulation.test_simulation import simulate

SEEDS_MAX = 600
"""Within so many schedules a missing measure must show."""
FIRST = {"checksum": 495, "snapshot before unlink": 560}
"""Seed to begin with, where few schedules have the fault that the measure is there for."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_a_measure_that_is_switched_off_is_missed(measure: str) -> None:
    """Its absence may show in other ways first; within the schedules rows must be wrong, too."""
    first = FIRST.get(measure, 0)
    shown, last = "", first + SEEDS_MAX
    while not re.match(MISSED[measure], shown.partition(": ")[2]):
        seeds = f"{first}:{last}"
        ended = simulate("--seeds", seeds, "--stop", "--without", measure, timeout_s=600)
        assert ended.returncode == 1, shown + ended.stdout + ended.stderr
        shown = next(line for line in ended.stdout.splitlines() if line.startswith("seed "))
        first = int(shown.partition(":")[0].removeprefix("seed ")) + 1
