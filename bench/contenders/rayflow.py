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

from bench.agent import Part, Running
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
        begun = time.perf_counter()
        agent = Running(cluster.start_agent(Record(load(conf)), detached=False), begun)
        agent.wait_running(START_S)
        own = set(agent.pids().values())
        usage = Usage({"own": lambda: own, "ray": lambda: set(_descendants()) - own}, self._data)
        begin_ms = SystemClock().now_ms()
        for path in turn.data.files:
            (turn.folder / "input" / path.name).hardlink_to(path)
        agent.drain()
        agent.wait(lambda: _is_empty(agent), "all rows are in the lake", DEADLINE_S, _POLL_S)
        seconds = _last_published(turn.folder / "lake") - begin_ms / 1000
        used = usage.stop()
        agent.end()
        return Measured(seconds, _with_cpu_of(used["own"], used["ray"]), {"ray": used["ray"]})

    def stop(self) -> None:
        left = list(_descendants())
        cluster.disconnect()
        kill(left)  # a Ray that was interrupted while it started does not end all of itself


def _with_cpu_of(own: Used, other: Used) -> Used:
    return replace(own, cpu_seconds=own.cpu_seconds + other.cpu_seconds)


def _descendants() -> Iterable[int]:
    """All processes of the Ray that this one has started."""
    return tree(os.getpid())[1:]


def _is_empty(agent: Running) -> bool:
    """Whether the source has read everything and the channel holds nothing. Raises RunFailed."""
    parts = agent.parts()
    if any(part.state == "failed" for part in parts):
        raise RunFailed(f"the agent does not get through: {parts}")
    return all(map(_done, parts))


def _last_published(lake: Path) -> float:
    """When the last file became visible: its link was made then. Asking the agent more often would
    tell it no better, and would take CPU from it.
    """
    return max(path.stat().st_ctime for path in lake.rglob("part-*.parquet"))


def _done(part: Part) -> bool:
    if part.kind == "source":
        return part.state in ("drained", "stopped")
    return part.kind != "channel" or part.metrics.get("ChannelSize") == 0


def contender() -> Contender:
    return Rayflume()
