"""Memory stays bounded however long the backlog grows: GBs wait for a lake that is away."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml
from fault_volume import scaled
from ray_nodes import RayNodes
from servers import free_ports

from rayflume.agent import cluster
from rayflume.agent.plan_store import Record
from rayflume.clock import SystemClock
from rayflume.config import load

BACKLOG_BYTES, INPUT_BYTES = scaled(2 * 10**9), scaled(215 * 10**7)
PRIVATE_BYTES_MAX = 2**30
DEADLINE_MS = 180_000
pytestmark = [pytest.mark.ray, pytest.mark.slow]


def write_input(folder: Path) -> int:
    """16 files of lines; returns the number of rows."""
    folder.mkdir()
    row = b'{"n":1,"pad":"' + b"x" * 234 + b'"}\n'
    block = row * 40_000
    for file in range(16):
        with (folder / f"{file}.jsonl").open("wb") as out:
            for _ in range(INPUT_BYTES // 16 // len(block)):
                out.write(block)
    return 16 * (INPUT_BYTES // 16 // len(block)) * 40_000


def configuration(folder: Path, lake: dict[str, object]) -> Path:
    conf = {
        "agent": folder.name,
        "sources": {
            "files": {
                "type": "taildir",
                "paths": [str(folder / "in" / "*.jsonl")],
                "channels": ["wal"],
            }
        },
        "channels": {
            "wal": {
                "type": "file",
                "directory": str(folder / "wal"),
                "capacity": {"events": 100_000_000, "bytes": "8GiB"},
            }
        },
        "sinks": {
            "lake": {"type": "parquet", "channel": "wal", "format": {"type": "text"}, **lake}
        },
        "state_dir": str(folder / "state"),
    }
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(conf))
    return file


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that is its own; mapped pages of the journal are the page cache's."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields.get("RssAnon", "0 kB").split()[0]) * 1024


class Watched:
    """An agent and the most private memory that each of its parts ever had."""

    def __init__(self, conf: Path, *, until_drained: bool) -> None:
        record = Record(load(conf), until_drained=until_drained)
        self.agent = cluster.start_agent(record, detached=False)
        self.peak: dict[str, int] = {}

    def metric(self, kind: str, name: str) -> int:
        """Look once: one metric, and the memory of all parts."""
        found = 0
        parts = self.agent.status()["components"]
        assert isinstance(parts, list)
        for part in parts:
            assert isinstance(part, dict) and isinstance(part["metrics"], dict)
            if part["kind"] == kind:
                found += int(str(part["metrics"].get(name, 0)))
            pid = int(str(part["pid"]))
            if pid:
                used = anonymous_bytes(pid)
                key = str(part["name"])
                self.peak[key] = max(self.peak.get(key, 0), used)
        return found

    def troubles(self) -> list[object]:
        parts = self.agent.status()["components"]
        assert isinstance(parts, list)
        names = ("name", "state", "last_error", "restarts", "metrics")
        return [[part[name] for name in names] for part in parts if isinstance(part, dict)]

    def wait(self, kind: str, name: str, value: int) -> None:
        deadline_ms = SystemClock().monotonic_ms() + DEADLINE_MS
        while self.metric(kind, name) < value:
            found = self.metric(kind, name)
            assert SystemClock().monotonic_ms() < deadline_ms, (name, found, value, self.troubles())
            threading.Event().wait(0.5)


def test_gbs_of_backlog_keep_every_actor_under_1_gib(ray_cluster: RayNodes, tmp_path: Path) -> None:
    rows = write_input(tmp_path / "in")
    [port] = free_ports(1)
    away: dict[str, object] = {
        "path": "s3://nowhere/lake",
        "storage": {
            "endpoint": f"http://127.0.0.1:{port}", "access_key": "a", "secret_key": "b",
        },
    }  # fmt: skip
    watched = Watched(configuration(tmp_path, away), until_drained=False)
    watched.wait("channel", "EventPutSuccessCount", rows)
    backlog = watched.metric("channel", "ChannelBytes")
    watched.agent.stop()
    assert watched.agent.join(60)
    watched.agent.close()
    assert backlog > BACKLOG_BYTES
    assert max(watched.peak.values()) < PRIVATE_BYTES_MAX, watched.peak

    # The same journal, now with a lake that is there: all of it goes out, in bounded memory.
    lake: dict[str, object] = {"path": str(tmp_path / "lake"), "delivery_bytes": "256MiB"}
    drained = Watched(configuration(tmp_path, lake), until_drained=True)
    drained.wait("sink", "EventDrainSuccessCount", rows)
    assert drained.agent.join(60), drained.agent.status()
    drained.agent.close()
    assert max(drained.peak.values()) < PRIVATE_BYTES_MAX, drained.peak
    for phase in (watched, drained):
        print({name: f"{used / 2**20:.0f} MiB" for name, used in phase.peak.items()})
