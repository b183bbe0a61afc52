"""`--map`: a Python class in the place of a Java class of a Flume file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rayflume
from rayflume.cli import run
from rayflume.config.java_classes import parse_maps
from rayflume.flume.findings import Finding
from rayflume.flume.names import Severity
from rayflume.flume.own import unused
from rayflume.flume.read import FlumeFile, read_flume, surroundings
from rayflume.flume.values import Surroundings

Captured = pytest.CaptureFixture[str]
PARTS = '''\
"""Parts of a bank."""

from typing import Annotated

from pydantic import BaseModel
from rayflume.component import Component, nested, option
from rayflume.selectors.replicating import Replicating
from rayflume.sinks.null import Null
from rayflume.sources.seq import Seq


class Feed(Seq):
    """A source."""


class Proxy(BaseModel, extra="forbid"):
    """Where the way out is."""

    host_name: str = option("Its name.")


class Ledger(Null):
    """A sink."""

    batch_size: int = option("Rows at a time.", default=10)
    topics: list[str] = option("Topics.", factory=list)
    retry: bool = option("Whether to try again.", default=False)
    labels: dict[str, str] = option("Labels.", factory=dict)
    proxy: Proxy | None = option("A proxy.", default=None)
    format: Annotated[Component, nested("format")] = option("How rows are read.")


class Stamp(Component):
    """An interceptor."""

    kind = "interceptor"
    with_name: str = option("A name.")

    def intercept(self, batch):
        return batch


class Route(Replicating):
    """A selector."""
'''
MAP = {
    "com.example.Ledger": "bank_parts.Ledger",
    "com.example.Stamp": "bank_parts.Stamp",
    "com.example.Route": "bank_parts.Route",
}
FILE = """\
a.sources = s
a.channels = c
a.sinks = k
a.channels.c.type = memory
a.channels.c.capacity = 1000
a.sources.s.type = com.example.Feed
a.sources.s.channels = c
a.sources.s.interceptors = i
a.sources.s.interceptors.i.type = com.example.Stamp$Builder
a.sources.s.interceptors.i.withName = x
a.sources.s.selector.type = com.example.Route
a.sinks.k.type = com.example.Ledger
a.sinks.k.channel = c
a.sinks.k.batchSize = 50
a.sinks.k.topics = one two
a.sinks.k.retry = true
a.sinks.k.labels.site = oslo
a.sinks.k.proxy.hostName = out.example
a.sinks.k.format = json
a.sinks.k.format.errors = replace
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    text = PARTS + "\n\nfrom rayflume.sources.seq import Seq as Counter\n"
    (tmp_path / "bank_parts.py").write_text(
        text + "\n\nclass Feed(Counter):\n    '''A source.'''\n"
    )
    (tmp_path / "flume.conf").write_text(FILE)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name == "bank_parts":
            del sys.modules[name]


def read(folder: Path, text: str = FILE, **more: str) -> FlumeFile:
    (folder / "flume.conf").write_text(text)
    classes = {**MAP, "com.example.Feed": "bank_parts.Feed", **more}
    return read_flume([folder / "flume.conf"], Surroundings({}, java_classes=classes))


def about(file: FlumeFile, key: str) -> Finding:
    (found,) = [one for one in file.findings if one.key == key]
    return found


def test_the_properties_become_options_of_the_python_class(folder: Path) -> None:
    reading = read(folder).agents["a"]
    assert [one for one in reading.findings if one.severity is Severity.ERROR] == []
    sinks = reading.value["sinks"]
    assert isinstance(sinks, dict)
    assert sinks["k"] == {
        "type": "bank_parts.Ledger",
        "channel": "c",
        "batch_size": "50",
        "topics": ["one", "two"],
        "retry": "true",
        "labels": {"site": "oslo"},
        "proxy": {"host_name": "out.example"},
        "format": {"type": "json", "errors": "replace"},
    }
    assert reading.plan is not None
    source = reading.plan.sources["s"]
    assert (source.type, source.selector and source.selector.type) == (
        "bank_parts.Feed",
        "bank_parts.Route",
    )
    assert [(one.type, one.options) for one in source.interceptors] == [
        ("bank_parts.Stamp", {"with_name": "x"})
    ]
    assert reading.plan.modules() == (folder / "bank_parts.py",)


def test_a_class_that_is_not_mapped_is_named_with_its_line_and_what_to_do(folder: Path) -> None:
    (folder / "flume.conf").write_text(FILE)
    file = read_flume([folder / "flume.conf"], Surroundings({}, java_classes={}))
    found = about(file, "a.sinks.k.type")
    assert (found.place.line, found.severity, found.fatal) == (12, Severity.ERROR, True)
    assert "com.example.Ledger is a Java class of your own" in found.text
    assert "--map 'com.example.Ledger=my_module.MyPart'" in found.text


