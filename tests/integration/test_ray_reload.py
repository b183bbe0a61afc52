"""A running agent on Ray is changed: parts in their own processes, a supervisor that dies."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from ray_nodes import RayNodes
from reload_agent import until

from rayflume.agent import cluster
from rayflume.agent.cluster import RayAgent
from rayflume.agent.placement import store
from rayflume.agent.plan_store import Record
from rayflume.config import AgentPlan, load
from rayflume.errors import ConfigError, Retry

pytestmark = pytest.mark.ray


class Writer(threading.Thread):
    """Appends numbered lines until it is told to stop."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        folder.mkdir()
        self._file = folder / "a.log"
        self.written = 0
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.wait(0.05):
            with self._file.open("a") as file:
                file.writelines(f"{n}\n" for n in range(self.written, self.written + 100))
            self.written += 100


def conf(folder: Path, **changed: str | int) -> Path:
    """taildir -> file channel -> Parquet, two sinks that fail over."""
    sink = {
        "type": "parquet", "channel": "wal", "path": str(folder / "lake"),
        "format": {"type": "text"}, "roll": {"age": changed.get("age", "300ms")},
    }  # fmt: skip
    value = {
        "agent": folder.name,
        "sources": {
            "web": {
                "type": "taildir", "paths": [str(folder / "in" / "*.log")], "channels": ["wal"],
                "interceptors": [
                    {"type": "static", "key": "v", "value": str(changed.get("v", 0))}
                ],
            }
        },
        "channels": {
            "wal": {
                "type": "file", "directory": str(folder / "wal"),
                "capacity": changed.get("capacity", 100_000),
            }
        },
        "sinks": {"near": sink, "far": sink},
        "sink_groups": {"g": {"sinks": ["near", "far"], "processor": "failover"}},
        "state_dir": str(folder / "state"),
    }  # fmt: skip
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(value))
    return file


def plan(folder: Path, **changed: str | int) -> AgentPlan:
    return load(conf(folder, **changed))


def settled(agent: RayAgent) -> bool:
    try:
        return not agent.renewing()
    except Retry:
        return False  # the supervisor is being built anew


def judge(folder: Path, written: int) -> None:
    files = (folder / "lake").glob("part-*.parquet")
    rows = (int(row) for file in files for row in pq.read_table(file).column(0).to_pylist())
    assert collections.Counter(rows) == collections.Counter(range(written))


def test_an_agent_changes_while_rows_come_and_its_supervisor_dies(
    ray_cluster: RayNodes, tmp_path: Path
) -> None:
    writer = Writer(tmp_path / "in")
    agent = cluster.start_agent(Record(plan(tmp_path)), detached=False)
    pids = {}
    now: dict[str, str | int] = {}
    changes: tuple[dict[str, str | int], ...] = (
        {"v": 1}, {"capacity": 50_000}, {"age": "200ms"}, {"v": 2, "capacity": 60_000},
    )  # fmt: skip
    for number, changed in enumerate(changes):
        now |= changed
        assert agent.apply(plan(tmp_path, **now)), changed
        if number == 3:
            os.kill(agent.pid(), signal.SIGKILL)
        until(lambda: settled(agent), 60)
        pids[number] = parts(agent)
    assert pids[1]["web"] == pids[0]["web"], "who does not differ is left alone"
    assert pids[1]["wal"] != pids[0]["wal"]
    record = store().load(tmp_path.name)
    assert record is not None
    assert (record.before, record.version) == (None, 5)
    assert record.plan.channels["wal"].options["capacity"] == 60_000
    done = subprocess.run(
        [sys.executable, "-m", "rayflume", "apply", str(conf(tmp_path, **now | {"v": 3})),
         "--address", ray_cluster.address],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("change web (interceptors)\nkeep wal, ")
    with pytest.raises(ConfigError, match="channel wal keeps positions and rows"):
        other = (
            plan(tmp_path, **now | {"v": 3})
            .to_json()
            .replace(f"{tmp_path}/wal", f"{tmp_path}/wal2")
        )
        agent.apply(AgentPlan.from_json(other))
    writer.done.set()
    writer.join(10)
    agent.drain()
    assert agent.join(90), agent.status()
    agent.close()
    judge(tmp_path, writer.written)


def parts(agent: RayAgent) -> dict[str, int]:
    """Process ids, once all run."""
    found: dict[str, int] = {}

    def running() -> bool:
        components = agent.status()["components"]
        assert isinstance(components, list)
        shown = [part for part in components if isinstance(part, dict)]
        found.update({str(part["name"]): int(str(part["pid"])) for part in shown})
        return all(part["state"] == "running" for part in shown)

    until(running, 60)
    return found
