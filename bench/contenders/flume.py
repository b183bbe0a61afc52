"""Apache Flume itself: taildir or spooldir -> file or memory channel -> HDFS sink into local files.

Maven fetches its jars (bench/flume/pom.xml). Each run is an agent of its own that finds its input
at its start. It is measured warm, as the others are: from the moment a fifth of the input's bytes
is in its output until all are, scaled to the whole. (A warm-up with input of its own would not do:
a sink that finds its channel empty sleeps for up to five seconds.)
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import flume_agent
from bench.contenders import Contender, Measured, Stage, Turn
from bench.flume_agent import FlumeAgent, FlumeFailed
from bench.settings import PROCESSES
from bench.usage import Usage, tree

STILL_S = 120.0
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
    _agent: FlumeAgent | None = None

    def missing(self) -> str:
        return flume_agent.missing()

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
        properties = configuration(turn.folder, source, channel)
        log = self._stage.logs / f"{turn.variant}.log"
        agent = self._agent = FlumeAgent(turn.folder, properties, log)
        warm = _wait_written(agent, turn.text, turn.data.bytes // 5)
        usage = Usage({"own": lambda: tree(agent.pid)}, self._stage.data)
        begin = time.perf_counter()
        _wait_written(agent, turn.text, turn.data.bytes)
        seconds = time.perf_counter() - begin
        used = usage.stop()["own"]
        self.stop()
        whole = turn.data.bytes / (turn.data.bytes - warm)
        used = replace(used, cpu_seconds=used.cpu_seconds * whole)
        return Measured(seconds * whole, used)

    def stop(self) -> None:
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.stop()


def _wait_written(agent: FlumeAgent, folder: Path, size: int) -> int:
    """Until the files hold `size` bytes or more; returns how many. Raises FlumeFailed when they
    stop growing before.
    """
    written, grown = -1, time.perf_counter()
    while written < size:
        threading.Event().wait(_POLL_S)
        now, before = time.perf_counter(), written
        written = _size(folder)
        grown = now if written != before else grown
        what = f"wrote {written:,} of {size:,} bytes"
        agent.check(what)
        if now - grown > STILL_S:
            raise agent.failure(what)
    return written


def _size(folder: Path) -> int:
    total = 0
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # a file that was finished is renamed
            total += entry.stat().st_size
    return total


def contender() -> Contender:
    return Flume()
