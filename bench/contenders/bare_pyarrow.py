"""The practical limit: two bare pyarrow processes, no Ray, no durability."""

from __future__ import annotations

from bench.contenders import Contender
from bench.contenders._worker import WorkerContender
from bench.settings import PROCESSES
from bench.tasks import TASKS


def contender() -> Contender:
    return WorkerContender(
        name="bare_pyarrow",
        variants={"bare_pyarrow": "bare pyarrow, 2 processes"},
        tasks=tuple(TASKS),
        module="pyarrow_",
        needs=("pyarrow",),
        processes=PROCESSES,
        notes="nothing is durable; whole files are left unfinished by a crash",
    )
