"""Spark for tests: one session on this machine, in a Java process that ends with it."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NO_JAVA = "Spark needs Java 17 or newer: install it, or name it in JAVA_HOME"


def require_java() -> None:
    """Skip the test where there is no Java; fail where CI says that nothing may be left out."""
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") or (home and (Path(home) / "bin" / "java").exists()):
        return
    if os.environ.get("CI"):
        pytest.fail(NO_JAVA, pytrace=False)
    pytest.skip(NO_JAVA)


@contextmanager
def spark_session(
    folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[SparkSession]:
    """A session with two threads, which writes below `folder` only and listens on loopback only.

    Its Java process has ended when the block is left, so that the next one may have other
    `settings`, such as jars.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PySpark warns of pandas that is newer than itself
        from pyspark import SparkContext
        from pyspark.sql import SparkSession

        builder: Any = SparkSession.builder.master("local[2]").appName("rayflume tests")
        for name, value in {**_settings(folder), **(settings or {})}.items():
            builder = builder.config(name, value)
        session: SparkSession = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    gateway: Any = SparkContext._gateway
    try:
        yield session
    finally:
        session.stop()
        gateway.shutdown()
        gateway.proc.stdin.close()  # Java waits for it
        gateway.proc.wait(60)
        SparkContext._gateway = SparkContext._jvm = None


SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
"""Java that runs for a minute spends more on optimising than it gets back."""


def _settings(folder: Path) -> dict[str, str]:
    return {
        "spark.driver.extraJavaOptions": SHORT_LIVED,
        "spark.sql.codegen.wholeStage": "false",  # compiling costs more than a few rows do
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.local.dir": str(folder / "spark"),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }


class Scan:
    """The one file scan of a query that has run, as Spark planned and did it."""

    def __init__(self, frame: DataFrame) -> None:
        jvm: Any = frame._jdf
        leaves = jvm.queryExecution().executedPlan().collectLeaves()
        assert leaves.size() == 1, "the query has more than one scan"
        self._leaf = leaves.apply(0)
        self.text = str(self._leaf.verboseStringWithOperatorId())

    def line(self, name: str) -> str:
        """What stands behind `name:` in the plan."""
        return next(
            line.removeprefix(f"{name}: ")
            for line in self.text.splitlines()
            if line.startswith(f"{name}: ")
        )

    @property
    def files(self) -> int:
        """Files that were read."""
        return self._metric("numFiles")

    @property
    def partitions(self) -> int:
        """Partitions that were read."""
        return self._metric("numPartitions")

    @property
    def rows(self) -> int:
        """Rows of the row groups that were not skipped."""
        return self._metric("numOutputRows")

    def _metric(self, name: str) -> int:
        return int(self._leaf.metrics().apply(name).value())
