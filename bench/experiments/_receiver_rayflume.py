"""rayflume: on Ray, as `rayflume run` starts it, with a process for each part, or all in one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.agent import Agent, Running
from bench.experiments._agent import local_ray
from bench.experiments._inline_agent import InlineProcess
from bench.experiments._lake import Observer
from bench.experiments._receivers import FILE, INLETS, INLINE, MEMORY, ON_RAY, Inlet, part_name
from bench.settings import CODEC, ROW_GROUP_BYTES
from bench.usage import tree
from rayflume.agent import cluster
from rayflume.agent.plan_store import Record
from rayflume.config import load

START_S = 120.0
ROLL_AGE = "250ms"
"""Short, for what is waited for behind the last event counts."""


def configuration(folder: Path) -> dict[str, object]:
    """An agent with a source for each inlet, all its directories below `folder`."""
    sources = {
        part_name(inlet): {"type": inlet[0], "port": 0, "channels": [inlet[1]]} for inlet in INLETS
    }
    lake = {
        "type": "parquet",
        "channel": FILE,
        "path": str(folder / "lake"),
        "codec": CODEC,
        "row_group_bytes": ROW_GROUP_BYTES,
        "format": {"type": "text"},
        "roll": {"bytes": "128MiB", "age": ROLL_AGE},
    }
    return {
        "agent": "bench-servers",
        "sources": sources,
        "channels": {
            MEMORY: {"type": "memory"},
            FILE: {"type": "file", "directory": str(folder / "wal")},
        },
        "sinks": {
            "nothing": {"type": "null", "channel": MEMORY, "log_every_n_events": 0},
            "lake": lake,
        },
        "state_dir": str(folder / "state"),
    }


@dataclass
class Rayflume:
    """See Receiver. On Ray it starts a Ray of its own, so that nothing of it is there while others
    are measured.
    """

    name: str = ON_RAY
    inlets: tuple[Inlet, ...] = INLETS
    note: str = "a process for each part; rows of a file channel count once they are in the lake"
    _stack: ExitStack = field(default_factory=ExitStack)
    _agent: Running | None = None
    _observer: Observer | None = None
    _known: dict[str, int] = field(default_factory=dict)

    def missing(self) -> str:
        return ""

    def start(self, folder: Path) -> None:
        conf = folder / "agent.yaml"
        conf.write_text(yaml.safe_dump(configuration(folder)))
        agent = Running(self._launch(conf), time.perf_counter())
        self._stack.callback(agent.end)
        agent.wait_running(START_S)
        agent.wait(lambda: all(_ports(agent).values()), "all sources listen", START_S)
        self._agent, self._known = agent, _ports(agent)
        self._observer = self._stack.enter_context(Observer(folder / "lake"))

    def _launch(self, conf: Path) -> Agent:
        self._stack.enter_context(local_ray())
        return cluster.start_agent(Record(load(conf)), detached=False)

    def port(self, inlet: Inlet) -> int:
        return self._known[part_name(inlet)]

    def arrived(self, channel: str) -> int:
        if self._agent is None or self._observer is None:
            raise RuntimeError("the agent was not started")
        if channel == FILE:
            return self._observer.rows()
        # They are out; their delivery is committed within a second.
        return _drained(self._agent, "EventDrainAttemptCount")

    def settled(self) -> bool:
        agent = self._agent
        return agent is None or _drained(agent, "EventDrainSuccessCount") == self.arrived(MEMORY)

    def pids(self) -> Iterable[int]:
        """With those of Ray."""
        return tree(os.getpid())[1:]

    def stop(self) -> None:
        self._agent = None
        self._stack.close()


@dataclass
class RayflumeInline(Rayflume):
    """In one process, as Flume is."""

    name: str = INLINE
    note: str = "all parts in one process, without Ray"

    def _launch(self, conf: Path) -> Agent:
        return InlineProcess(conf, conf.with_name("agent.log"))


def _drained(agent: Running, name: str) -> int:
    """A counter of the null sink."""
    sinks = [part for part in agent.parts("sink") if part.name == "nothing"]
    return sum(part.metrics.get(name, 0) for part in sinks)


def _ports(agent: Running) -> dict[str, int]:
    return {part.name: int(part.detail.get("port", 0)) for part in agent.parts("source")}
