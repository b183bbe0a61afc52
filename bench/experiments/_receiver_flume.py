"""Apache Flume 1.11 with its sources netcat, syslogtcp, syslogudp and http."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench import flume_agent
from bench.experiments._receivers import FILE, MEMORY, can_connect, free_ports
from bench.flume_agent import FlumeAgent, FlumeFailed

START_S = 60.0
SOURCES = ("netcat", "syslogtcp", "syslogudp", "http")
_ADDRESS = {"netcat": "bind", "http": "bind", "syslogtcp": "host", "syslogudp": "host"}
_CHANNELS = {
    MEMORY: """
a1.channels.wal.type = memory
a1.channels.wal.capacity = 1000000
a1.channels.wal.transactionCapacity = 20000
a1.channels.wal.byteCapacity = 1073741824
a1.sinks.out.type = null
a1.sinks.out.batchSize = 1000
a1.sinks.out.logEveryNEvents = 1000000
""",
    FILE: """
a1.channels.wal.type = file
a1.channels.wal.checkpointDir = {folder}/checkpoint
a1.channels.wal.dataDirs = {folder}/wal
a1.channels.wal.transactionCapacity = 20000
a1.sinks.out.type = hdfs
a1.sinks.out.hdfs.path = file://{folder}/text
a1.sinks.out.hdfs.useRawLocalFileSystem = true
a1.sinks.out.hdfs.fileType = DataStream
a1.sinks.out.hdfs.writeFormat = Text
a1.sinks.out.hdfs.rollInterval = 0
a1.sinks.out.hdfs.rollCount = 0
a1.sinks.out.hdfs.rollSize = 134217728
a1.sinks.out.hdfs.batchSize = 1000
a1.sinks.out.hdfs.callTimeout = 60000
""",
}


def configuration(folder: Path, channel: str, ports: dict[str, int]) -> str:
    """The properties of an agent `a1` with a source of each kind on one channel."""
    lines = [f"a1.sources = {' '.join(SOURCES)}", "a1.channels = wal", "a1.sinks = out"]
    for source in SOURCES:
        begin = f"a1.sources.{source}"
        lines += [
            f"{begin}.type = {source}",
            f"{begin}.channels = wal",
            f"{begin}.{_ADDRESS[source]} = 127.0.0.1",
            f"{begin}.port = {ports[source]}",
        ]
    lines.append("a1.sinks.out.channel = wal")
    return "\n".join(lines) + _CHANNELS[channel].format(folder=folder)


@dataclass
class Flume:
    """See Receiver. What has come through is what its channel has taken: a sink of Flume that has
    found its channel empty sleeps for up to 5 seconds, which says nothing of how fast it is.
    """

    name: str = "Flume 1.11"
    takes: frozenset[tuple[str, str]] = frozenset(
        (source, channel) for source in SOURCES for channel in (MEMORY, FILE)
    )
    note: str = (
        "its events count once they are in its channel, for its sinks sleep for up to 5 s; its"
        " HDFS sink writes text, for it knows no Parquet; what is NDJSON for rayflume is a JSON"
        " list for its http source"
    )
    _agent: FlumeAgent | None = None
    _known: dict[str, int] = field(default_factory=dict)

    def missing(self) -> str:
        return flume_agent.missing()

    def start(self, folder: Path, channel: str) -> None:
        ports = self._known = free_ports([*SOURCES, "metrics"])
        options = ("-Dflume.monitoring.type=http", f"-Dflume.monitoring.port={ports['metrics']}")
        properties = configuration(folder, channel, ports)
        agent = self._agent = FlumeAgent(folder, properties, folder / "flume.log", options)
        deadline = time.perf_counter() + START_S
        while not all(can_connect(ports[name]) for name in ("netcat", "syslogtcp", "http")):
            agent.check("it does not listen")
            if time.perf_counter() > deadline:
                raise agent.failure("it does not listen")
            threading.Event().wait(0.1)

    def port(self, source: str) -> int:
        return self._known[source]

    def arrived(self) -> int:
        return self._counter("EventPutSuccessCount")

    def settled(self) -> bool:
        return self._counter("EventTakeSuccessCount") >= self.arrived()

    def _counter(self, name: str) -> int:
        if self._agent is None:
            raise FlumeFailed("not started")
        self._agent.check("it has ended")
        url = f"http://127.0.0.1:{self._known['metrics']}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(json.load(answer).get("CHANNEL.wal", {}).get(name, 0))

    def pids(self) -> Iterable[int]:
        return [] if self._agent is None else [self._agent.pid]

    def stop(self) -> None:
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.stop()
