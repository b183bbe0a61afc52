"""A loose guard of the speed: beside bare pyarrow on the same machine, so that a busy one
slows both.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ray_nodes import RayNodes

from bench import check, inputs
from bench.contenders import Contender, Stage, Turn, bare_pyarrow, rayflow
from bench.tasks import TASKS

INPUT_BYTES = 250_000_000
WARM_BYTES = 4_000_000
ROUNDS = 3

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.alone]


def rate(one: Contender, variant: str, task: str, data: inputs.Input, folder: Path) -> float:
    """MB/s of one run; what it wrote is counted."""
    turn = Turn(TASKS[task], variant, data, folder)
    measured = one.run(turn)
    check.parquet(TASKS[task], data, turn.lake)
    shutil.rmtree(folder)
    return data.bytes / 1e6 / measured.seconds


@pytest.mark.parametrize(("task", "share"), [("json", 0.5), ("lines", 0.2)])
def test_it_is_not_many_times_slower_than_bare_pyarrow(
    ray_cluster: RayNodes, tmp_path: Path, task: str, share: float
) -> None:
    """One of some rounds reaches about half of what `make bench` measures on an idle machine:
    a short run is mostly start and end.
    """
    data = inputs.make("clicks", INPUT_BYTES, tmp_path / "input")
    warm = inputs.make("clicks", WARM_BYTES, tmp_path / "input")
    stage = Stage(tmp_path, tmp_path / "logs", {task: (TASKS[task], warm)})
    bare, own = bare_pyarrow.contender(), rayflow.contender()
    bare.start(stage)
    try:
        own.start(stage)  # the cluster is there, and stays
        ratios = []
        for number in range(ROUNDS):
            fast = rate(own, rayflow.FILE, task, data, tmp_path / f"own-{number}")
            ratios.append(
                fast / rate(bare, "bare_pyarrow", task, data, tmp_path / f"bare-{number}")
            )
            if ratios[-1] >= share:
                break
    finally:
        bare.stop()
    assert max(ratios) >= share, f"of bare pyarrow's rate: {ratios}"
