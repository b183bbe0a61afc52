"""Compaction on a Ray cluster: each partition is a task, as many at once as there are CPUs.

A task opens the lake itself, so a local path must be the same directory on every node. A task whose
worker or node dies is run again by Ray; the protocol makes that harmless.
"""

from __future__ import annotations

from contextlib import closing

import ray
from ray.exceptions import RayError

from rayflume.agent import cluster
from rayflume.agent.lakes import LakePlace, OnDone, begin, end
from rayflume.clock import SystemClock
from rayflume.maintenance.compact import Compacted, Compactor, State, candidates
from rayflume.maintenance.plan import CompactOptions

RETRIES = 3


def _partition(lake: LakePlace, options: CompactOptions, partition: str) -> Compacted:
    """What a task does."""
    with closing(lake.open()) as storage:
        return Compactor(storage, options, SystemClock()).partition(partition)


def compact(
    address: str | None, lake: LakePlace, options: CompactOptions, on_done: OnDone
) -> list[Compacted]:
    """Compact all partitions on the cluster at `address` (None: Ray on this machine). Blocks.

    Raises ConfigError when there is no such cluster, and as `lakes.compact` does. A partition whose
    task fails for good has that as its `problem`.
    """
    mine = cluster.connect(address)
    try:
        with closing(lake.open()) as storage:
            compactor = begin(storage, options, SystemClock())
            done = _on_tasks(lake, options, candidates(storage, options), on_done)
            end(compactor, options)
        return done
    finally:
        if mine:
            cluster.disconnect()


def _on_tasks(
    lake: LakePlace, options: CompactOptions, partitions: list[str], on_done: OnDone
) -> list[Compacted]:
    task = ray.remote(_partition).options(num_cpus=1, max_retries=RETRIES)
    waiting = {task.remote(lake, options, name): name for name in partitions}
    done: list[Compacted] = []
    while waiting:
        [ready], _ = ray.wait(list(waiting), num_returns=1)
        name = waiting.pop(ready)
        try:
            result: Compacted = ray.get(ready)
        except RayError as error:
            reason = str(error).strip().splitlines()[-1][:300]
            result = Compacted(name, State.NOTHING, problem=f"its task failed: {reason}")
        done.append(result)
        on_done(result, len(done), len(partitions))
    return done
