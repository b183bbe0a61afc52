"""A fixed set of schedules, and that a schedule is the same each time."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from fault_volume import scaled

from simulation.__main__ import shrunk
from simulation.measures import switched_off
from simulation.schedule import run

TESTS = Path(__file__).parents[1]
SEEDS = scaled(150)
REPLAYED = (11, 12, 13, 14)


def simulate(*arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """`python -m simulation`, as `make simulate` runs it."""
    command = [sys.executable, "-m", "simulation", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip


@pytest.mark.exhaustive
def test_every_row_is_in_the_lake_once_in_all_schedules() -> None:
    ended = simulate("--seeds", f"0:{SEEDS}", timeout_s=900)
    assert ended.returncode == 0, ended.stdout[-4_000:] + ended.stderr[-4_000:]
    assert f"{SEEDS:,} schedules" in ended.stdout


@pytest.mark.parametrize("seed", REPLAYED)
def test_a_seed_gives_the_same_schedule_again(seed: int) -> None:
    first, again = run(seed), run(seed, trace=True)
    assert (first.hash, first.steps, first.problem) == (again.hash, again.steps, "")
    assert len(again.trace) > 100


def test_faults_are_applied_and_without_them_all_is_quiet() -> None:
    assert any(run(seed).applied for seed in REPLAYED)
    assert run(REPLAYED[0], without=range(100)).applied == ()


def test_a_violation_is_told_with_a_command_and_a_trace() -> None:
    """Without its lease check, rayflume doubles rows in the first schedules."""
    found = simulate("--seeds", "0:40", "--stop", "--without", "lease check", timeout_s=300)
    assert found.returncode == 1, found.stdout + found.stderr
    [replay] = [line for line in found.stdout.splitlines() if line.startswith("replay: ")]
    seed = replay.split()[-1]
    shown = simulate("--seed", seed, "--without", "lease check", timeout_s=300)
    assert shown.returncode == 1
    assert "prepare of" in shown.stdout, "the trace"
    assert "fault " in shown.stdout, "the faults it takes"
    assert "doubled in" in shown.stdout


def test_what_is_shrunk_fails_still() -> None:
    """A fault that never came to pass may count: without it all held."""
    with switched_off("lease check"):
        outcomes = (outcome for outcome in map(run, range(200)) if outcome.problem)
        failed = list(islice(outcomes, 3))
        assert failed
        for outcome in failed:
            assert run(outcome.seed, without=shrunk(outcome)).problem, f"seed {outcome.seed}"
