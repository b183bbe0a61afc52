"""Every row once, whoever is killed: SIGKILL of each role in the middle of a run, on two stores."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import yaml
from fault_volume import scaled
from ray_nodes import RayNodes
from servers import S3Server

from rayflume.agent import cluster
from rayflume.agent.plan_store import Record
from rayflume.clock import SystemClock
from rayflume.config import load

ROWS, FILES, CHUNK = 300_000, 4, 500
ROLES = ("source", "channel", "sink", "supervisor")
KILLS = scaled(len(ROLES))
DEADLINE_S = 120
pytestmark = pytest.mark.ray


def line(n: int) -> str:
    """Row `n`: numbered, its time within three hours, every thousandth malformed."""
    ts = 1_700_000_000_000 + n * 90
    good = f'{{"n":{n},"ts":{ts},"pad":"{"x" * (n % 200)}"}}'
    return good if n % 1_000 else f'{{"n":"{n}","ts":{ts}}}'


class Writer(threading.Thread):
    """Appends the rows to a few files bit by bit, so that every kill meets a run in full swing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        folder.mkdir(parents=True)
        self._paths = [folder / f"part-{i}.jsonl" for i in range(FILES)]
        self.hurry = threading.Event()
        self.start()

    def run(self) -> None:
        for first in range(0, ROWS, CHUNK):
            text = "".join(line(n) + "\n" for n in range(first, first + CHUNK))
            with self._paths[first // CHUNK % FILES].open("a") as file:
                file.write(text)
            self.hurry.wait(0.05)


def configuration(folder: Path, path: str, storage: dict[str, object]) -> Path:
    """taildir -> file channel -> two Parquet sinks with many small deliveries."""
    lake = {
        "type": "parquet",
        "channel": "wal",
        "path": path,
        "storage": storage,
        "format": {"type": "json", "schema": {"n": "int64", "ts": "timestamp_ms", "pad": "string"}},
        "event_time": "ts",
        "partition_by": ["hour=%Y%m%d%H"],
        "delivery_bytes": "1MiB",
        "roll": {"age": "2s"},
        "placement": {"replicas": 2},
    }
    source = {
        "type": "taildir",
        "paths": [str(folder / "in" / "*.jsonl")],
        "batch_bytes": "256KiB",
        "channels": ["wal"],
    }
    conf = {
        "agent": folder.name,
        "guarantee": "exactly_once",
        "sources": {"files": source},
        "channels": {
            "wal": {"type": "file", "directory": str(folder / "wal"), "max_file_size": "4MiB"}
        },
        "sinks": {"lake": lake},
        "state_dir": str(folder / "state"),
    }
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(conf))
    return file


def pids(agent: cluster.RayAgent) -> dict[str, int]:
    """Process ids by role; of two sinks the first."""
    parts = agent.status()["components"]
    assert isinstance(parts, list)
    found: dict[str, int] = {}
    for part in parts:
        assert isinstance(part, dict)
        if part["pid"] and part["state"] == "running":
            found.setdefault(str(part["kind"]), int(str(part["pid"])))
    return found


def kill_soon(agent: cluster.RayAgent, role: str, killed: set[int], moment: float) -> None:
    """Wait until the role runs (anew), then a moment, then SIGKILL its process."""
    deadline = SystemClock().monotonic_ms() + 60_000
    while True:
        pid = agent.pid() if role == "supervisor" else pids(agent).get(role, 0)
        if pid and pid not in killed and psutil.pid_exists(pid):
            break
        assert SystemClock().monotonic_ms() < deadline, f"no running {role}: {agent.status()}"
        threading.Event().wait(0.05)
    threading.Event().wait(moment)
    os.kill(pid, signal.SIGKILL)
    killed.add(pid)


def tables(filesystem: pafs.FileSystem, base: str, suffix: str) -> Iterator[pa.Table]:
    for info in filesystem.get_file_info(pafs.FileSelector(base, recursive=True)):
        if info.is_file and info.path.endswith(suffix):
            yield pq.read_table(info.path, filesystem=filesystem)


def check_lake(filesystem: pafs.FileSystem, base: str) -> None:
    """All rows of the input are there once: in the lake, or (every thousandth) as dead letters."""
    seen = collections.Counter(
        n for table in tables(filesystem, base, ".parquet") for n in table["n"].to_pylist()
    )
    seen.update(
        int(json.loads(body)["n"])
        for table in tables(filesystem, base, ".dead")
        for body in table["body"].to_pylist()
    )
    missing = [n for n in range(ROWS) if not seen[n]]
    doubled = [n for n, count in seen.items() if count > 1]
    assert (missing[:5], doubled[:5], len(seen)) == ([], [], ROWS)


def run_with_kills(folder: Path, conf: Path, seed: int) -> None:
    """Run the agent on growing files, kill the roles in turn, then drain."""
    chance, killed = random.Random(seed), set[int]()
    order = chance.sample(ROLES, len(ROLES))
    roles = [order[number % len(order)] for number in range(KILLS)]
    writer = Writer(folder / "in")
    agent = cluster.start_agent(Record(load(conf)), detached=False)
    for role in roles:
        kill_soon(agent, role, killed, chance.uniform(0.0, 1.0))
    writer.hurry.set()
    writer.join(60)
    agent.drain()
    assert agent.join(DEADLINE_S), agent.status()
    status = agent.status()
    agent.close()
    assert status["state"] == "drained", status
    parts = status["components"]
    assert isinstance(parts, list)
    restarts = sum(part["restarts"] for part in parts if isinstance(part, dict))  # type: ignore[misc]
    assert len(killed) == KILLS
    # The supervisor counts what happens in its own life.
    counted = [*reversed(roles), "supervisor"].index("supervisor")
    assert restarts >= counted, status


def test_rows_are_in_a_local_lake_once_when_parts_are_killed(
    ray_cluster: RayNodes, tmp_path: Path
) -> None:
    run_with_kills(tmp_path, configuration(tmp_path, str(tmp_path / "lake"), {}), seed=1)
    check_lake(pafs.LocalFileSystem(), str(tmp_path / "lake"))


def s3_filesystem(server: S3Server) -> pafs.FileSystem:
    options = server.options
    return pafs.S3FileSystem(
        access_key=str(options["access_key"]),
        secret_key=str(options["secret_key"]),
        endpoint_override=str(options["endpoint"]),
        region="us-east-1",
    )


@pytest.mark.s3
def test_rows_are_in_s3_once_when_parts_are_killed(
    ray_cluster: RayNodes, tmp_path: Path, weed_s3: S3Server
) -> None:
    bucket = weed_s3.bucket()
    conf = configuration(tmp_path, f"s3://{bucket}/lake", dict(weed_s3.options))
    run_with_kills(tmp_path, conf, seed=2)
    check_lake(s3_filesystem(weed_s3), f"{bucket}/lake")
