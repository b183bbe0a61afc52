"""F19: under an even load a part uses the same memory, descriptors and threads after as before.

RAYFLUME_SOAK_S says for how long (15). From an hour on the slope is held to 1 MiB/h; a short run
can only show that nothing grows with every delivery.
"""

from __future__ import annotations

import os
import statistics
import threading
from pathlib import Path

import pytest
from ray_nodes import RayNodes, exported_metrics

from chaos.rows import KEYED, SPOOL, TAIL
from chaos.scene import local_place, scene
from chaos.watcher import Usage
from rayflume.clock import SystemClock

SOAK_S = float(os.environ.get("RAYFLUME_SOAK_S", "15"))
WARM_S = max(8.0, SOAK_S / 10)
SHORT_GROWTH = 24 * 2**20
SLOPE_MAX = 2**20
HOUR = 3_600
pytestmark = [pytest.mark.ray, pytest.mark.slow]


def slope(samples: list[tuple[float, int, int, int]]) -> float:
    """Bytes per hour, by least squares."""
    fit = statistics.linear_regression([s[0] for s in samples], [float(s[1]) for s in samples])
    return fit.slope * HOUR


def thirds(samples: list[tuple[float, int, int, int]], figure: int) -> tuple[float, float]:
    """Median of a figure in the first and in the last third."""
    third = len(samples) // 3
    first, last = samples[:third], samples[-third:]
    return statistics.median(s[figure] for s in first), statistics.median(s[figure] for s in last)


def test_f19_memory_descriptors_and_threads_do_not_grow_under_an_even_load(
    ray_cluster: RayNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SystemClock()
    names = [("tail", 0), ("spool", 0), ("web", 0), ("wal-local", 0)]
    names += [("lake-local", 0), ("lake-local", 1)]
    with scene(local_place(tmp_path), ray_cluster.address, [TAIL, SPOOL, KEYED]) as at:
        threading.Event().wait(WARM_S)
        pids = {name: int(at.part(*name)["pid"]) for name in names}
        usage = {name: Usage() for name in names}
        began_ms = clock.monotonic_ms()
        while (seconds := (clock.monotonic_ms() - began_ms) / 1000) < SOAK_S:
            for name, pid in pids.items():
                usage[name].take(seconds, pid)
            threading.Event().wait(max(1.0, SOAK_S / 3_600))
        ours = [line for line in exported_metrics().splitlines() if "rayflume_" in line]
        assert pids == {name: int(at.part(*name)["pid"]) for name in names}, "a part died"
        at.finish()
    for part, metric in (("tail", "eventacceptedcount"), ("lake-local", "eventdrainsuccesscount")):
        assert any(f"{metric}_total{{" in line and f'component="{part}"' in line for line in ours)
    for (part, replica), used in usage.items():
        shown, samples = f"{part}/{replica}", used.samples
        memory, files, threads = (thirds(samples, figure) for figure in (1, 2, 3))
        with capsys.disabled():
            print(
                f"\nF19 {shown}: RssAnon {memory[0] / 2**20:.1f} to "
                f"{memory[1] / 2**20:.1f} MiB ({slope(samples) / 2**20:+.1f} MiB/h), descriptors "
                f"{files[0]:.0f} to {files[1]:.0f}, threads {threads[0]:.0f} to {threads[1]:.0f}",
                end="",
            )
        assert files[1] - files[0] <= 4, shown
        assert threads[1] - threads[0] <= 4, shown
        assert memory[1] - memory[0] < SHORT_GROWTH, shown
        assert slope(samples) < SLOPE_MAX or SOAK_S < HOUR, shown
