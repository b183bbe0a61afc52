"""`rayflume validate` and `rayflume graph`."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from config_parts import GOOD, parts, written

from rayflume.cli import run

__all__ = ["parts"]
pytestmark = pytest.mark.usefixtures("parts")
Captured = pytest.CaptureFixture[str]

SEVERAL = """\
agent: clicks
sources:
  files:
    type: tail
    paths: []
    interceptors: [host]
    channels: [wal, copy]
    selector: {optional: [copy]}
  api: {type: web, channels: [wal]}
  more: {type: tail, paths: [], channels: wal}
channels: {wal: {type: wal}, copy: {type: ram}}
sinks:
  lake: {type: lake, path: out, format: rows, channel: wal, placement: {node: n1}}
  log: {type: log, channel: copy}
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def in_terminal(monkeypatch: pytest.MonkeyPatch, width: int, arguments: list[str]) -> list[str]:
    """The lines a person sees, without colours."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    assert run(arguments) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).split("\n")
    assert all(len(line) <= width for line in lines), lines
    return [line.rstrip() for line in lines]


def test_validate_shows_parts_and_guarantees(tmp_path: Path, capsys: Captured) -> None:
    path = written(tmp_path)
    assert run(["validate", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert (
        captured.out
        == f"""\
OK: {path} is a valid configuration of the agent clicks

part   kind     type  channel  runs       line
files  source   tail  wal      1x         3
api    source   web   wal      1x         8
wal    channel  wal            1x         10
lake   sink     lake  wal      2x spread  12

path                guarantee     because
files > wal > lake  exactly once  positions and rows are in one journal and files are staged
api > wal > lake    exactly once  requests with an Idempotency-Key count once; others may repeat
"""
    )


def test_validate_json(tmp_path: Path, capsys: Captured) -> None:
    assert run(["validate", "--json", str(written(tmp_path))]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["problems"], found["agent"]) == (True, [], "clicks")
    assert found["parts"][0] == {"name": "files", "kind": "source", "type": "tail", "line": 3}
    assert [one["level"] for one in found["guarantees"]] == ["exactly_once"] * 2


def test_validate_reports_all_problems_with_file_and_line(tmp_path: Path, capsys: Captured) -> None:
    path = written(tmp_path, GOOD.replace("8081", "x").replace("1MiB", "1XB"))
    assert run(["validate", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == f"{path}:8: sources.api.port: 'x' is not a whole number"
    assert lines[1].startswith(f"{path}:17: sinks.lake.roll.bytes: '1XB' is not a size")
    assert lines[2:] == ["rayflume: 2 problems; nothing was started"]
    assert run(["validate", "--json", str(path)]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ok": False, "problems": lines[:2]}
    assert captured.err == ""


def test_validate_looks_at_this_host_unless_told_not_to(tmp_path: Path, capsys: Captured) -> None:
    path = written(tmp_path, GOOD.replace("logs/", "gone/"))
    assert run(["validate", str(path)]) == 2
    expected = f"{path}:3: sources.files: the directory of 'gone/*.log' does not exist; create it\n"
    assert capsys.readouterr().err == expected
    assert run(["validate", "--no-host", str(path)]) == 0


def test_validate_chooses_the_agent(tmp_path: Path, capsys: Captured) -> None:
    path = written(tmp_path, GOOD + "---\n" + GOOD.replace("agent: clicks", "agent: other"))
    assert run(["validate", str(path)]) == 2
    assert "choose one with --agent: clicks, other" in capsys.readouterr().err
    assert run(["validate", str(path), "--agent", "other"]) == 0
    assert "of the agent other" in capsys.readouterr().out


@pytest.mark.parametrize("width", [100, 60])
def test_validate_fits_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    lines = in_terminal(monkeypatch, width, ["validate", "agent.yaml"])
    assert lines[0] == "OK: agent.yaml is a valid configuration of the agent clicks"
    assert any(
        line.split() == ["lake", "sink", "lake", "wal", "2x", "spread", "12"] for line in lines
    )


def test_graph_in_a_pipe_is_one_line_per_path(tmp_path: Path, capsys: Captured) -> None:
    assert run(["graph", str(written(tmp_path, SEVERAL))]) == 0
    assert (
        capsys.readouterr().out
        == """\
files (tail) [host] -> wal (wal) -> lake (lake): exactly once
files (tail) [host] -> copy (ram) -> log (log): lossy
api (web) -> wal (wal) -> lake (lake): exactly once
more (tail) -> wal (wal) -> lake (lake): exactly once
"""
    )


def test_graph_draws_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(written(tmp_path, SEVERAL))
    lines = in_terminal(monkeypatch, 100, ["graph", path])
    assert lines[:8] == [
        "clicks",
        "",
        "files (tail) [host] ─┬─▶ wal (wal) ───▶ lake (lake)",
        "api (web) ───────────┤",
        "more (tail) ─────────┘",
        "",
        "files (tail) [host] ───▶ copy (ram) ───▶ log (log)",
        "",
    ]
    assert lines[8] == "files ▶ wal ▶ lake: exactly once"


def test_graph_is_a_list_where_a_picture_is_too_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = in_terminal(monkeypatch, 40, ["graph", str(written(tmp_path, SEVERAL))])
    assert lines[2:7] == [
        "wal (wal)",
        "  ◀─ files (tail) [host]",
        "  ◀─ api (web)",
        "  ◀─ more (tail)",
        "  ─▶ lake (lake)",
    ]


def test_graph_as_mermaid(tmp_path: Path, capsys: Captured) -> None:
    assert run(["graph", "--mermaid", str(written(tmp_path, SEVERAL))]) == 0
    assert (
        capsys.readouterr().out
        == """\
flowchart LR
    p0(["files<br/>tail<br/>host"])
    p1(["api<br/>web"])
    p2(["more<br/>tail"])
    p3[("wal<br/>wal")]
    p4[("copy<br/>ram")]
    p5["lake<br/>lake"]
    p6["log<br/>log"]
    p0 --> p3
    p0 -.-> p4
    p1 --> p3
    p2 --> p3
    p3 -->|exactly once| p5
    p4 -->|lossy| p6
"""
    )
