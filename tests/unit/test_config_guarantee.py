"""What a plan promises, and that a weaker one than wanted is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_parts import parts, written

from rayflume.component import lookup, types_of
from rayflume.config import guarantees, load
from rayflume.config.guarantee import Level
from rayflume.errors import ConfigError

__all__ = ["parts"]
pytestmark = pytest.mark.usefixtures("parts")


def text(source: str, channel: str, sink: str, wanted: str = "") -> str:
    sinks = {"lake": "{type: lake, channel: c, path: out, format: rows}"}
    sources = {"tail": "{type: tail, paths: [], channels: [c]}"}
    lines = [
        "agent: a",
        f"guarantee: {wanted}" if wanted else "",
        f"sources: {{s: {sources.get(source, f'{{type: {source}, channels: [c]}}')}}}",
        f"channels: {{c: {{type: {channel}}}}}",
        f"sinks: {{k: {sinks.get(sink, f'{{type: {sink}, channel: c}}')}}}",
    ]
    return "\n".join(lines)


TABLE = [
    ("tail", "wal", "lake", "exactly_once"),
    ("web", "wal", "lake", "exactly_once"),
    ("socket", "wal", "lake", "lossy"),
    ("tail", "ram", "lake", "at_least_once"),
    ("web", "ram", "lake", "lossy"),
    ("socket", "ram", "lake", "lossy"),
    ("tail", "wal", "log", "at_least_once"),
    ("web", "wal", "log", "at_least_once"),
    ("tail", "ram", "log", "at_least_once"),
    ("socket", "wal", "log", "lossy"),
]


@pytest.mark.parametrize(("source", "channel", "sink", "level"), TABLE)
def test_level_of_a_path(tmp_path: Path, source: str, channel: str, sink: str, level: str) -> None:
    (path,) = guarantees(load(written(tmp_path, text(source, channel, sink))))
    assert (path.source, path.channel, path.sink, path.level) == ("s", "c", "k", level)
    assert path.reason


@pytest.mark.parametrize("wanted", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize(("source", "channel", "sink", "level"), TABLE)
def test_weaker_than_wanted_is_an_error(
    tmp_path: Path, source: str, channel: str, sink: str, level: str, wanted: str
) -> None:
    path = written(tmp_path, text(source, channel, sink, wanted))
    if Level(level).rank >= Level(wanted).rank:
        assert load(path).guarantee == wanted
        return
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:2: guarantee: s -> c -> k is only {level}: ")


def test_an_optional_channel_is_lossy_and_the_other_is_not(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
agent: a
sources: {s: {type: tail, paths: [], channels: [c, d], selector: {optional: [d]}}}
channels: {c: {type: wal}, d: {type: wal}}
sinks:
  k: {type: lake, channel: c, path: out, format: rows}
  l: {type: lake, channel: d, path: out2, format: rows}
""",
    )
    found = {(one.channel, one.sink): one.level for one in guarantees(load(path))}
    assert found == {("c", "k"): Level.EXACTLY_ONCE, ("d", "l"): Level.LOSSY}


def test_levels_have_an_order() -> None:
    ranks = [Level.LOSSY.rank, Level.AT_LEAST_ONCE.rank, Level.EXACTLY_ONCE.rank]
    assert ranks == [0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "name", "variable"),
    [
        (kind, name, variable)
        for kind, variable in (("source", "replay"), ("channel", "durable"), ("sink", "staged"))
        for name in types_of(kind)
    ],
)
def test_every_part_declares_its_guarantee(kind: str, name: str, variable: str) -> None:
    value = getattr(lookup(kind, name), variable, None)
    known = ("replayable", "keyed", "lossy") if kind == "source" else (True, False)
    assert value in known, f"{kind} {name} needs the class variable `{variable}`"
