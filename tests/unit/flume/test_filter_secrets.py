"""S12: what a config filter answers, or a secret that `-D` gives, is in no plan, no YAML, and in
nothing that is said. The plan has the name of a variable in its place.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from certificates import authority, signed
from flume_tables import BEGIN, as_yaml, flume_file, told

from rayflume.agent.plan_store import PlanStore, Record
from rayflume.cli import run
from rayflume.cli._conf import CLUSTER, FlumeOptions, Where, plan_of, yaml_of
from rayflume.config import component_of
from rayflume.config.environment import resolve
from rayflume.errors import ConfigError
from rayflume.flume.read import FlumeFile, load

CANARY = "the-canary"
HTTP = BEGIN.replace("= seq", "= http") + (
    "a1.sources.r1.port = 8443\na1.sources.r1.bind = localhost\n"
    "a1.sources.r1.ssl = true\na1.sources.r1.keystore = k.p12\n"
)
PASSWORD = "a1.sources.r1.keystore-password = "
EXTERNAL = "a1.configfilters = f1\na1.configfilters.f1.type = external\n"
ENV = "a1.configfilters = f1\na1.configfilters.f1.type = env\n"
POST = BEGIN.replace("= null", "= http")
INTERCEPTED = BEGIN + "a1.sources.r1.interceptors = {}\n"
CHOSEN = BEGIN + "a1.sources.r1.selector.type = multiplexing\na1.sources.r1.selector.header = h\n"


@pytest.fixture
def ask(tmp_path: Path) -> str:
    """A program that answers with what is in a file beside it."""
    (tmp_path / "answer").write_text(CANARY)
    path = tmp_path / "ask.sh"
    path.write_text(f"#!/bin/sh\ncat {shlex.quote(str(tmp_path / 'answer'))}\n")
    path.chmod(0o755)
    return str(path)


def read(
    directory: Path, text: str, environ: Mapping[str, str], ask: str, **defines: str
) -> FlumeFile:
    text += f"a1.configfilters.f1.command = {ask} ${{sys:token}}\n" if EXTERNAL in text else ""
    return flume_file(directory, text, environ, allow_exec=(ask,), defines=defines)


def shown(file: FlumeFile, directory: Path) -> str:
    """All that leaves the process: plan, YAML, findings, and the record in Ray's store."""
    reading, store = file.agents["a1"], Memory()
    if reading.plan is not None:
        PlanStore(store).save(Record(reading.plan, before=reading.plan))
    return "\n".join([
        *map(bytes.decode, store.values()), repr(reading.plan), repr(reading.value), *told(file),
        *map(repr, reading.findings), as_yaml(file, directory, "a1").read_text(),
    ])  # fmt: skip


class Memory(dict[str, bytes]):
    """Stands for Ray's key-value store."""

    put = dict.__setitem__
    delete = dict.__delitem__

    def keys(self, prefix: str) -> list[str]:  # type: ignore[override]
        return [key for key in self if key.startswith(prefix)]


@pytest.mark.parametrize(
    "text",
    [
        HTTP + EXTERNAL + PASSWORD + "${f1['key']}\n",
        HTTP + EXTERNAL + PASSWORD + "a${f1['key']}b\n",
        HTTP + EXTERNAL + PASSWORD + "${f1['key']} # a comment\n",
        HTTP.replace("= 8443", "= ${f1['key']}") + EXTERNAL,
        POST + EXTERNAL + "a1.sinks.k1.endpoint = https://u:${f1['key']}@host/\n",
        POST + EXTERNAL + "a1.sinks.k1.endpoint = ${f1['key']}\n",
        BEGIN.replace("= null", "= ${f1['key']}") + EXTERNAL,
        BEGIN.replace("channel = c1", "channel = ${f1['key']}") + EXTERNAL,
        INTERCEPTED.format("${f1['key']}") + EXTERNAL,
        CHOSEN + EXTERNAL + "a1.sources.r1.selector.mapping.a = ${f1['key']}\n",
        HTTP + ENV + PASSWORD + "${f1['an-odd-name']}\n",
        HTTP + PASSWORD + "${env:an-odd-name}\n",
        HTTP + PASSWORD + "${sys:token}\n",
        HTTP + PASSWORD + "${other}\nother = ${sys:plain}\n",
    ],
)
def test_s12_what_a_filter_answers_stays_in_the_process(
    text: str, ask: str, tmp_path: Path
) -> None:
    defines = {"token": CANARY, "plain": CANARY}
    file = read(tmp_path, text, {"an-odd-name": CANARY}, ask, **defines)
    assert CANARY not in shown(file, tmp_path)


def test_s12_a_program_that_fails_is_told_without_its_own_arguments(tmp_path: Path) -> None:
    ask = "/nonexistent/ask"
    file = read(tmp_path, HTTP + EXTERNAL + PASSWORD + "${f1['key']}\n", {}, ask, token=CANARY)
    assert any(f"`{ask} ... key` failed" in line for line in told(file))
    assert CANARY not in shown(file, tmp_path)


