"""`rayflume validate`, `convert`, `graph` and `run` with Flume's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from flume_tables import BEGIN, tables

import rayflume
from rayflume.cli import run

__all__ = ["tables"]
pytestmark = pytest.mark.usefixtures("tables")
Captured = pytest.CaptureFixture[str]
FINITE = BEGIN + "a1.sources.r1.totalEvents = 50\n"
DROPS = FINITE.replace("= k1\n", "= k1 k2\n") + "a1.sinks.k2.typ = null\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flume keeps its state below the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "f.conf") -> str:
    Path(name).write_text(text)
    return name


def test_until_drained_is_refused_where_a_channel_has_no_sink(capsys: Captured) -> None:
    """As Flume does, the file runs without the sink; only it would never be drained."""
    text = FINITE.replace("a1.sinks.k1.type", "a1.sinks.k1.typ")
    assert run(["run", write(text), "--inline", "--until-drained"]) == 2
    told = capsys.readouterr().err
    assert "a1 can never be drained: no sink takes from c1; give each a sink" in told


def test_validate_prints_every_finding_with_its_place(capsys: Captured) -> None:
    assert run(["validate", write(DROPS)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "f.conf:10: error: a1.sinks.k2.type: has no type; did you mean it with 'typ'?; sinks.k2 is "
        "dropped, as in Flume"
    )
    assert "what is left of the agent a1 of f.conf:" in lines
    assert lines[-1] == "1 error, 0 warnings, 0 notes: runs without sinks.k2"


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (FINITE, [], 0),
        (FINITE, ["--strict"], 0),
        (DROPS, [], 0),
        (DROPS, ["--strict"], 2),
        (FINITE + "a1.sources.r1.nope = 1\n", [], 0),
        (FINITE + "a1.sources.r1.nope = 1\n", ["--strict"], 2),
        (FINITE.replace("= null", "= irc"), [], 2),
        (FINITE + "b.sources = r\n", [], 2),
        (FINITE + "b.sources = r\n", ["--agent", "a1"], 0),
        (FINITE + "b.sources = r\n", ["--agent", "c"], 2),
    ],
)
def test_exit_codes_of_validate(text: str, options: list[str], code: int, capsys: Captured) -> None:
    assert run(["validate", write(text), *options]) == code
    assert run(["validate", write(text), *options, "--json"]) == code


def test_validate_as_json(capsys: Captured) -> None:
    assert run(["validate", write(DROPS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True and found["problems"] == []
    assert [one["agent"] for one in found["agents"]] == ["a1"]
    (finding,) = found["findings"]
    assert finding | {"text": ""} == {
        "file": "f.conf", "line": 10, "agent": "a1", "key": "a1.sinks.k2.type",
        "severity": "error", "text": "", "dropped": "sinks.k2", "fatal": False,
    }  # fmt: skip


def test_run_tells_in_one_list_what_is_dropped_and_goes_on(capsys: Captured) -> None:
    text = DROPS + "a1.sources.r1.threads = 2\n"
    assert run(["run", write(text), "--inline", "--until-drained"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "rayflume: a1 runs without sinks.k2, as in Flume:",
        "f.conf:10: a1.sinks.k2.type: has no type; did you mean it with 'typ'?; sinks.k2 is "
        "dropped, as in Flume",
        "rayflume: a1 ignores, or does otherwise than Flume:",
        "f.conf:11: a1.sources.r1.threads: is not used: one loop counts",
    ]
    assert "a1: drained" in captured.out


def test_run_refuses_when_strict_and_what_cannot_run(capsys: Captured) -> None:
    assert run(["run", write(DROPS), "--inline", "--strict"]) == 2
    assert "f.conf:10: a1.sinks.k2.type" in capsys.readouterr().err
    assert run(["run", write(FINITE.replace("= null", "= irc")), "--inline"]) == 2
    assert "is not in rayflume" in capsys.readouterr().err
    assert not Path(".rayflume").exists()


def test_several_files_and_defined_properties(capsys: Captured) -> None:
    base = write(FINITE + "a1.sources.r1.batchSize = ${sys:n}\n", "base.properties")
    over = write("a1.sources.r1.batchSize = 7\n", "over.properties")
    for options, size in ([["-D", "n=5"], 5], [["-f", over], 7]):
        assert isinstance(options, list)
        assert run(["convert", base, *options]) == 0
        value = yaml.safe_load(capsys.readouterr().out)
        assert value["sources"]["r1"]["batch_size"] == size
    assert run(["validate", base, "-D", "=5"]) == 2


def test_convert_prints_all_agents_or_one(capsys: Captured) -> None:
    conf = write(FINITE + FINITE.replace("a1.", "b."))
    assert run(["convert", conf]) == 0
    both = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [one["agent"] for one in both] == ["a1", "b"]
    assert run(["convert", conf, "--agent", "b"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["agent"] == "b"


def test_converted_and_run(capsys: Captured) -> None:
    assert run(["convert", write(FINITE)]) == 0
    conf = write(capsys.readouterr().out, "a1.yaml")
    assert run(["run", conf, "--inline", "--until-drained"]) == 0
    assert "a1: drained" in capsys.readouterr().out


def test_graph_and_the_python_interface_take_flumes_files(capsys: Captured) -> None:
    assert run(["graph", write(FINITE)]) == 0
    assert capsys.readouterr().out.startswith("r1 (seq) -> c1 (memory) -> k1 (null)")
    agent = rayflume.load("f.conf")
    assert agent.name == "a1"
    with agent.start(inline=True, until_drained=True) as running:
        assert running.wait(30).state == "drained"


@pytest.mark.parametrize("command", ["validate", "run", "convert", "graph"])
def test_files_that_are_none(command: str, capsys: Captured) -> None:
    assert run([command, write("", "e.properties")]) == 2
    assert "e.properties: is empty" in capsys.readouterr().err
    assert run([command, "none.properties"]) == 2
    assert "cannot read none.properties: No such file" in capsys.readouterr().err
    Path("d.properties").mkdir()
    assert run([command, "d.properties"]) == 2
    assert "cannot read d.properties: Is a directory" in capsys.readouterr().err


def test_options_for_flume_are_refused_for_yaml(capsys: Captured) -> None:
    conf = write("agent: a\n", "a.yaml")
    assert run(["run", conf, "-D", "a=b"]) == 2
    assert "are for Flume's files" in capsys.readouterr().err
    assert run(["convert", conf]) == 2
    assert "is no Flume file" in capsys.readouterr().err


def test_an_agent_of_sinks_alone_runs_and_is_drawn(capsys: Captured) -> None:
    conf = write("\n".join(line for line in FINITE.splitlines() if ".sources" not in line))
    for options in ([], ["--mermaid"]):
        assert run(["graph", conf, *options]) == 0
    assert run(["validate", conf]) == 0
    assert run(["run", conf, "--inline", "--until-drained"]) == 0
    assert "a1: drained" in capsys.readouterr().out
