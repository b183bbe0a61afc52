"""A whole agent in this process: real files, a real journal, a real lake."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayflume.agent.inline import InlineAgent
from rayflume.config import AgentPlan, plan_of
from rayflume.errors import ConfigError
from rayflume.interfaces import Json

LINES = [f"line {i}" for i in range(1_000)]


def plan(directory: Path, sink: str = "parquet") -> AgentPlan:
    options: dict[str, object] = {"path": "lake", "format": {"type": "text"}}
    lake = {"type": sink, "channel": "wal"} | (options if sink == "parquet" else {})
    return plan_of(
        {
            "agent": "clicks",
            "sources": {"web": {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"]}},
            "channels": {"wal": {"type": "file", "directory": "wal"}},
            "sinks": {"lake": lake},
        },
        directory,
    )


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.log").write_text("\n".join(LINES[:400]) + "\n")
    (folder / "b.log").write_text("\n".join(LINES[400:]) + "\n")
    return folder


def lake_rows(directory: Path) -> list[str]:
    files = (directory / "lake").glob("part-*.parquet")
    rows = [pq.read_table(file).column(0).to_pylist() for file in files]
    return sorted((row for part in rows for row in part), key=LINES.index)


def metrics(agent: InlineAgent, name: str) -> dict[str, Json]:
    components = agent.status()["components"]
    assert isinstance(components, list)
    [part] = [p for p in components if isinstance(p, dict) and p["name"] == name]
    found = part["metrics"]
    assert isinstance(found, dict)
    return found


def test_every_line_is_in_the_lake_once_and_counted(tmp_path: Path, inputs: Path) -> None:
    agent = InlineAgent(plan(tmp_path), until_drained=True).start()
    assert agent.join(30)
    assert agent.status()["state"] == "drained"
    assert lake_rows(tmp_path) == LINES
    assert metrics(agent, "lake")["EventDrainSuccessCount"] == 1_000
    assert metrics(agent, "web")["EventAcceptedCount"] == 1_000


def test_a_second_run_reads_only_what_is_new(tmp_path: Path, inputs: Path) -> None:
    (inputs / "b.log").rename(tmp_path / "later.log")
    assert InlineAgent(plan(tmp_path), until_drained=True).start().join(30)
    (tmp_path / "later.log").rename(inputs / "b.log")
    agent = InlineAgent(plan(tmp_path), until_drained=True).start()
    assert agent.join(30)
    assert lake_rows(tmp_path) == LINES
    assert metrics(agent, "web")["EventAcceptedCount"] == 600


def test_what_a_stop_leaves_in_the_channel_is_delivered_by_the_next_run(
    tmp_path: Path, inputs: Path
) -> None:
    agent = InlineAgent(plan(tmp_path)).start()
    while metrics(agent, "web").get("EventAcceptedCount") != 1_000:
        assert not agent.join(0.05)
    agent.stop()
    assert agent.join(30)
    assert agent.status()["state"] == "stopped"
    again = InlineAgent(plan(tmp_path), until_drained=True).start()
    assert again.join(30)
    assert lake_rows(tmp_path) == LINES
    assert metrics(again, "web").get("EventAcceptedCount", 0) == 0


def test_drain_ends_an_agent_that_would_go_on(tmp_path: Path, inputs: Path) -> None:
    agent = InlineAgent(plan(tmp_path, "null")).start()
    agent.drain()
    assert agent.join(30)
    assert agent.status()["state"] == "drained"
    assert metrics(agent, "lake")["EventDrainSuccessCount"] == 1_000


def test_tap_gives_put_records_and_refuses_an_unknown_channel(tmp_path: Path, inputs: Path) -> None:
    agent = InlineAgent(plan(tmp_path)).start()
    try:
        while metrics(agent, "web").get("EventAcceptedCount") != 1_000:
            assert not agent.join(0.05)
        records = agent.tap("wal", 5)
        assert records
        assert all(isinstance(record, pa.Buffer) for record in records)
        with pytest.raises(ConfigError, match="no channel 'nope'"):
            agent.tap("nope", 5)
    finally:
        agent.stop()
        agent.join(30)


def test_a_journal_in_use_is_waited_for_and_the_holder_named(tmp_path: Path, inputs: Path) -> None:
    first = InlineAgent(plan(tmp_path, "null")).start()
    while metrics(first, "web").get("EventAcceptedCount") != 1_000:
        assert not first.join(0.05)
    second = InlineAgent(plan(tmp_path, "null"), until_drained=True).start()
    try:
        while "in use by clicks/wal" not in str(second.status()):
            assert not second.join(0.05)
    finally:
        first.stop()
        assert first.join(30)
    assert second.join(30)
    assert second.status()["state"] == "drained"
