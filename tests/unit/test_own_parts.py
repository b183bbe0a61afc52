"""Parts of a user's own: `type: my_module.MySink`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rayflume.cli import run
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup, own_part
from rayflume.config import AgentPlan, component_of, guarantees, load, plan_of
from rayflume.errors import ConfigError
from rayflume.metrics import Metrics
from rayflume.own_parts import beside, imported_from, make_importable
from rayflume.protocols import built, lacking

Captured = pytest.CaptureFixture[str]

MODULE = '''\
"""Parts of a shop."""

from typing import Annotated, ClassVar

from rayflume.component import Component, nested, option
from rayflume.formats.text import Text
from rayflume.sinks.null import Null


class Shout(Component):
    """Write every body in capitals."""

    kind = "interceptor"
    mark: str = option("Behind every body.", default="!", example="?")

    def intercept(self, batch):
        return batch


class Counted(Null):
    """A null sink of one's own."""


class Lines(Text):
    """Lines."""


class Pick(Component):
    """Choose channels."""

    kind = "selector"

    def select(self, batch, channels):
        return []

    def required(self, channels):
        return list(channels)


class Half(Component):
    """Says it is a sink and has nothing of one."""

    kind = "sink"
    staged: ClassVar[bool] = True


class Nameless(Component):
    """Does not say what it is."""


class Stranger:
    """No component at all."""


NUMBER = 5
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module beside the configuration; Python forgets both afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    (tmp_path / "shop_parts.py").write_text(MODULE)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def values(
    sink: object = "shop_parts.Counted", interceptor: object = "shop_parts.Shout"
) -> dict[str, Any]:
    return {
        "agent": "shop",
        "sources": {"s": {"type": "seq", "channels": ["c"], "interceptors": [interceptor]}},
        "channels": {"c": {"type": "memory"}},
        "sinks": {"k": {"type": sink, "channel": "c"}},
    }


def problem(folder: Path, **parts: object) -> str:
    with pytest.raises(ConfigError) as raised:
        plan_of(values(**parts), folder)
    (text,) = raised.value.problems
    return text


def test_a_module_beside_the_configuration_is_found(folder: Path) -> None:
    plan = plan_of(values(interceptor={"type": "shop_parts.Shout", "mark": "?"}), folder)
    shout = plan.sources["s"].interceptors[0]
    assert (shout.type, plan.sinks["k"].type) == ("shop_parts.Shout", "shop_parts.Counted")
    options = component_of(shout)
    assert (options.kind, options.type_name) == ("interceptor", "shop_parts.Shout")
    assert options.model_dump() == {"mark": "?"}
    assert AgentPlan.from_json(plan.to_json()) == plan


def test_a_selector_and_a_nested_format_of_ones_own(folder: Path) -> None:
    conf = values()
    conf["sources"]["s"]["selector"] = {"type": "shop_parts.Pick"}
    lake = {"type": "parquet", "channel": "c", "path": "lake", "format": "shop_parts.Lines"}
    conf["sinks"]["k"] = lake
    plan = plan_of(conf, folder)
    assert component_of(plan.sinks["k"]).format.kind == "format"  # type: ignore[attr-defined]
    assert plan.modules() == (folder / "shop_parts.py",)


def test_options_are_checked_as_those_of_built_in_parts(folder: Path) -> None:
    wrong = {"type": "shop_parts.Shout", "marc": "?"}
    assert problem(folder, interceptor=wrong) == (
        "sources.s.interceptors[0].marc: unknown option; did you mean 'mark'?"
    )


WRONG = [
    ("shop_parts.Cuonted", "has no class 'Cuonted'"),
    ("shop_parts.Nameless", "shop_parts.Nameless must say what it is: write `kind = ...`, one of"),
    ("shop_parts.Stranger", "is no part: derive the class from rayflume.component.Component"),
    ("shop_parts.NUMBER", "is no part: derive the class from rayflume.component.Component"),
    ("shop_parts.Shout", "is of kind 'interceptor', and here stands one of kind 'sink'"),
    ("os.system", "is no part"),
    ("shop_part.Counted", "there is no module 'shop_part': put shop_part.py (or a folder"),
    ("com.example.MySink", "`--map 'com.example.MySink=my_module.MyPart'`"),
    ("broken_parts.Sink", "cannot be imported: ZeroDivisionError: division by zero"),
    ("typo_parts.Sink", "cannot be imported: SyntaxError: invalid syntax (typo_parts.py, line 1)"),
    ("needy_parts.Sink", "the module 'needy_parts' needs the package 'not_there_at_all'"),
]


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_what_is_no_part_is_said_so(name: str, text: str, folder: Path) -> None:
    (folder / "broken_parts.py").write_text("1 / 0\n")
    (folder / "typo_parts.py").write_text("class\n")
    (folder / "needy_parts.py").write_text("import not_there_at_all\n")
    found = problem(folder, sink=name)
    assert found.startswith("sinks.k.type: ")
    assert text in found


def test_line_and_file_are_named(folder: Path) -> None:
    conf = folder / "agent.yaml"
    conf.write_text(
        "agent: a\nsources: {s: {type: seq, channels: [c]}}\nchannels: {c: {type: memory}}\n"
        "sinks:\n  k:\n    type: shop_parts.Absent\n    channel: c\n"
    )
    with pytest.raises(ConfigError, match=r"agent\.yaml:6: sinks\.k\.type: shop_parts "):
        load(conf)


