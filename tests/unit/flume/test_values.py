"""`${...}` in values, and config filters."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
from flume_tables import BEGIN, flume_file, tables, told

from rayflume.config import resolve
from rayflume.errors import ConfigError
from rayflume.flume.dates import formatted
from rayflume.flume.grammar import parse_bytes
from rayflume.flume.values import Resolver, Surroundings

__all__ = ["tables"]
ENVIRON = {"PORT": "44444", "A": "x", "X": "deep", "BLANK": " b ", "a.b": "dotted", "$": "dollar"}


@pytest.mark.parametrize(
    ("text", "resolved", "written"),
    [
        ("plain $ { }", "plain $ { }", "plain $ { }"),
        ("${env:PORT}", "44444", "${PORT}"),
        ("/d/${env:A}/${env:PORT}.log", "/d/x/44444.log", "/d/${A}/${PORT}.log"),
        ("${env:NONE:-7}", "7", "7"),
        ("${env:NONE:-}", "", ""),
        ("${env:A:-7}", "x", "${A}"),
        ("${sys:p}", "1234", "1234"),
        ("${key}", "v-x", "v-${A}"),
        ("${none:-${key}}", "v-x", "v-x"),
        ("${env:${name}}", "deep", "${X}"),
        ("$${env:A}", "${env:A}", "$${env:A}"),
        ("a$${x}${env:A}", "a${x}x", "a$${x}${A}"),
        ("${env:a.b}", "dotted", "dotted"),
        ("${env:BLANK}", "b", "b"),
        ("${cost}${env:A}", "5$x", "5$x"),  # `$${A}` would be an escape
        ("${open", "${open", "$${open"),
        ("}", "}", "}"),
        ("${env:NONE}", "${env:NONE}", "$${env:NONE}"),
        ("${unknown}/${env:A}", "${unknown}/x", "$${unknown}/${A}"),
        ("${date:yyyy}", "2023", "2023"),
        ("${f1['k']}", "${f1['k']}", "$${f1['k']}"),
    ],
)
def test_substitution(text: str, resolved: str, written: str) -> None:
    source = f"t = {text}\nkey = v-${{env:A}}\nname = X\ncost = 5$\nkind=a\n"
    entries = parse_bytes(source.encode(), "f").entries
    around = Surroundings(ENVIRON, {"p": "1234"}, 1_700_000_000_000)
    value = Resolver(entries, around).value(entries["t"])
    assert (value.text, value.written) == (resolved, written)
    assert resolve({"": value.written}, ENVIRON)[""] == resolved  # what the plan will see


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("${env:NONE}", "the environment variable NONE is not set; the text stays"),
        ("${sys:none}", r"the system property none is not given \(-D none=...\)"),
        ("${NONE}", r"nothing is known of `\$\{NONE\}`.*for the environment write \$\{env:NONE\}"),
        ("${java:vm}", "there is no Java whose vm"),
        ("${date:bb}", "'bb' is no date format"),
        ("${t}", "leads back to itself"),
    ],
)
def test_what_cannot_be_resolved_is_told(text: str, sentence: str) -> None:
    entries = parse_bytes(f"t = {text}".encode(), "f").entries
    resolver = Resolver(entries, Surroundings({}))
    assert resolver.value(entries["t"]).open
    (found,) = resolver.findings
    assert re.search(sentence, found.text), found.text


def test_bare_names_are_of_the_environment_only_with_flumes_old_property() -> None:
    entries = parse_bytes(b"t = ${A}", "f").entries
    old = {"propertiesImplementation": "org.apache.flume.node.EnvVarResolverProperties"}
    assert Resolver(entries, Surroundings(ENVIRON)).value(entries["t"]).text == "${A}"
    assert Resolver(entries, Surroundings(ENVIRON, old)).value(entries["t"]).written == "${A}"


def test_values_that_grow_beyond_all_bounds_are_refused() -> None:
    lines = [f"k{n} = ${{k{n - 1}}}${{k{n - 1}}}" for n in range(1, 40)]
    entries = parse_bytes("\n".join(["k0 = x", *lines]).encode(), "f").entries
    with pytest.raises(ConfigError, match="grows beyond all bounds"):
        Resolver(entries, Surroundings({})).value(entries["k39"])


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("yyyy-MM-dd HH:mm:ss.SSS", "2023-11-14 22:13:20.123"),
        ("yy.M.d", "23.11.14"),
        ("EEE, MMM", "Tue, Nov"),
        ("EEEE MMMM", "Tuesday November"),
        ("hh:mm a", "10:13 PM"),
        ("K k D u", "10 22 318 2"),
        ("'year' yyyy''", "year 2023'"),
        ("Z", "+0000"),
        ("", None),
        ("b", None),
    ],
)
def test_dates_of_java(form: str, text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert formatted(form, 1_700_000_000_123) == text
    finally:
        monkeypatch.undo()
        time.tzset()


# -- config filters --------------------------------------------------------------------------------

FILTERED = BEGIN + "a1.configfilters = f1\na1.sources.r1.streamName = ${f1['KEY']}\n"
EXTERNAL = (
    FILTERED.replace("{", "{{").replace("}", "}}")
    + "a1.configfilters.f1.type = external\na1.configfilters.f1.command = {}\n"
)
pytestmark = pytest.mark.usefixtures("tables")


@pytest.mark.parametrize("form", ["${f1['KEY']}", '${f1["KEY"]}', "${f1[KEY]}"])
def test_the_environment_filter(form: str, tmp_path: Path) -> None:
    text = FILTERED.replace("${f1['KEY']}", form) + "a1.configfilters.f1.type = env\n"
    file = flume_file(tmp_path, text, {"KEY": "secret"})
    plan = file.agents["a1"].plan
    assert plan is not None
    assert plan.sources["r1"].options["id"] == "${KEY}"
    assert "secret" not in plan.to_json()


def program(directory: Path, body: str) -> Path:
    path = directory / "answer.sh"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_program_answers_when_it_is_allowed(tmp_path: Path) -> None:
    path = program(tmp_path, "print('the ' + sys.argv[1] + ' ' + sys.argv[2]); print('more')")
    text = (
        FILTERED + f"a1.configfilters.f1.type = external\na1.configfilters.f1.command = {path} x\n"
    )
    file = flume_file(tmp_path, text, allow_exec=(str(path),))
    plan = file.agents["a1"].plan
    assert plan is not None
    assert file.exported == {"FLUME_A1_F1_KEY": "the x KEY"}
    assert plan.sources["r1"].options["id"] == "${FLUME_A1_F1_KEY}"
    assert "the x KEY" not in plan.to_json()
    assert any("printed more than a line" in line for line in told(file))


def test_a_program_that_is_not_allowed_is_not_run(tmp_path: Path) -> None:
    path = program(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')")
    text = EXTERNAL.format(path)
    file = flume_file(tmp_path, text)
    assert file.agents["a1"].plan is None
    assert any(f"add --allow-exec {path}" in line for line in told(file))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("body", "why"), [("sys.exit(3)", "exit code 3"), ("", "it printed nothing")]
)
def test_a_program_that_fails_leaves_the_text(body: str, why: str, tmp_path: Path) -> None:
    path = program(tmp_path, body)
    text = EXTERNAL.format(path)
    file = flume_file(tmp_path, text, allow_exec=(str(path),))
    plan = file.agents["a1"].plan
    assert plan is not None and plan.sources["r1"].options["id"] == "$${f1['KEY']}"
    assert any(why in line for line in told(file))


@pytest.mark.parametrize(
    ("lines", "sentence", "runs"),
    [
        ("a1.configfilters.f1.type = hadoop", "can only be read by Java", False),
        ("a1.configfilters.f1.type = enw", "is no config filter; did you mean 'env'?", True),
        ("a1.configfilters.f1.tpye = env", "the filter has no `type`", True),
        ("a1.configfilters.f2.type = env", "'f1' is described nowhere", True),
        ("a1.configfilters.f1.type = external", "the filter has no `command`", True),
    ],
)
def test_filters_that_cannot_be_made(lines: str, sentence: str, runs: bool, tmp_path: Path) -> None:
    file = flume_file(tmp_path, FILTERED + lines)
    assert any(sentence in line for line in told(file)), told(file)
    assert (file.agents["a1"].plan is not None) is runs
