"""`rayflume components` and what is generated from the parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from config_parts import Lake, parts

from rayflume.cli import _reference as reference
from rayflume.cli import run
from rayflume.component import FOLDERS, lookup, types_of

__all__ = ["parts"]
Captured = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
ALL = [(kind, name) for kind in FOLDERS for name in types_of(kind)]


def test_the_list_names_every_part(capsys: Captured) -> None:
    assert run(["components"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [tuple(line.split()[:2]) for line in lines[1:]] == ALL


def test_one_part_in_full(capsys: Captured) -> None:
    assert run(["components", "timestamp"]) == 0
    assert (
        capsys.readouterr().out
        == """\
interceptor timestamp
  Write the present time in milliseconds since 1970 into a header of every event.
  All events of a batch get the same time.

  header_name (text; default: timestamp)
      Header to write.
  preserve_existing (true or false; default: false)
      Keep the value of events that have the header already.

  Example
    type: timestamp
    header_name: read_at
    preserve_existing: true

"""
    )


def test_what_must_be_written_comes_first_on_the_terminal(capsys: Captured) -> None:
    assert run(["components", "netcat"]) == 0
    options = [line for line in capsys.readouterr().out.splitlines() if line[:3].strip(" ")]
    assert (
        next(line for line in options if line.startswith("  port"))
        == options[1 + next(i for i, line in enumerate(options) if line.startswith("  Guarantee"))]
    )


def test_a_type_of_several_kinds_shows_all_of_them_or_the_one_asked_for(capsys: Captured) -> None:
    assert run(["components", "memory", "--json"]) == 0
    assert [p["kind"] for p in json.loads(capsys.readouterr().out)] == ["channel", "storage"]
    assert run(["components", "Channel.Memory", "--json"]) == 0
    assert [p["kind"] for p in json.loads(capsys.readouterr().out)] == ["channel"]


def test_json_has_every_option(capsys: Captured) -> None:
    assert run(["components", "regex_filter", "--json"]) == 0
    (part,) = json.loads(capsys.readouterr().out)
    assert (part["kind"], part["type"]) == ("interceptor", "regex_filter")
    assert [option["name"] for option in part["options"]] == ["regex", "exclude_events"]
    assert part["options"][1]["kind"] == "true or false"
    assert part["options"][1]["default"] == "false"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timestmap", "there is no part of type 'timestmap'; did you mean 'timestamp'?"),
        ("chanel.memory", "unknown kind 'chanel'; did you mean 'channel'?"),
        ("channel.memroy", "there is no part of type 'channel.memroy'; did you mean 'memory'?"),
    ],
)
def test_unknown_parts(name: str, message: str, capsys: Captured) -> None:
    assert run(["components", name]) == 2
    assert capsys.readouterr().err == f"rayflume: {message}\n"


@pytest.mark.usefixtures("parts")
def test_options_within_options_and_units_in_words() -> None:
    part = reference.describe("sink", "lake")
    shown = [(one.name, one.kind, one.presence) for one in part.options]
    assert shown == [
        ("path", "text", "required"),
        ("format", "format (a mapping with `type`)", "required"),
        ("roll", "mapping", "default: see below"),
        ("roll.bytes", "size", "default: 128MiB"),
        ("roll.age", "duration", "default: 5min"),
        ("event_time", "text", "default: ''"),
        ("partition_by", "list of text", "default: []"),
    ]
    assert part.facts == (
        "Guarantee: it stages and publishes, exactly once with a durable channel.",
    )
    assert part.summary == "Write files"
    assert reference.sample_options(Lake) == {"path": "s3://lake/clicks"}
    assert part.sample == (
        "sinks:\n  NAME:\n    type: lake\n    channel: CHANNEL\n    path: s3://lake/clicks\n"
    )
    web = reference.describe("source", "web")
    assert [(one.name, one.kind) for one in web.options] == [
        ("port", "whole number (at least 1, at most 65535)"),
        ("token", "secret"),
        ("mode", "list or lines"),
    ]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_part_is_documented(kind: str, name: str) -> None:
    part = reference.describe(kind, name)
    assert part.summary
    assert all(option.text.endswith((".", ")", "?")) for option in part.options), part.options
    assert all(option.kind != "any value" or option.text for option in part.options)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_sample_is_valid(kind: str, name: str) -> None:
    cls = lookup(kind, name)
    cls.model_validate(reference.sample_options(cls))
    text = reference.reference_yaml(reference.describe(kind, name))
    options = yaml.safe_load(text)
    assert options.pop("type") == name
    cls.model_validate(options)


def test_the_generated_files_are_current() -> None:
    stale = [
        path
        for path, text in reference.files().items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text("utf-8") != text
    ]
    assert not stale, "run `rayflume components --write .`"


def test_writing_changes_only_what_differs_and_removes_what_is_gone(
    tmp_path: Path, capsys: Captured
) -> None:
    assert run(["components", "--write", str(tmp_path)]) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0] == "wrote docs/components.md"
    assert len(first) == len(ALL) + 2
    old = tmp_path / "conf/reference/sinks/gone.yaml"
    old.write_text("type: gone\n")
    (tmp_path / "docs/components.md").write_text("stale")
    assert run(["components", "--write", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote docs/components.md",
        "wrote conf/reference/sinks/gone.yaml",
    ]
    assert not old.exists()
