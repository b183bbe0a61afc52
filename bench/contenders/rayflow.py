"""rayflume on Ray: taildir -> file channel (durable) or memory channel -> two Parquet sinks."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from bench.contenders import Contender, Measured, Stage, Turn
from bench.contenders._worker import kill
from bench.settings import CODEC, PROCESSES, ROW_GROUP_BYTES
from bench.tasks import TASKS, Task
from bench.usage import Usage, Used, tree
from rayflume.agent import cluster
from rayflume.agent.plan_store import Record
from rayflume.clock import SystemClock
from rayflume.config import load

FILE, MEMORY = "rayflume_file", "rayflume_memory"
START_S = 120.0
DEADLINE_S = 1800.0
IDLE_S = 5.0
_POLL_S = 0.25
_NUMBERS = itertools.count(1)


class RunFailed(Exception):
    """The agent did not start, or did not get through its input."""


def configuration(task: Task, folder: Path, variant: str) -> dict[str, object]:
    """The agent of one run, named as no other, with all its directories below `folder`."""
    wal: dict[str, object] = {"type": "memory", "capacity": {"events": 10**8, "bytes": "1GiB"}}
    if variant == FILE:
        wal = {"type": "file", "directory": str(folder / "wal")}
    return {
        "agent": f"bench-{next(_NUMBERS)}",
        "sources": {
            "files": {
                "type": "taildir",
                "paths": [str(folder / "input" / "*")],
                "scan_interval": "50ms",
                "channels": ["wal"],
            }
        },
        "channels": {"wal": wal},
        "sinks": {"lake": _sink(task, folder)},
        "state_dir": str(folder / "state"),
    }


def _sink(task: Task, folder: Path) -> dict[str, object]:
    formats: dict[str, dict[str, object]] = {
        "json": {"type": "json", "schema": dict(task.schema)},
        "access": {"type": "combined_log"},
        "text": {"type": "text"},
    }
    sink: dict[str, object] = {
        "type": "parquet",
        "channel": "wal",
        "path": str(folder / "lake"),
        "codec": CODEC,
        "row_group_bytes": ROW_GROUP_BYTES,
        "format": formats[task.decode],
        "roll": {"bytes": "128MiB", "age": "5min"},
        "placement": {"replicas": PROCESSES},
    }
    if task.hourly:
        sink |= {"event_time": "ts", "partition_by": ["dt=%Y-%m-%d", "hour=%H"]}
    return sink


@dataclass
class Rayflume:
    """See Contender. Memory is that of the part actors and the supervisor; Ray's own processes
    stand apart, their CPU time is counted.
    """

    name: str = "rayflume"
    version: str = ""
    variants: Mapping[str, str] = field(
        default_factory=lambda: {
            FILE: "rayflume, file channel (durable)",
            MEMORY: "rayflume, memory channel",
        }
    )
    tasks: tuple[str, ...] = tuple(TASKS)
    cannot: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    notes: str = "files end at 128 MiB"
    facts: Mapping[str, float] = field(default_factory=dict)
    _data: Path = Path()
    _agent: cluster.RayAgent | None = None

    def missing(self) -> str:
        return ""

    def start(self, stage: Stage) -> None:
        self._data = stage.data
        cluster.connect(None)
        usage = Usage({"ray": _descendants}, self._data)
        threading.Event().wait(IDLE_S)
        idle = usage.stop()["ray"]
        self.facts = {
            "idle Ray, MiB": (idle.bytes + idle.shared_bytes) / 2**20,
            "idle Ray, percent of a core": 100 * idle.cpu_seconds / IDLE_S,
        }

    def run(self, turn: Turn) -> Measured:
        (turn.folder / "input").mkdir(parents=True)
        conf = turn.folder / "agent.yaml"
        settings = configuration(turn.task, turn.folder, turn.variant)
        conf.write_text(yaml.safe_dump(settings))
        agent = self._agent = cluster.start_agent(Record(load(conf)), detached=False)
        _wait_running(agent)
        own = {agent.pid(), *(int(str(part["pid"])) for part in _parts(agent))}
        usage = Usage({"own": lambda: own, "ray": lambda: set(_descendants()) - own}, self._data)
        begin_ms = SystemClock().now_ms()
        for path in turn.data.files:
            (turn.folder / "input" / path.name).hardlink_to(path)
        agent.drain()
        _wait_empty(agent)
        seconds = _last_published(turn.folder / "lake") - begin_ms / 1000
        used = usage.stop()
        self._end()
        return Measured(seconds, _with_cpu_of(used["own"], used["ray"]), {"ray": used["ray"]})

    def _end(self) -> None:
        agent, self._agent = self._agent, None
        if agent is not None:
            if not agent.join(60):
                raise RunFailed(f"the agent does not end: {_parts(agent)}")
            agent.close()

    def stop(self) -> None:
        self._agent = None
        left = list(_descendants())
        cluster.disconnect()
        kill(left)  # a Ray that was interrupted while it started does not end all of itself


def _with_cpu_of(own: Used, other: Used) -> Used:
    return replace(own, cpu_seconds=own.cpu_seconds + other.cpu_seconds)


def _descendants() -> Iterable[int]:
    """All processes of the Ray that this one has started."""
    return tree(os.getpid())[1:]


def _parts(agent: cluster.RayAgent) -> list[dict[str, object]]:
    parts = agent.status()["components"]
    if not isinstance(parts, list):
        raise RunFailed(f"a status without parts: {parts}")
    return [dict(part) for part in parts if isinstance(part, dict)]


def _wait_running(agent: cluster.RayAgent) -> None:
    deadline = time.perf_counter() + START_S
    while any(part["state"] != "running" or not part["pid"] for part in _parts(agent)):
        if time.perf_counter() > deadline:
            raise RunFailed(f"the agent does not start: {_parts(agent)}")
        threading.Event().wait(0.1)


def _wait_empty(agent: cluster.RayAgent) -> None:
    """Until the source has read everything and the channel holds nothing."""
    deadline = time.perf_counter() + DEADLINE_S
    while True:
        status = agent.status()
        parts = _parts(agent)
        if status["state"] != "draining" or all(_done(part) for part in parts):
            return
        if any(part["state"] == "failed" for part in parts) or time.perf_counter() > deadline:
            raise RunFailed(f"the agent does not get through: {parts}")
        threading.Event().wait(_POLL_S)


def _last_published(lake: Path) -> float:
    """When the last file became visible: its link was made then. Asking the agent more often would
    tell it no better, and would take CPU from it.
    """
    return max(path.stat().st_ctime for path in lake.rglob("part-*.parquet"))


def _done(part: Mapping[str, object]) -> bool:
    if part["kind"] == "source":
        return part["state"] in ("drained", "stopped")
    metrics = part["metrics"]
    return part["kind"] != "channel" or (
        isinstance(metrics, dict) and metrics.get("ChannelSize") == 0
    )


def contender() -> Contender:
    return Rayflume()
