"""Spark Structured Streaming in one process of two threads, warm, with a checkpoint."""

from __future__ import annotations

import shutil

from bench.contenders import Contender
from bench.contenders._worker import WorkerContender, lacks
from bench.tasks import TASKS


class Spark(WorkerContender):
    """See Contender. Needs Java beside pyspark."""

    def missing(self) -> str:
        return lacks("pyspark") or ("" if shutil.which("java") else "no java (17 or newer)")


def contender() -> Contender:
    return Spark(
        name="spark",
        variants={"spark": "Spark Structured Streaming, local[2], warm"},
        tasks=tuple(TASKS),
        module="spark",
        warm_runs=2,
        notes="checkpoint of file names on local disk, without fsync of the rows; row groups of "
        "16 MiB are counted by parquet-mr in encoded bytes that it holds",
    )
