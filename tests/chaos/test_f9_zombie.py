"""F9: a part is stopped for longer than its lease, others go on, and it wakes up as if nothing had
happened.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from fault_volume import scaled
from ray_nodes import RayNodes

from chaos.plant import LEASE_S
from chaos.rows import KEYED, SPOOL, TAIL
from chaos.scene import Scene, local_place, scene
from chaos.watcher import wait_for
from rayflume.clock import SystemClock

SLEEP_S = LEASE_S + 2.5
pytestmark = [pytest.mark.ray, pytest.mark.slow]


def asleep(pid: int, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after that time."""
    os.kill(pid, signal.SIGSTOP)
    threading.Event().wait(seconds)
    os.kill(pid, signal.SIGCONT)


def stop_with_open_delivery(at: Scene, replica: int) -> tuple[int, str]:
    """SIGSTOP a sink while it fills a delivery: its process id, and the delivery."""
    found: list[tuple[int, str]] = []

    def stopped() -> bool:
        part = at.part("lake-local", replica)
        if part["detail"].get("delivery") and part["detail"]["closing"] == 0:
            found.append((int(part["pid"]), str(part["detail"]["delivery"])))
            os.kill(found[0][0], signal.SIGSTOP)
        return bool(found)

    assert wait_for(stopped, 30, 0.05)
    return found[0]


def test_f9_a_sink_that_slept_past_its_lease_publishes_nothing_twice(
    ray_cluster: RayNodes, tmp_path: Path
) -> None:
    """What it held when it was stopped is in the lake by the other sink; it goes on with others."""
    with scene(local_place(tmp_path), ray_cluster.address, [TAIL, SPOOL, KEYED]) as at:
        held = []
        for replica in (0, 1, 0):
            pid, delivery = stop_with_open_delivery(at, replica)
            held.append(delivery)
            threading.Event().wait(SLEEP_S)
            at.await_flow(SystemClock().monotonic_ms())
            os.kill(pid, signal.SIGCONT)
            at.await_flow(SystemClock().monotonic_ms())
            assert int(at.part("lake-local", replica)["pid"]) == pid, "it woke up, and went on"
        at.finish()
    # Most of these were open when their sink was stopped. One may just have been prepared: that is
    # past the point of no return, and it is published once.
    published = {path.name.split("part-")[1][: len(held[0])] for path in lake_files(tmp_path)}
    assert len(published & set(held)) < len(held)


def lake_files(folder: Path) -> list[Path]:
    return list((folder / "lake").glob("part-*.parquet"))


@pytest.mark.parametrize("name", ["wal-local", "web"][: scaled(1)])
def test_f9_a_source_or_channel_that_slept_doubles_nothing(
    ray_cluster: RayNodes, tmp_path: Path, name: str
) -> None:
    with scene(local_place(tmp_path), ray_cluster.address, [TAIL, SPOOL, KEYED]) as at:
        for _ in range(2):
            asleep(int(at.part(name)["pid"]), SLEEP_S)
            at.await_flow(SystemClock().monotonic_ms())
        at.finish()
