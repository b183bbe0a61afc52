"""rayflume on Ray, as `rayflume run` starts it: a process for each part."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.agent import Running
from bench.experiments._agent import local_ray
from bench.experiments._lake import Observer
from bench.experiments._receivers import FILE, MEMORY
from bench.settings import CODEC, ROW_GROUP_BYTES
from bench.usage import tree
from rayflume.agent import cluster
from rayflume.agent.plan_store import Record
from rayflume.config import load

SOURCES = ("netcat", "syslogtcp", "syslogudp", "http")
START_S = 120.0


def configuration(folder: Path, channel: str) -> dict[str, object]:
    """An agent with a source of each kind on one channel, all its directories below `folder`."""
    wal: dict[str, object] = {"type": "memory"}
    sink: dict[str, object] = {"type": "null", "channel": "wal", "log_every_n_events": 0}
    if channel == FILE:
        wal = {"type": "file", "directory": str(folder / "wal")}
        sink = {
            "type": "parquet",
            "channel": "wal",
            "path": str(folder / "lake"),
            "codec": CODEC,
            "row_group_bytes": ROW_GROUP_BYTES,
            "format": {"type": "text"},
            "roll": {"bytes": "128MiB", "age": "1s"},
        }
    return {
        "agent": f"bench-servers-{channel}",
        "sources": {name: {"type": name, "port": 0, "channels": ["wal"]} for name in SOURCES},
        "channels": {"wal": wal},
        "sinks": {"out": sink},
        "state_dir": str(folder / "state"),
    }


@dataclass
class Rayflume:
    """See Receiver. It starts a Ray of its own each time, so that nothing of it is there while
    others are measured.
    """

    name: str = "rayflume"
    takes: frozenset[tuple[str, str]] = frozenset(
        (source, channel) for source in SOURCES for channel in (MEMORY, FILE)
    )
    note: str = "on Ray; rows of a file channel count once they are visible in the lake"
    _stack: ExitStack = field(default_factory=ExitStack)
    _agent: Running | None = None
    _observer: Observer | None = None

    def missing(self) -> str:
        return ""

    def start(self, folder: Path, channel: str) -> None:
        conf = folder / "agent.yaml"
        conf.write_text(yaml.safe_dump(configuration(folder, channel)))
        self._stack.enter_context(local_ray())
        begun = time.perf_counter()
        agent = Running(cluster.start_agent(Record(load(conf)), detached=False), begun)
        self._stack.callback(agent.end)
        agent.wait_running(START_S)
        agent.wait(lambda: all(self._ports(agent).values()), "all sources listen", START_S)
        self._agent = agent
        self._observer = None
        if channel == FILE:
            self._observer = self._stack.enter_context(Observer(folder / "lake"))

    def _ports(self, agent: Running) -> dict[str, int]:
        return {part.name: int(part.detail.get("port", 0)) for part in agent.parts("source")}

    def port(self, source: str) -> int:
        return self._ports(self._running)[source]

    def arrived(self) -> int:
        if self._observer is not None:
            return self._observer.rows()
        return self._running.metric("sink", "EventDrainSuccessCount")

    def settled(self) -> bool:
        return True

    def pids(self) -> Iterable[int]:
        """With those of Ray."""
        return tree(os.getpid())[1:]

    @property
    def _running(self) -> Running:
        if self._agent is None:
            raise RuntimeError("the agent was not started")
        return self._agent

    def stop(self) -> None:
        self._agent = None
        self._stack.close()
