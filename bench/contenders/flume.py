"""Apache Flume itself: taildir or spooldir -> file or memory channel -> HDFS sink into local files.

Maven fetches its jars (bench/flume/pom.xml). Each run is an agent of its own that finds its input
at its start. It is measured warm, as the others are: from the moment a fifth of the input's bytes
is in its output until all are, scaled to the whole. (A warm-up with input of its own would not do:
a sink that finds its channel empty sleeps for up to five seconds.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.contenders import Contender, Measured, Stage, Turn
from bench.contenders._worker import kill
from bench.settings import PROCESSES
from bench.usage import Usage, tree

POM = Path(__file__).parents[1] / "flume" / "pom.xml"
JARS = POM.parent / "target" / "lib"
FETCH_S = 600.0
STILL_S = 120.0
END_S = 20.0
_POLL_S = 0.05
BATCH = 10_000

_SOURCES = {
    "taildir": """
a1.sources.in.type = TAILDIR
a1.sources.in.positionFile = {folder}/position.json
a1.sources.in.filegroups = all
a1.sources.in.filegroups.all = {folder}/input/.*[.](jsonl|log)
a1.sources.in.backoffSleepIncrement = 50
a1.sources.in.maxBackoffSleep = 100
""",
    "spooldir": """
a1.sources.in.type = spooldir
a1.sources.in.spoolDir = {folder}/input
a1.sources.in.pollDelay = 50
a1.sources.in.deserializer.maxLineLength = 1000000
""",
}
_CHANNELS = {
    "file": """
a1.channels.wal.type = file
a1.channels.wal.checkpointDir = {folder}/checkpoint
a1.channels.wal.dataDirs = {folder}/wal
a1.channels.wal.capacity = 2000000
a1.channels.wal.transactionCapacity = 20000
a1.channels.wal.checkpointInterval = 30000
""",
    "memory": """
