"""What a Ray call costs here, for the arithmetic of docs/scale.md: wall and CPU time per call.

python -m bench.scale.ray_calls        starts Ray on this machine; about a minute
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayflume.agent import cluster
from rayflume.agent.placement import CHANNEL_THREADS

ROUNDS = 3
STARTED, POLLED = 12, 4
STATUS: dict[str, Any] = {
    "state": "running",
    "last_error": None,
    "metrics": {f"Event{i}Count": i for i in range(12)},
    "detail": {"waiting": 1, "leased": 0, "prepared": 0},
}


@ray.remote(num_cpus=0, max_concurrency=CHANNEL_THREADS)
class Part:
    """Answers as a part does, without the part."""

    def status(self) -> dict[str, Any]:
        return STATUS

    def put(self, payload: bytes) -> int:
        return len(payload)

    def cpu_s(self) -> float:
        return time.process_time()


def _timed(calls: int, work: Callable[[], None], part: Any) -> tuple[float, float, float]:  # noqa: ANN401
    """Per call: wall ms, CPU ms of this process, CPU ms of the part's."""
    there, here, begun = ray.get(part.cpu_s.remote()), time.process_time(), time.perf_counter()
    work()
    wall, here = time.perf_counter() - begun, time.process_time() - here
    there = ray.get(part.cpu_s.remote()) - there
    return wall / calls * 1e3, here / calls * 1e3, there / calls * 1e3


def _one_by_one(part: Any, calls: int) -> None:  # noqa: ANN401
    for _ in range(calls):
        ray.get(part.status.remote())


def _polled(parts: list[Any], calls: int) -> None:
    """As ray_host.RayHost asks all parts: all questions at once, then all answers."""
    replies = [parts[i % len(parts)].status.remote() for i in range(calls)]
    ray.wait(replies, num_returns=calls, timeout=60)
    for reply in replies:
        ray.get(reply, timeout=0)


def _put(part: Any, payload: bytes, calls: int, in_flight: int = 4) -> None:  # noqa: ANN401
    waiting: list[Any] = []
    for _ in range(calls):
        if len(waiting) == in_flight:
            done, waiting = ray.wait(waiting)
            ray.get(done)
        waiting.append(part.put.remote(payload))
    ray.get(waiting)


def _started() -> tuple[list[Any], float]:
    """Named parts, placed as ray_host.RayHost does it; the median ms that a start blocks."""
    took = []
    parts = []
    for i in range(STARTED):
        begun = time.perf_counter()
        where = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        named = Part.options(name=f"part/{i}", lifetime="detached", scheduling_strategy=where)
        parts.append(named.remote())
        took.append((time.perf_counter() - begun) * 1e3)
    return parts, statistics.median(took)


def main() -> None:
    cluster.connect(None)
    try:
        parts, start_ms = _started()
        ray.get([part.status.remote() for part in parts])
        for part in parts[POLLED:]:
            ray.kill(part)
        parts = parts[:POLLED]
        small, large = os.urandom(448 * 1024), os.urandom(8 * 2**20)
        kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "status, one after the other": (500, lambda: _one_by_one(parts[0], 500)),
            f"status, 2,000 at once to {POLLED}": (2_000, lambda: _polled(parts, 2_000)),
            "put of 448 KiB, 4 in flight": (200, lambda: _put(parts[0], small, 200)),
            "put of 8 MiB, 4 in flight": (40, lambda: _put(parts[0], large, 40)),
        }
        print("| call | wall ms | CPU ms of the caller | CPU ms of the part |\n|---|---|---|---|")
        for name, (calls, work) in kinds.items():
            found = [_timed(calls, work, parts[0]) for _ in range(ROUNDS)]
            # The part's share is of one of those that were polled.
            share = POLLED if "at once" in name else 1
            wall, here, there = (statistics.median(column) for column in zip(*found, strict=True))
            print(f"| {name} | {wall:.2f} | {here:.2f} | {there * share:.2f} |", flush=True)
        print(f"| start of a named actor, median of {STARTED} | {start_ms:.2f} | | |")
    finally:
        cluster.disconnect()


if __name__ == "__main__":
    main()