def test_a_misspelt_property_is_told_as_in_flume(folder: Path) -> None:
    file = read(folder, FILE.replace("batchSize", "batchsizes"))
    found = about(file, "a.sinks.k.batchsizes")
    assert (found.severity, "batchSize" in found.text) == (Severity.WARNING, True)


def test_a_wrong_value_and_a_missing_option_are_told(folder: Path) -> None:
    file = read(folder, FILE.replace("batchSize = 50", "batchSize = many").replace("withName", "x"))
    assert "'many' is not a whole number" in about(file, "a.sinks.k.batch_size").text
    assert file.agents["a"].plan is None


@pytest.mark.parametrize(
    ("python", "text"),
    [
        ("no_such_parts.Ledger", "there is no module 'no_such_parts'"),
        ("bank_parts.Stamp", "is of kind 'interceptor', and here stands one of kind 'sink'"),
        ("bank_parts.Absent", "has no class 'Absent'"),
    ],
)
def test_a_wrong_python_class_is_told(python: str, text: str, folder: Path) -> None:
    file = read(folder, **{"com.example.Ledger": python})
    assert text in about(file, "a.sinks.k.type").text


def test_a_part_that_rayflume_has_not_may_be_mapped_too(folder: Path) -> None:
    text = FILE.replace("com.example.Feed", "avro")
    file = read(folder, text, **{"org.apache.flume.source.AvroSource": "bank_parts.Feed"})
    plan = file.agents["a"].plan
    assert plan is not None
    assert plan.sources["s"].type == "bank_parts.Feed"


def test_a_class_of_map_that_nothing_is_of_is_told(folder: Path) -> None:
    file = read(folder, **{"com.example.Legder": "bank_parts.Ledger"})
    (found,) = [one for one in file.findings if "Legder" in one.text]
    assert found.severity is Severity.WARNING
    assert unused({"x.A$Builder": "p.A", "org.apache.flume.source.AvroSource": "p.B"}, ["x.A"]) == [
        "org.apache.flume.source.AvroSource"
    ]
    assert unused({"org.apache.flume.source.AvroSource": "p.B"}, ["AVRO"]) == []


def test_the_python_interface_has_it(folder: Path) -> None:
    classes = {**MAP, "com.example.Feed": "bank_parts.Feed"}
    agent = rayflume.load(folder / "flume.conf", java_classes=classes)
    assert repr(agent).endswith("s:bank_parts.Feed c:memory k:bank_parts.Ledger>")


def test_validate_and_convert_have_the_option(folder: Path, capsys: Captured) -> None:
    pairs = [f"{java}={python}" for java, python in MAP.items()]
    listed = folder / "classes.txt"
    listed.write_text("\n".join([*pairs, "com.example.Feed=bank_parts.Feed"]))
    assert parse_maps([f"@{listed}"])["com.example.Feed"] == "bank_parts.Feed"
    conf = str(folder / "flume.conf")
    assert run(["validate", conf, "--no-host", "--map", f"@{listed}"]) == 0
    assert "bank_parts.Ledger" in capsys.readouterr().out
    assert run(["validate", conf, "--no-host"]) == 2
    assert "--map 'com.example.Ledger=my_module.MyPart'" in "".join(capsys.readouterr())
    assert run(["convert", conf, "--map", f"@{listed}"]) == 0
    converted = folder / "converted.yaml"
    converted.write_text(capsys.readouterr().out)
    assert run(["validate", str(converted), "--no-host"]) == 0
    assert "bank_parts.Ledger" in capsys.readouterr().out


@pytest.mark.integration
def test_it_runs(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    text = FILE + "a.sources.s.totalEvents = 5\n"
    (folder / "flume.conf").write_text(text)
    maps = [word for java, python in MAP.items() for word in ("--map", f"{java}={python}")]
    maps += ["--map", "com.example.Feed=bank_parts.Feed", "--inline", "--until-drained"]
    assert run(["run", "flume.conf", *maps]) == 0
    assert "a: drained" in capsys.readouterr().out


@pytest.mark.parametrize("classes", [(), ("com.example.Handler=rayflume.sources.seq.Seq",)])
def test_what_cannot_be_written_in_python_is_not_said_to_be(
    classes: tuple[str, ...], tmp_path: Path
) -> None:
    """No `--map` is proposed for kinds of which there are no parts of one's own."""
    path = tmp_path / "f.properties"
    path.write_text(
        "a.sources=r\na.channels=c\na.sources.r.type=http\na.sources.r.port=0\n"
        "a.sources.r.handler=com.example.Handler\na.sources.r.channels=c\n"
        "a.channels.c.type=memory\n"
    )
    file = read_flume([path], surroundings({}, (), parse_maps(classes)))
    [fatal] = [one for one in file.findings if one.fatal]
    assert "write the part that names it in Python (docs/own-parts.md), and map that" in fatal.text
    assert "--map" not in fatal.text
