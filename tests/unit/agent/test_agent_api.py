"""The public names, as a notebook uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rayflume
from rayflume import Agent, ConfigError, RayflumeError

PUBLIC = [
    "Agent",
    "AgentStatus",
    "ConfigError",
    "RayflumeError",
    "RunningAgent",
    "__version__",
    "load",
]


def conf(directory: Path) -> dict[str, object]:
    return {
        "agent": "count",
        "sources": {"n": {"type": "seq", "total_events": 5_000, "channels": ["wal"]}},
        "channels": {"wal": {"type": "file", "directory": str(directory / "wal")}},
        "sinks": {
            "lake": {
                "type": "parquet",
                "channel": "wal",
                "path": str(directory / "lake"),
                "format": {"type": "text"},
                "roll": {"age": "1h"},
            }
        },
    }


def test_the_public_names_are_these() -> None:
    assert rayflume.__all__ == PUBLIC
    assert dir(rayflume) == PUBLIC
    assert all(getattr(rayflume, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'agnet'"):
        _ = rayflume.agnet


def test_importing_rayflume_is_light_and_inline_needs_no_ray(tmp_path: Path) -> None:
    script = f"""
import sys, rayflume
heavy = {{"ray", "pandas", "pyarrow", "numpy"}} & set(sys.modules)
assert not heavy, heavy
agent = rayflume.Agent({conf(tmp_path)!r}).start(inline=True, until_drained=True)
assert agent.wait(60)["state"] == "drained"
assert "ray" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_from_a_mapping_to_a_frame(tmp_path: Path) -> None:
    with Agent(conf(tmp_path)).start(inline=True) as agent:
        while agent.status().frame["rows in"].max() < 5_000:
            with pytest.raises(TimeoutError):
                agent.wait(0.05)
        tapped = agent.tap("wal", 3)
        assert list(tapped.columns) == ["position", "stream", "body", "headers"]
        assert list(tapped["body"]) == ["4997", "4998", "4999"]
        assert list(tapped["position"]) == [4997, 4998, 4999]
        status = agent.drain()
    assert (status["agent"], status.state, len(status)) == ("count", "drained", 3)
    frame = status.frame.set_index("part")
    assert list(frame.index) == ["n", "wal", "lake"]
    assert frame.loc["lake", "rows out"] == 5_000
    assert list((tmp_path / "lake").glob("*.parquet"))
    assert agent.status() is status


def test_a_status_reads_well_and_is_escaped(tmp_path: Path) -> None:
    with Agent(conf(tmp_path)).start(inline=True) as agent:
        status = agent.status()
        assert set(status) == {"agent", "state", "components"}
        assert repr(status).startswith("agent count: ")
        assert "<table" in status._repr_html_()
        assert "<b>count</b>" in agent._repr_html_()
        assert repr(agent).startswith("<rayflume.RunningAgent count ")


def test_load_reads_a_file_and_says_what_is_promised(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "agent: a\nsources: {s: {type: seq, channels: [c]}}\n"
        "channels: {c: {type: file, directory: wal}}\nsinks: {k: {type: 'null', channel: c}}\n"
    )
    agent = rayflume.load(file)
    assert agent.name == "a"
    assert [line.split(":")[0] for line in agent.guarantees] == ["s -> c -> k"]
    assert repr(agent) == "<rayflume.Agent a s:seq c:file k:null>"


def test_mistakes_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Agent({"agent": "a"})
    with pytest.raises(ConfigError, match="is of 'count', not of 'other'"):
        Agent(conf(tmp_path), name="other")
    with Agent(conf(tmp_path)).start(inline=True) as agent:
        with pytest.raises(ConfigError, match="no channel 'wall'; did you mean 'wal'"):
            agent.tap("wall")
        with pytest.raises(ValueError, match="at least 1"):
            agent.tap("wal", 0)


def test_a_failed_part_is_an_error(tmp_path: Path) -> None:
    options = conf(tmp_path)
    (tmp_path / "wal").mkdir()
    (tmp_path / "lake").write_text("a file where the lake should be")
    agent = Agent(options)
    try:
        running = agent.start(inline=True, until_drained=True)
    except ConfigError:
        return  # seen before anything was started: better still
    with pytest.raises(RayflumeError, match="sink lake"):
        running.wait(60)
