"""Museum, shutdown and health: open batches lost at the end, processes that only look alive."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.agent.inline import InlineAgent
from rayflume.config import AgentPlan, plan_of
from rayflume.interfaces import Json
from rayflume.storage import memory

_names = itertools.count()


def plan(directory: Path, lake: str, **channel: object) -> AgentPlan:
    source = {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"], "batch_bytes": 1000}
    text = {"type": "text"}
    return plan_of(
        {
            "agent": "museum",
            "sources": {"web": source},
            "channels": {"wal": {"type": "file", "directory": "wal", **channel}},
            "sinks": {"lake": {"type": "parquet", "channel": "wal", "path": lake, "format": text}},
        },
        directory,
    )


def written(directory: Path, count: int) -> list[str]:
    lines = [f"line {n:06d}" for n in range(count)]
    (directory / "in").mkdir()
    (directory / "in" / "a.log").write_text("\n".join(lines) + "\n")
    return lines


def part(agent: InlineAgent, name: str) -> dict[str, Json]:
    components = agent.status()["components"]
    assert isinstance(components, list)
    [found] = [p for p in components if isinstance(p, dict) and p["name"] == name]
    return found


def metric(agent: InlineAgent, name: str, of: str) -> int:
    found = part(agent, name)["metrics"]
    assert isinstance(found, dict)
    return int(str(found.get(of, 0)))


def test_vector_11405_stopping_loses_no_open_batch(tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#11405, #19600, #25774. At SIGTERM the batch that was being
    filled was neither sent nor waited for, and its events were gone. In rayflume what is not in the
    lake is in the journal, and the next life delivers it.
    """
    lines = written(tmp_path, 500)
    agent = InlineAgent(plan(tmp_path, "lake")).start()
    while metric(agent, "lake", "EventDrainAttemptCount") < 500:
        assert not agent.join(0.01)
    agent.stop()
    assert agent.join(30)
    assert not list((tmp_path / "lake").glob("*.parquet"))
    assert InlineAgent(plan(tmp_path, "lake"), until_drained=True).start().join(30)
    tables = [pq.read_table(path) for path in (tmp_path / "lake").glob("*.parquet")]
    assert sorted(pa.concat_tables(tables).column(0).to_pylist()) == lines


def test_fluent_bit_9115_a_stalled_output_is_not_silent(tmp_path: Path) -> None:
    """Reference: fluent/fluent-bit#9115, #11847. With an output down the input stopped taking
    records without a sign, while the process looked healthy. In rayflume the status shows the
    sink's error, how full the channel is and that the source is held up; when the store is back all
    rows arrive.
    """
    name = f"museum-shutdown-{next(_names)}"
    lines = written(tmp_path, 2_000)
    store = memory.store(name)
    store.faults.fail("stage", times=10**9)
    capacity = {"capacity": {"events": 400}}
    agent = InlineAgent(plan(tmp_path, f"memory://{name}", **capacity)).start()
    seen = ""
    while not ("scripted fault" in seen and "is full" in seen):
        assert not agent.join(0.02)
        seen = json.dumps([part(agent, "lake"), part(agent, "web")])
    assert metric(agent, "web", "EventAcceptedCount") < len(lines)
    store.faults.clear()
    agent.drain()
    assert agent.join(60)
    rows = [
        row
        for path, data in store.files.items()
        if path.endswith(".parquet")
        for row in pq.read_table(pa.BufferReader(data)).column(0).to_pylist()
    ]
    assert sorted(rows) == lines