def test_s7_nothing_but_what_is_named_is_imported_or_evaluated(folder: Path) -> None:
    (folder / "other_parts.py").write_text("raise AssertionError\n")
    conf = values(interceptor={"type": "static", "key": "k", "value": "other_parts.Absent"})
    plan = plan_of(conf, folder)
    assert "other_parts" not in sys.modules
    assert plan.modules() == (folder / "shop_parts.py",)
    for name in ("shop_parts.Counted()", "__import__('other_parts').X", "shop_parts.", "a b.C"):
        with pytest.raises(ConfigError, match="unknown sink type"):
            lookup("sink", name)
    assert "other_parts" not in sys.modules


def test_a_configuration_without_own_parts_leaves_python_alone(folder: Path) -> None:
    before = list(sys.path)
    plan_of(values("null", "host"), folder)
    assert sys.path == before
    make_importable(["shop_parts.Shout", "shop_parts.Pick"], folder)
    make_importable(["shop_parts.Shout"], folder)
    assert sys.path == [*before, str(folder)], "once, and behind what is installed"


def test_what_other_hosts_need(folder: Path) -> None:
    package = folder / "shop_kit"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "deep.py").write_text(MODULE)
    names = {"a": ["shop_kit.deep.Counted", {"b": "shop_parts.Shout"}], "c": "json.JSONDecoder"}
    assert beside(names, folder) == (package, folder / "shop_parts.py")
    assert imported_from(names, folder) == ()
    make_importable(names, folder)
    assert own_part("shop_kit.deep.Counted", "sink").kind == "sink"
    assert imported_from(names, folder) == (package,)


def test_the_guarantee_is_what_the_class_declares(folder: Path) -> None:
    conf = values("shop_parts.Half")
    conf["channels"]["c"] = {"type": "file", "directory": "wal"}
    (path,) = guarantees(plan_of(conf, folder))
    assert path.level == "exactly_once"
    conf["sinks"]["k"]["type"] = "shop_parts.Counted"
    (path,) = guarantees(plan_of(conf, folder))
    assert (path.level, "a shop_parts.Counted sink cannot stage" in path.reason) == (
        "at_least_once",
        True,
    )


def test_a_part_without_the_methods_of_its_kind_is_named_with_them(folder: Path) -> None:
    make_importable("shop_parts.Half", folder)
    context = Context("shop", "k", ManualClock(), Metrics(), folder)
    with pytest.raises(ConfigError, match=r"sink k: shop_parts.Half.build\(\) gives a Half with"):
        built(own_part("shop_parts.Half")(), context)
    missing = ["begin", "close", "collect", "limits", "open", "publish", "rebuild"]
    assert lacking("sink", own_part("shop_parts.Half")()) == missing
    assert lacking("source", object())[:3] == ["describe", "drain", "prefix"]
    assert "open" in lacking("channel", object())
    assert lacking("table", object()) == []


def test_validate_shows_it(folder: Path, capsys: Captured) -> None:
    conf = folder / "agent.yaml"
    conf.write_text(json.dumps(values()))
    assert run(["validate", str(conf)]) == 0
    out = capsys.readouterr().out
    assert "shop_parts.Counted" in out
    assert "a seq source" not in out


def test_components_shows_it(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(["components", "shop_parts.Shout"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("interceptor shop_parts.Shout\n  Write every body in capitals.\n")
    assert "  mark (text; default: !)\n" in out
    assert "    type: shop_parts.Shout\n    mark: '?'\n" in out
    assert run(["components", "shop_parts.Absent"]) == 2
    assert "has no class 'Absent'" in capsys.readouterr().err


def test_submit_takes_the_modules_along(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from rayflume.cli.submit import _copy_modules

    package = folder / "shop_kit"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text(MODULE)
    plan = plan_of(values("shop_kit.Counted"), folder)
    target = tmp_path_factory.mktemp("job")
    _copy_modules(plan.modules(), target)
    found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*"))
    assert found == ["shop_kit", "shop_kit/__init__.py", "shop_parts.py"]


@pytest.mark.parametrize("kind", ["source", "interceptor", "selector", "channel", "sink", "format"])
def test_a_template_is_written_with_its_test(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["components", "new_parts.Fresh", "--new", kind]) == 0
    assert capsys.readouterr().out == (
        f"wrote {tmp_path}/new_parts.py\nwrote {tmp_path}/test_new_parts.py\n"
    )
    make_importable("new_parts.Fresh", tmp_path)
    assert own_part("new_parts.Fresh", kind).__name__ == "Fresh"
    assert "My" + kind.capitalize() not in (tmp_path / "new_parts.py").read_text()
    compile((tmp_path / "test_new_parts.py").read_text(), "test", "exec")
    assert run(["components", "new_parts.Fresh", "--new", kind]) == 2
    assert "new_parts.py is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["my_parts.Fresh", "--new", "snik"], "no template for 'snik'; did you mean 'sink'?"),
        (["Fresh", "--new", "sink"], "'Fresh' is no class of a module: write it as my_module."),
        (["deep.my_parts.Fresh", "--new", "sink"], "deep does not exist; create it"),
    ],
)
def test_a_template_that_cannot_be_written(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["components", *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.glob("*my_parts*"))
