"""`rayflume components --flume`: what of Flume is there, printed from the tables."""

from __future__ import annotations

import json

import pytest

from rayflume.cli import _parity as parity
from rayflume.cli import run
from rayflume.flume.names import all_parts

Captured = pytest.CaptureFixture[str]


def test_the_table_has_a_line_for_each_part(capsys: Captured) -> None:
    assert run(["components", "--flume"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["kind", "Flume", "status"]
    assert len(lines) == len(all_parts()) + 1
    (memory,) = [line.split() for line in lines if line.split()[:2] == ["channel", "memory"]]
    assert memory == ["channel", "memory", "done", "memory"]
    (jms,) = [line for line in lines if line.split()[:2] == ["source", "jms"]]
    assert "not yet" in jms
    assert "JMS is not yet in rayflume; until then" in jms


def test_json_has_every_property(capsys: Captured) -> None:
    assert run(["components", "--flume", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == len(all_parts())
    (memory,) = [one for one in found if one["types"] == ["memory"]]
    assert (memory["kind"], memory["status"], memory["type"]) == ("channel", "done", "memory")
    capacity = {one["name"]: one for one in memory["properties"]}["capacity"]
    assert (capacity["default"], capacity["option"]) == ("100", "capacity.events")


@pytest.mark.parametrize("name", ["jms", "JMS", "org.apache.flume.source.jms.JMSSource"])
def test_one_part_shows_its_properties(name: str, capsys: Captured) -> None:
    assert run(["components", "--flume", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith("source jms (not yet)\n  org.apache.flume.source.jms.JMSSource\n")
    (line,) = [line for line in out.splitlines() if line.startswith("pollTimeout")]
    assert line.split()[:2] == ["pollTimeout", "1000"]


def test_a_name_of_several_kinds_shows_all(capsys: Captured) -> None:
    assert run(["components", "--flume", "avro", "--json"]) == 0
    kinds = {one["kind"] for one in json.loads(capsys.readouterr().out)}
    assert kinds >= {"source", "sink"}


@pytest.mark.parametrize(
    ("name", "message"),
    [("jmss", "Flume has no part 'jmss'; did you mean 'jms'?"), ("qqqq", "`rayflume components")],
)
def test_an_unknown_name_is_said(name: str, message: str, capsys: Captured) -> None:
    assert run(["components", "--flume", name]) == 2
    assert message in capsys.readouterr().err


def test_the_document_says_what_becomes_of_each_property(capsys: Captured) -> None:
    text = parity.markdown()
    assert "| channel | `memory` | done | `memory` |  |" in text
    assert "| `capacity` | `100` | `capacity.events` |  |" in text
    assert run(["components", "--flume", "--markdown"]) == 0
    assert capsys.readouterr().out == text
