"""What a user of `flume-ng agent` types: taken with the same meaning, or refused with advice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from flume_tables import BEGIN

from rayflume.cli import run, run_
from rayflume.cli._conf import FlumeOptions

Captured = pytest.CaptureFixture[str]
FINITE = BEGIN + "a1.sources.r1.totalEvents = 50\n"
TWO = FINITE + FINITE.replace("a1.", "b.")
COMMANDS = ("run", "start", "apply", "submit", "validate", "graph", "convert")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with a file `f.conf` of two agents."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("JAVA_OPTS", "FLUME_JAVA_OPTS"):
        monkeypatch.delenv(name, raising=False)
    Path("f.conf").write_text(TWO)


@pytest.mark.parametrize(
    "typed",
    [
        ["-n", "b", "-f", "f.conf"],
        ["--name", "b", "--conf-file", "f.conf"],
        ["--conf", "conf", "-f", "f.conf", "-n", "b", "-Dx=y"],
        ["-c", "conf", "-f", "f.conf", "-n", "b", "--no-reload-conf"],
        ["-n", "b", "-u", "file:f.conf"],
    ],
)
def test_the_command_line_of_flume_ng_is_understood(typed: list[str], capsys: Captured) -> None:
    assert run(["convert", *typed]) == 0
    captured = capsys.readouterr()
    assert yaml.safe_load(captured.out)["agent"] == "b"
    assert captured.err == ""


def test_it_runs(capsys: Captured) -> None:
    typed = ["-n", "a1", "-c", "conf", "-f", "f.conf", "-Dx=y", "-Xmx512m"]
    assert run(["run", *typed, "--inline", "--until-drained"]) == 0
    captured = capsys.readouterr()
    assert "a1: drained" in captured.out
    assert captured.err.splitlines()[0] == (
        "rayflume: -X means nothing: bytes in memory are bounded by options of the parts"
    )


def test_all_files_are_merged_in_order_and_the_last_wins(capsys: Captured) -> None:
    for name, count in (("u.conf", 1), ("o.conf", 2)):
        Path(name).write_text(f"a1.sources.r1.totalEvents = {count}\n")
    uri = Path("u.conf").absolute().as_uri()
    for typed, count in (
        (["f.conf", "-u", uri], 1),
        (["f.conf", "-u", uri, "-f", "o.conf"], 2),
        (["-f", "f.conf", "-f", "o.conf", "-f", "u.conf"], 1),
    ):
        assert run(["convert", *typed, "-n", "a1"]) == 0
        value = yaml.safe_load(capsys.readouterr().out)
        assert value["sources"]["r1"]["total_events"] == count


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (
            ["-z", "zk:2181"],
            "--zkConnString: what an agent runs is not taken from a network; fetch",
        ),
        (["--zkBasePath", "/x"], "--zkBasePath: what an agent runs is not taken from a network"),
        (["-u", "https://h/canary"], "--conf-uri https: what an agent runs is not taken from a"),
        (["-u", "classpath:canary"], "--conf-uri classpath: there is no Java class path; fetch"),
        (["-u", "ftp://h/canary"], "--conf-uri: only file:/PATH is read; give a file of this host"),
        (["-u", "http://[canary"], "--conf-uri: Invalid IPv6 URL"),
        (["-prov", "a.B"], "--conf-provider: is a Java class, which cannot run here; let it write"),
        (["-user", "canary"], "--conf-user: belongs to --conf-uri: give it to the program that"),
        (["-pwd", "canary"], "--conf-password: belongs to --conf-uri: give it to the program that"),
        (["--auth-provider", "a.B"], "--auth-provider: belongs to --conf-uri"),
        (["-b", "dir"], "--backup-directory: no copy is kept: the file is on this host"),
        (["-d"], "--dryrun: use `rayflume validate`, which shows what would run"),
        (["-agentlib:hprof=x"], "-javaagent, -agentlib: there is no Java that could have an agent"),
        (["-javaagent:x.jar"], "-javaagent, -agentlib: there is no Java that could have an agent"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_what_to_do(
    typed: list[str], sentence: str, capsys: Captured
) -> None:
    assert run(["run", "-f", "f.conf", *typed]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"rayflume: {sentence}")
    assert "canary" not in captured.err and captured.out == ""


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["-C", "x.jar"], "--classpath is not read: there is no Java class path"),
        (["--plugins-path", "p"], "--plugins-path is not read: there is no Java class path"),
        (["-i", "10"], "--poll-interval means nothing: a changed file is noticed with --watch"),
        (["--poll-interval=10"], "--poll-interval means nothing"),
    ],
)
def test_what_changes_nothing_is_said(typed: list[str], sentence: str, capsys: Captured) -> None:
    assert run(["validate", "f.conf", "--no-host", "--json", *typed]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ok"]
    assert captured.err.startswith(f"rayflume: {sentence}")


def test_watching_and_not_watching_do_not_go_together(capsys: Captured) -> None:
    assert run(["run", "f.conf", "-n", "a1", "--watch", "--no-reload-conf"]) == 2
    assert "--no-reload-conf and --watch: leave one of them out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("flume-env.sh", "is not run: set its variables before the start"),
        ("lookups.properties", "is not read: it names Java classes"),
        ("flume.opts", "is not read: write its options on this command line"),
    ],
)
def test_what_flume_reads_beside_the_file_is_said(
    name: str, sentence: str, capsys: Captured
) -> None:
    file = Path("conf", name)
    file.parent.mkdir()
    for text, said in (("# nothing\n\n", False), ("# more\nexport X=canary\n", True)):
        file.write_text(text)
        assert run(["validate", "f.conf", "--no-host", "-c", "conf"]) == 0
        err = capsys.readouterr().err
        assert (f"{file} {sentence}" in err) is said
        assert "canary" not in err


def test_s12_properties_for_java_are_told_by_name_alone(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    opts = "-Xmx1g -Dflume.monitoring.type=http -Djavax.net.ssl.keyStorePassword=canary"
    monkeypatch.setenv("JAVA_OPTS", opts)
    assert run(["validate", "f.conf", "--no-host"]) == 0
    err = capsys.readouterr().err
    assert err.count("JAVA_OPTS is not read") == 1
    assert "its -D flume.monitoring.type, -D javax.net.ssl.keyStorePassword on this" in err
    assert "canary" not in err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_takes_a_file_takes_it_so(command: str, capsys: Captured) -> None:
    where = ["--address", "http://127.0.0.1:1"] if command == "submit" else []
    assert run([command, *where]) == 2
    assert "Missing argument 'CONF'" in capsys.readouterr().err
    assert run([command, *where, "-f", "f.conf", "-z", "zk"]) == 2
    assert capsys.readouterr().err.startswith("rayflume: --zkConnString: what an agent runs")


@pytest.mark.parametrize(
    ("logger", "level"),
    [
        ("INFO,console", "info"),
        ("WARN, console", "warning"),
        ("DEBUG,console,LOGFILE", "debug"),
        ("INFO,LOGFILE", None),
        ("INFO", None),
        ("canary,console", None),
    ],
)
def test_the_level_of_flumes_logger(logger: str, level: str | None) -> None:
    assert FlumeOptions(define=(f"flume.root.logger={logger}", "x")).log_level() == level


@pytest.mark.parametrize(
    ("more", "level"),
    [([], "critical"), (["-Dflume.root.logger=INFO,console"], "info")],
)
def test_log_lines_follow_flumes_logger(
    more: list[str], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[str] = []
    monkeypatch.setattr(run_, "log_to_stderr", levels.append)
    typed = ["f.conf", "-n", "a1", "--inline", "--until-drained"]
    assert run(["run", *typed, *more]) == 0
    assert run(["run", *typed, *more, "--log-level", "error"]) == 0
    assert levels == [level, "error"]
