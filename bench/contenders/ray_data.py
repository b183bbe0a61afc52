"""Ray Data: the batch library of the Ray that rayflume runs on."""

from __future__ import annotations

from bench.contenders import Contender
from bench.contenders._worker import WorkerContender
from bench.tasks import TASKS


def contender() -> Contender:
    return WorkerContender(
        name="ray_data",
        variants={"ray_data": "Ray Data, 2 CPUs"},
        tasks=tuple(TASKS),
        module="ray_data",
        needs=("ray",),
        share=0.25,
        notes="nothing is durable; a file per block and partition; Ray's own processes count in "
        "its memory and CPU, its object store stands apart as shared memory",
    )
