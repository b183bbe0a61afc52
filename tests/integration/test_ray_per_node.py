"""Flume's picture, an agent on every host: sources and journals on each node, sinks that share."""

from __future__ import annotations

import collections
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from ray_nodes import HOST_ID, INPUT, RayNodes

from rayflume.agent import cluster
from rayflume.agent.plan_store import Record
from rayflume.clock import SystemClock
from rayflume.config import load

ROWS = 5_000
pytestmark = pytest.mark.ray


def configuration(folder: Path) -> Path:
    """Each node's own folder is in its environment: its input, and beside it its journal."""
    conf = {
        "agent": folder.name,
        "sources": {
            "files": {
                "type": "taildir",
                "paths": [f"${{{INPUT}}}/{folder.name}-*.jsonl"],
                "channels": ["wal"],
                "placement": {"per_node": True},
            }
        },
        "channels": {
            "wal": {
                "type": "file",
                "directory": f"${{{INPUT}}}/wal-{folder.name}",
                "placement": {"per_node": True},
            }
        },
        "sinks": {
            "lake": {
                "type": "parquet",
                "channel": "wal",
                "path": str(folder / "lake"),
                "format": {"type": "text"},
                "roll": {"age": "1s"},
                "placement": {"replicas": 2, "spread": True},
            }
        },
        "state_dir": str(folder / "state"),
    }
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(conf))
    return file


def write_rows(folder: Path, agent: str, node: int) -> set[str]:
    rows = [f"{node}-{n}" for n in range(ROWS)]
    (folder / f"{agent}-{node}.jsonl").write_text("\n".join(rows) + "\n")
    return set(rows)


def in_lake(folder: Path) -> collections.Counter[str]:
    found: collections.Counter[str] = collections.Counter()
    for path in (folder / "lake").glob("*.parquet"):
        found.update(pq.read_table(path)["body"].to_pylist())
    return found


def _troubles(agent: cluster.RayAgent) -> list[object]:
    parts = agent.status()["components"]
    assert isinstance(parts, list)
    names = ("name", "replica", "state", "last_error")
    return [[part[name] for name in names] for part in parts if isinstance(part, dict)]


def wait_for(agent: cluster.RayAgent, folder: Path, rows: set[str]) -> None:
    """Until all rows are in the lake."""
    deadline_ms = SystemClock().monotonic_ms() + 90_000
    while not rows <= set(in_lake(folder)):
        assert SystemClock().monotonic_ms() < deadline_ms, _troubles(agent)
        threading.Event().wait(0.5)


def test_every_node_has_its_journal_also_one_that_joins_later(
    ray_cluster: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INPUT, str(ray_cluster.inputs[0]))
    rows: set[str] = set()
    for node, folder in enumerate(ray_cluster.inputs):
        rows |= write_rows(folder, tmp_path.name, node)
    agent = cluster.start_agent(Record(load(configuration(tmp_path))), detached=False)
    wait_for(agent, tmp_path, rows)

    late = tmp_path / "late-node"
    late.mkdir()
    rows |= write_rows(late, tmp_path.name, 3)
    environment = {HOST_ID: "host-late", INPUT: str(late)}
    node = ray_cluster.cluster.add_node(num_cpus=2, env_vars=environment)
    try:
        wait_for(agent, tmp_path, rows)
        # F14: the host dies and comes back as another Ray node. Its journal goes on under the same
        # replica number, or the drain would wait for a node that never comes.
        ray_cluster.cluster.remove_node(node, allow_graceful=False)
        rows |= write_rows(late, tmp_path.name, 4)
        node = ray_cluster.cluster.add_node(num_cpus=2, env_vars=environment)
        wait_for(agent, tmp_path, rows)
        agent.drain()
        assert agent.join(60), agent.status()
        status = agent.status()
        agent.close()
    finally:
        ray_cluster.cluster.remove_node(node)

    parts = status["components"]
    assert isinstance(parts, list)
    nodes = {p["node"] for p in parts if isinstance(p, dict) and p["kind"] == "channel"}
    assert len(nodes) == 4
    assert str(node.node_id)[:12] in nodes
    assert status["state"] == "drained"
    assert in_lake(tmp_path) == collections.Counter(rows)
