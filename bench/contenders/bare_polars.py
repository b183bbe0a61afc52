"""Two bare polars processes of one thread each, no Ray, no durability."""

from __future__ import annotations

from bench.contenders import Contender
from bench.contenders._worker import WorkerContender
from bench.settings import PROCESSES
from bench.tasks import TASKS


def contender() -> Contender:
    return WorkerContender(
        name="bare_polars",
        variants={"bare_polars": "bare polars, 2 processes"},
        tasks=tuple(TASKS),
        module="polars_",
        needs=("polars",),
        processes=PROCESSES,
        environment={"POLARS_MAX_THREADS": "1"},
        notes="nothing is durable; row groups are counted in rows (as many as 16 MiB of input)",
    )
