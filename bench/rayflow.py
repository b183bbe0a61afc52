"""rayflume on Ray: taildir -> file channel (durable) -> two Parquet sinks, all in one turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.settings import CODEC, ROW_GROUP_BYTES, SCHEMA
from rayflume.agent import cluster
from rayflume.agent.plan_store import Record
from rayflume.config import load

SINKS = 2


@dataclass(frozen=True)
class Measured:
    """One turn: seconds, rows in the lake, dead letters, peak private memory by part in bytes."""

    seconds: float
    rows: int
    dead: int
    memory: Mapping[str, int]


def configuration(kind: str, folder: Path, channel: str = "file") -> dict[str, object]:
    """The agent of one turn, with all its directories below `folder`."""
    wal: dict[str, object] = {"type": "memory", "capacity": {"events": 10**8, "bytes": "1GiB"}}
    if channel == "file":
        wal = {"type": "file", "directory": str(folder / "wal")}
    lake: dict[str, object] = {
        "type": "parquet",
        "channel": "wal",
        "path": str(folder / "lake"),
        "codec": CODEC,
        "row_group_bytes": ROW_GROUP_BYTES,
        "format": {"type": "text"},
        "roll": {"bytes": "128MiB", "age": "5min"},
        "placement": {"replicas": SINKS},
    }
    if kind == "json":
        lake |= {
            "format": {"type": "json", "schema": SCHEMA},
            "event_time": "ts",
            "partition_by": ["dt=%Y-%m-%d", "hour=%H"],
        }
    return {
        "agent": f"bench-{folder.name}",
        "sources": {
            "clicks": {
                "type": "taildir",
                "paths": [str(folder / "input" / "*.jsonl")],
                "scan_interval": "50ms",
                "channels": ["wal"],
            }
        },
        "channels": {"wal": wal},
        "sinks": {"lake": lake},
        "state_dir": str(folder / "state"),
    }


def run(kind: str, paths: list[Path], folder: Path, channel: str = "file") -> Measured:
    """Start the agent, then let the files appear; seconds from then to the last commit."""
    (folder / "input").mkdir(parents=True)
    conf = folder / "agent.yaml"
    conf.write_text(yaml.safe_dump(configuration(kind, folder, channel)))
    plan = load(conf)
    agent = cluster.start_agent(Record(plan), detached=False)
    _wait_running(agent)
    memory = _Memory(agent)
    begin = time.perf_counter()
    for path in paths:
        (folder / "input" / path.name).hardlink_to(path)
    agent.drain()
    while agent.status()["state"] == "draining" and not _empty(agent):
        threading.Event().wait(0.05)
    seconds = time.perf_counter() - begin
    agent.join(60)
    peak = memory.stop()
    rows, dead = _committed(agent)
    agent.close()
    return Measured(seconds, rows, dead, peak)


def _parts(agent: cluster.RayAgent) -> list[dict[str, object]]:
    parts = agent.status()["components"]
    assert isinstance(parts, list)
    return [part for part in parts if isinstance(part, dict)]


def _wait_running(agent: cluster.RayAgent) -> None:
    deadline = time.perf_counter() + 120
    while any(part["state"] != "running" for part in _parts(agent)):
        if time.perf_counter() > deadline:
            raise TimeoutError(f"the agent does not start: {_parts(agent)}")
        threading.Event().wait(0.1)


def _empty(agent: cluster.RayAgent) -> bool:
    """Whether the source has read everything and the channel holds nothing."""
    return all(
        part["state"] in ("drained", "stopped")
        if part["kind"] == "source"
        else part["kind"] != "channel" or part["metrics"].get("ChannelSize") == 0  # type: ignore[attr-defined]
        for part in _parts(agent)
    )


def _committed(agent: cluster.RayAgent) -> tuple[int, int]:
    sinks = [part["metrics"] for part in _parts(agent) if part["kind"] == "sink"]
    total = sum(m.get("EventDrainSuccessCount", 0) for m in sinks)  # type: ignore[attr-defined]
    dead = sum(m.get("EventDeadLetterCount", 0) for m in sinks)  # type: ignore[attr-defined]
    return total, dead


def _anonymous_bytes(pid: int) -> int:
    """Memory of a process that is its own; mapped pages of the journal are the page cache's."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields.get("RssAnon", "0 kB").split()[0]) * 1024


class _Memory:
    """Peak private memory of every part, sampled every two seconds."""

    def __init__(self, agent: cluster.RayAgent) -> None:
        self._pids = {f"{p['name']}/{p['replica']}": int(str(p["pid"])) for p in _parts(agent)}
        self._peak = dict.fromkeys(self._pids, 0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(2.0):
            for name, pid in self._pids.items():
                self._peak[name] = max(self._peak[name], _anonymous_bytes(pid))

    def stop(self) -> dict[str, int]:
        self._done.set()
        self._thread.join()
        return self._peak
