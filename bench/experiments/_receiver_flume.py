"""Apache Flume 1.11 with its sources netcat, syslogtcp, syslogudp and http."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import flume_agent
from bench.experiments._receivers import (
    INLETS,
    MEMORY,
    Inlet,
    can_connect,
    free_ports,
    part_name,
)
from bench.flume_agent import FlumeAgent, FlumeFailed

START_S = 60.0
_ADDRESS = {"netcat": "bind", "http": "bind", "syslogtcp": "host", "syslogudp": "host"}
_CHANNELS_AND_SINKS = """
a1.channels = memory file
a1.sinks = memory file
a1.channels.memory.type = memory
a1.channels.memory.capacity = 1000000
a1.channels.memory.transactionCapacity = 20000
a1.channels.memory.byteCapacity = 1073741824
a1.sinks.memory.channel = memory
a1.sinks.memory.type = null
a1.sinks.memory.batchSize = 1000
a1.sinks.memory.logEveryNEvents = 1000000
a1.channels.file.type = file
a1.channels.file.checkpointDir = {folder}/checkpoint
a1.channels.file.dataDirs = {folder}/wal
a1.channels.file.transactionCapacity = 20000
a1.sinks.file.channel = file
a1.sinks.file.type = hdfs
a1.sinks.file.hdfs.path = file://{folder}/text
a1.sinks.file.hdfs.useRawLocalFileSystem = true
a1.sinks.file.hdfs.fileType = DataStream
a1.sinks.file.hdfs.writeFormat = Text
a1.sinks.file.hdfs.rollInterval = 0
a1.sinks.file.hdfs.rollCount = 0
a1.sinks.file.hdfs.rollSize = 134217728
a1.sinks.file.hdfs.batchSize = 1000
a1.sinks.file.hdfs.callTimeout = 60000
"""


def configuration(folder: Path, ports: Mapping[str, int]) -> str:
    """The properties of an agent `a1` with a source for each inlet."""
    lines = [f"a1.sources = {' '.join(map(part_name, INLETS))}"]
    for inlet in INLETS:
        source, channel = inlet
        begin = f"a1.sources.{part_name(inlet)}"
        lines += [
            f"{begin}.type = {source}",
            f"{begin}.channels = {channel}",
            f"{begin}.{_ADDRESS[source]} = 127.0.0.1",
            f"{begin}.port = {ports[part_name(inlet)]}",
        ]
    return "\n".join(lines) + _CHANNELS_AND_SINKS.format(folder=folder)


@dataclass
class Flume:
    """See Receiver. What has come through is what its channel has taken: a sink of Flume that has
    found its channel empty sleeps for up to 5 seconds, which says nothing of how fast it is.
    """

    name: str = "Flume 1.11"
    inlets: tuple[Inlet, ...] = INLETS
    note: str = (
        "its events count once they are in its channel, for its sinks sleep for up to 5 s; its"
        " HDFS sink writes text, for it knows no Parquet; what is NDJSON for rayflume is a JSON"
        " list for its http source"
    )
    _agent: FlumeAgent | None = None
    _known: dict[str, int] = field(default_factory=dict)

    def missing(self) -> str:
        return flume_agent.missing()

    def start(self, folder: Path) -> None:
        ports = self._known = free_ports([*map(part_name, INLETS), "metrics"])
        options = ("-Dflume.monitoring.type=http", f"-Dflume.monitoring.port={ports['metrics']}")
        properties = configuration(folder, ports)
        agent = self._agent = FlumeAgent(folder, properties, folder / "flume.log", options)
        by_tcp = [ports[part_name(inlet)] for inlet in INLETS if inlet[0] != "syslogudp"]
        deadline = time.perf_counter() + START_S
        while not all(map(can_connect, by_tcp)):
            agent.check("it does not listen")
            if time.perf_counter() > deadline:
                raise agent.failure("it does not listen")
            threading.Event().wait(0.1)

    def port(self, inlet: Inlet) -> int:
        return self._known[part_name(inlet)]

    def arrived(self, channel: str) -> int:
        return self._counters(channel)[0]

    def settled(self) -> bool:
        put, taken = self._counters(MEMORY)
        return put == taken

    def _counters(self, channel: str) -> tuple[int, int]:
        """Events put into a channel, and taken out of it for good."""
        if self._agent is None:
            raise FlumeFailed("not started")
        self._agent.check("it has ended")
        url = f"http://127.0.0.1:{self._known['metrics']}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = json.load(answer).get(f"CHANNEL.{channel}", {})
        names = ("EventPutSuccessCount", "EventTakeSuccessCount")
        put, taken = (int(found.get(name, 0)) for name in names)
        return put, taken

    def pids(self) -> Iterable[int]:
        return [] if self._agent is None else [self._agent.pid]

    def stop(self) -> None:
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.stop()
