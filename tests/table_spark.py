"""Spark with Delta and Iceberg, in a process of its own: those two have no release for the newest
Spark yet, so it is a PySpark beside the one that is installed.

Jars come with Maven, PySpark with pip, once, into `tests/support/spark/target`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spark_session import SHORT_LIVED

HOME = Path(__file__).parent / "support" / "spark"
TARGET = HOME / "target"
JARS = TARGET / "dependency"
PYTHON = TARGET / "python"
PYSPARK = "pyspark==4.1.4"


def missing() -> str:
    """Why there can be no such Spark here; "" if there can."""
    for command in ("java", "mvn"):
        if shutil.which(command) is None:
            return f"Spark with Delta and Iceberg needs `{command}`, which is not installed"
    return ""


def fetch() -> None:
    """Jars and PySpark, if they are not there yet; each appears whole or not at all. Blocks."""
    TARGET.mkdir(exist_ok=True)
    if not JARS.is_dir():
        half = TARGET / f"dependency.{os.getpid()}"
        pom = ["mvn", "-q", "-B", "-f", str(HOME / "pom.xml")]
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={half}"]
        subprocess.run([*pom, *goal], check=True, timeout=900)
        half.rename(JARS)
    if not PYTHON.is_dir():
        half = TARGET / f"python.{os.getpid()}"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(half)]
        subprocess.run([*pip, PYSPARK], check=True, timeout=900)
        half.rename(PYTHON)


class Spark:
    """A running session."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        self.version = self._read("READY").strip()

    def sql(self, text: str) -> list[dict[str, Any]]:
        """Rows of a statement; times and decimals are text. Raises RuntimeError as Spark does."""
        return list(self.ask(text)["rows"])

    def types(self, text: str) -> dict[str, str]:
        return dict(self.ask(text)["types"])

    def ask(self, text: str) -> dict[str, Any]:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(text) + "\n")
        self._child.stdin.flush()
        answer: dict[str, Any] = json.loads(self._read("ANSWER"))
        if "error" in answer:
            raise RuntimeError(f"{answer['error']}\nin: {text}")
        return answer

    def _read(self, head: str) -> str:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith(head + " "):
                return line.removeprefix(head + " ")
        raise RuntimeError(f"Spark ended with {self._child.wait(30)}")


@contextmanager
def spark_session(base: Path, **settings: str) -> Iterator[Spark]:
    """A session with a local warehouse below `base`. Raises RuntimeError if it does not start."""
    fetch()
    around = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",  # tasks of a vacuum
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": SHORT_LIVED,
        "spark.sql.codegen.wholeStage": "false",  # compiling costs more than a few rows do
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.warehouse.dir": str(base / "warehouse"),
        "spark.jars": ",".join(str(jar) for jar in sorted(JARS.glob("*.jar"))),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension,"
        "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        **settings,
    }
    environment = {**os.environ, "PYTHONPATH": str(PYTHON), "PYSPARK_PYTHON": sys.executable}
    environment.pop("SPARK_HOME", None)
    command = [sys.executable, "-W", "ignore", str(HOME / "session.py"), json.dumps(around)]
    with (base / "spark.log").open("w") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=base,
        )
        try:
            yield Spark(child)
        finally:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.close()
            child.stdout.close()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(30)