a1.channels.wal.type = memory
a1.channels.wal.capacity = 1000000
a1.channels.wal.transactionCapacity = 20000
a1.channels.wal.byteCapacity = 1073741824
""",
}
_SINK = """
a1.sinks.{sink}.type = hdfs
a1.sinks.{sink}.channel = wal
a1.sinks.{sink}.hdfs.path = file://{folder}/text
a1.sinks.{sink}.hdfs.filePrefix = {sink}
a1.sinks.{sink}.hdfs.useRawLocalFileSystem = true
a1.sinks.{sink}.hdfs.fileType = DataStream
a1.sinks.{sink}.hdfs.writeFormat = Text
a1.sinks.{sink}.hdfs.rollInterval = 0
a1.sinks.{sink}.hdfs.rollCount = 0
a1.sinks.{sink}.hdfs.rollSize = 134217728
a1.sinks.{sink}.hdfs.batchSize = {batch}
a1.sinks.{sink}.hdfs.callTimeout = 60000
"""
_LOG4J = """
log4j.rootLogger = INFO, out
log4j.appender.out = org.apache.log4j.ConsoleAppender
log4j.appender.out.target = System.err
log4j.appender.out.layout = org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern = %d %p %c: %m%n
"""
_JAVA = ("java", "-Xms512m", "-Xmx2g", "-Djava.net.preferIPv4Stack=true")


class FlumeFailed(Exception):
    """Flume did not start, ended, or stood still."""


def configuration(folder: Path, source: str, channel: str) -> str:
    """The properties of an agent `a1` with two sinks on one channel."""
    sinks = [f"out{number}" for number in range(PROCESSES)]
    return "".join(
        [
            "a1.sources = in\na1.channels = wal\n",
            f"a1.sinks = {' '.join(sinks)}\n",
            f"a1.sources.in.channels = wal\na1.sources.in.batchSize = {BATCH}\n",
            _SOURCES[source].format(folder=folder),
            _CHANNELS[channel].format(folder=folder),
            *(_SINK.format(folder=folder, sink=sink, batch=BATCH) for sink in sinks),
        ]
    )


def _variants() -> dict[str, str]:
    return {
        f"flume_{source}_{channel}": f"Flume 1.11, {source}, {channel} channel, text"
        for source in _SOURCES
        for channel in _CHANNELS
    }


@dataclass
class Flume:
    """See Contender."""

    name: str = "flume"
    version: str = "1.11.0"
    variants: Mapping[str, str] = field(default_factory=_variants)
    tasks: tuple[str, ...] = ("lines",)
    cannot: Mapping[str, str] = field(
        default_factory=lambda: dict.fromkeys(
            ("json", "access", "wide"), "Flume's HDFS sink writes no Parquet and has no columns"
        )
    )
    share: float = 0.12
    notes: str = (
        "writes lines into text files, not Parquet; the file channel syncs each commit; a sink "
        "that finds its channel empty sleeps for a second or more, which Flume has no option for"
    )
    facts: Mapping[str, float] = field(default_factory=dict)
    _stage: Stage | None = None
    _process: subprocess.Popen[bytes] | None = None

    def missing(self) -> str:
        if shutil.which("java") is None:
            return "no java"
        if not list(JARS.glob("flume-hdfs-sink-*.jar")):
            return _fetch()
        return ""

    def start(self, stage: Stage) -> None:
        self._stage = stage

    def run(self, turn: Turn) -> Measured:
        if self._stage is None:
            raise FlumeFailed("not started")
        _, source, channel = turn.variant.split("_")
        for name in ("input", "text"):
            (turn.folder / name).mkdir(parents=True)
        for path in turn.data.files:
            (turn.folder / "input" / path.name).hardlink_to(path)
        (turn.folder / "agent.properties").write_text(configuration(turn.folder, source, channel))
        (turn.folder / "log4j.properties").write_text(_LOG4J)
        log = self._stage.logs / f"{turn.variant}.log"
        process = self._process = _launch(turn.folder, log)
        warm = _wait_written(process, turn.text, turn.data.bytes // 5, log)
        usage = Usage({"own": lambda: tree(process.pid)}, self._stage.data)
        begin = time.perf_counter()
        _wait_written(process, turn.text, turn.data.bytes, log)
        seconds = time.perf_counter() - begin
        used = usage.stop()["own"]
        self.stop()
        whole = turn.data.bytes / (turn.data.bytes - warm)
        used = replace(used, cpu_seconds=used.cpu_seconds * whole)
        return Measured(seconds * whole, used)

    def stop(self) -> None:
        """It closes its files when asked to end; what does not end is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        left = tree(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        kill(left)
        process.wait()


def _fetch() -> str:
    """Let Maven fetch the jars; "" or why it could not."""
    if shutil.which("mvn") is None:
        return "no mvn to fetch its jars with"
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
               "-DincludeScope=runtime", f"-DoutputDirectory={JARS}"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        return f"mvn has not fetched its jars within {FETCH_S:.0f} s"
    said = (done.stdout + done.stderr).strip()
    return f"mvn could not fetch its jars: {said[-300:]}" if done.returncode else ""


def _launch(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [*_JAVA, f"-Dlog4j.configuration=file:{folder}/log4j.properties",
               "-cp", f"{JARS}/*", "org.apache.flume.node.Application", "--no-reload-conf",
               "-n", "a1", "-f", str(folder / "agent.properties")]  # fmt: skip
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        return subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )


def _wait_written(process: subprocess.Popen[bytes], folder: Path, size: int, log: Path) -> int:
    """Until the files hold `size` bytes or more; returns how many. Raises FlumeFailed when they
    stop growing before.
    """
    written, grown = -1, time.perf_counter()
    while written < size:
        threading.Event().wait(_POLL_S)
        now, before = time.perf_counter(), written
        written = _size(folder)
        grown = now if written != before else grown
        if process.poll() is not None or now - grown > STILL_S:
            raise FlumeFailed(f"wrote {written:,} of {size:,} bytes: {_tail(log)}")
    return written


def _size(folder: Path) -> int:
    total = 0
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # a file that was finished is renamed
            total += entry.stat().st_size
    return total


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def contender() -> Contender:
    return Flume()