@pytest.mark.parametrize("answer", [f"{CANARY}  ", f" {CANARY}", f"{CANARY}${{x}}", f"$${CANARY}"])
def test_an_answer_with_blanks_or_references_is_what_the_part_gets(
    answer: str, ask: str, tmp_path: Path
) -> None:
    Path(ask).with_name("answer").write_text(answer)
    file = read(tmp_path, HTTP + EXTERNAL + PASSWORD + "${f1['key']}\n", {}, ask, token="")
    plan = file.agents["a1"].plan
    assert plan is not None and CANARY not in shown(file, tmp_path)
    options = plan.sources["r1"].options
    assert resolve(options, file.exported)["keystore_password"] == answer.strip()
    assert component_of(plan.sources["r1"], file.exported)


def test_two_keys_whose_names_become_one_are_two_variables(tmp_path: Path) -> None:
    path = tmp_path / "echo.sh"
    path.write_text('#!/bin/sh\necho "$2"\n')
    path.chmod(0o755)
    text = HTTP + EXTERNAL + PASSWORD + "${f1['a-b']}${f1['a_b']}${f1['A_B']}\n"
    file = read(tmp_path, text, {}, str(path), token="x")
    assert list(file.exported.values()) == ["x", "a-b", "a_b", "A_B"]
    assert len(file.exported) == 4
    plan = file.agents["a1"].plan
    assert plan is not None
    options = resolve(plan.sources["r1"].options, file.exported)
    assert options["keystore_password"] == "a-ba_bA_B"


def test_an_answer_that_no_variable_can_hold_leaves_the_text(ask: str, tmp_path: Path) -> None:
    Path(ask).with_name("answer").write_text("a\0b")
    file = read(tmp_path, HTTP + EXTERNAL + PASSWORD + "${f1['key']}\n", {}, ask, token="")
    assert any("it printed a NUL" in line for line in told(file))


# -- on a cluster ----------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path, ask: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Flume file whose password a filter answers; the environment is put back afterwards."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    path = tmp_path / "f.conf"
    path.write_text(
        HTTP + EXTERNAL + f"a1.configfilters.f1.command = {ask}\n" + PASSWORD + "${f1['key']}\n"
    )
    return path


def test_s12_a_cluster_is_given_the_name_of_a_variable_and_the_user_is_told(
    written: Path, ask: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flume = FlumeOptions(allow_exec=(ask,))
    plan = plan_of(written, None, flume, where=CLUSTER)
    assert CANARY not in plan.to_json() + yaml_of(written, None, flume).decode()
    err = capsys.readouterr().err
    assert "not given to a cluster, where Ray would show them: set FLUME_A1_F1_KEY on every" in err
    assert CANARY not in err
    with pytest.raises(ConfigError, match="variable FLUME_A1_F1_KEY is not set"):
        component_of(plan.sources["r1"], {})
    plan_of(written, None, flume)
    assert "on every node" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["start", "apply", "run", "submit"])
@pytest.mark.parametrize("name", ["javax.net.ssl.keyStorePassword", "plain", "my.token"])
def test_s12_a_secret_on_the_command_line_is_refused_before_ray_sees_it(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.conf"
    path.write_text(HTTP + ("" if "ssl" in name else PASSWORD + "${sys:plain}\n"))
    given = [command, str(path), "--address", "http://127.0.0.1:1", "-D", f"{name}={CANARY}"]
    assert run(given) == 2
    err = capsys.readouterr().err
    assert f"-D {name}: Ray keeps the command line" in err and CANARY not in err


@pytest.mark.parametrize("name", ["javax.net.ssl.keyStorePassword", "plain"])
def test_a_secret_on_the_command_line_is_warned_about(name: str, tmp_path: Path) -> None:
    text = HTTP + ("" if "ssl" in name else PASSWORD + "${sys:plain}\n")
    found = told(flume_file(tmp_path, text, defines={name: CANARY}))
    assert any(f"warning -D {name}: a secret on a command line is seen" in one for one in found)


def test_a_new_answer_is_refused_where_the_processes_of_parts_run_already(
    written: Path, ask: str
) -> None:
    flume = FlumeOptions(allow_exec=(ask,))
    assert plan_of(written, None, flume, where=Where(variables={"FLUME_A1_F1_KEY"}))
    with pytest.raises(ConfigError, match="no FLUME_A1_F1_KEY, which a config filter answers: sta"):
        plan_of(written, None, flume, where=Where(variables={"HOME"}))


def test_validate_knows_the_answers_when_it_looks_at_the_host(
    written: Path, ask: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = signed(authority(tmp_path), "host").pkcs12(CANARY, authority(tmp_path, "other"))
    written.write_text(written.read_text().replace("= k.p12", f"= {store}"))
    assert run(["validate", str(written), "--allow-exec", ask]) == 0
    captured = capsys.readouterr()
    assert "the plan refers to FLUME_A1_F1_KEY; `run` sets that" in captured.out
    assert CANARY not in captured.out + captured.err


def test_a_loaded_plan_finds_its_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "an-odd-name": CANARY})
    path = tmp_path / "f.properties"
    path.write_text(HTTP + ENV + PASSWORD + "${f1['an-odd-name']}\n")
    options = load(path).sources["r1"].options
    assert options["keystore_password"] == "${FLUME_ENV_AN_ODD_NAME}"
    assert resolve(options)["keystore_password"] == CANARY
