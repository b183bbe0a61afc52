"""The command line itself: exit codes, errors as sentences, no heavy imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

import rayflume.cli
from rayflume.cli import build_app, run
from rayflume.errors import ConfigError, RayflumeError, StorageDenied

Captured = pytest.CaptureFixture[str]


def test_no_command_that_needs_no_ray_imports_it(tmp_path: Path) -> None:
    conf = tmp_path / "agent.yaml"
    conf.write_text("agent: a\n")
    script = f"""
import sys
import rayflume.cli
heavy = {{"ray", "pyarrow", "numpy", "pandas", "aiohttp"}} & set(sys.modules)
assert not heavy, f"import rayflume.cli imports {{heavy}}"
assert rayflume.cli.run(["--help"]) == 0
heavy = {{"ray", "pyarrow", "numpy", "pandas", "aiohttp"}} & set(sys.modules)
assert not heavy, f"--help imports {{heavy}}"
assert rayflume.cli.run(["components"]) == 0
assert rayflume.cli.run(["components", "--markdown"]) == 0
assert rayflume.cli.run(["validate", {str(conf)!r}]) == 2
assert rayflume.cli.run(["graph", {str(conf)!r}]) == 2
assert "ray" not in sys.modules, "ray was imported"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_python_m_rayflume_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rayflume", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("rayflume 0.")


def test_help_shows_every_command_with_an_example(capsys: Captured) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for command in rayflume.cli.COMMANDS:
        assert f"\n  {command} " in text
        assert run([command, "--help"]) == 0
        assert f"Example:  rayflume {command}" in capsys.readouterr().out


def test_a_terminal_folds_the_paragraphs_of_the_help_and_not_the_lines_of_the_source() -> None:
    def all_of(app: typer.Typer) -> list[str]:
        texts = [command.help or "" for command in app.registered_commands]
        for group in app.registered_groups:
            texts += all_of(group.typer_instance) if group.typer_instance else []
        return texts

    texts = all_of(build_app())
    assert len(texts) > len(rayflume.cli.COMMANDS)
    for text in texts:
        assert text and all("\n" not in paragraph for paragraph in text.split("\n\n"))


def test_without_a_command_the_help_is_shown_and_the_usage_is_wrong(capsys: Captured) -> None:
    assert run([]) == 2
    assert "Usage: rayflume" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bogus"], "rayflume: No such command 'bogus' (see `rayflume --help`)\n"),
        (["graph"], "rayflume: Missing argument 'CONF' (see `rayflume graph --help`)\n"),
        (["graph", "--x", "c"], "rayflume: No such option: --x (see `rayflume graph --help`)\n"),
        (["graph", "none.yaml"], "rayflume: cannot read none.yaml: No such file or directory\n"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(
    arguments: list[str], message: str, capsys: Captured
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("bad"), 2, "rayflume: bad\n"),
        (
            ConfigError("x", problems=("c.yaml:1: a", "b")),
            2,
            "c.yaml:1: a\nrayflume: b\nrayflume: 2 problems; nothing was started\n",
        ),
        (StorageDenied("no"), 1, "rayflume: no\n"),
        (RayflumeError("esc\x1b[31m"), 1, "rayflume: esc\\x1b[31m\n"),
        (FileNotFoundError(2, "No such file", "f"), 1, "rayflume: No such file: f\n"),
        (KeyboardInterrupt(), 1, "rayflume: interrupted\n"),
        (
            ValueError("odd"),
            1,
            "rayflume: ValueError: odd\nrayflume: this is a bug in rayflume; --debug shows where\n",
        ),
    ],
)
def test_errors_of_a_command(
    error: BaseException, code: int, message: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr("rayflume.config.load", failing)
    assert run(["graph", "c.yaml"]) == code
    assert capsys.readouterr().err == message


def test_debug_shows_the_traceback_wherever_it_stands(capsys: Captured) -> None:
    for arguments in (["--debug", "graph", "none.yaml"], ["graph", "none.yaml", "--debug"]):
        assert run(arguments) == 2
        text = capsys.readouterr().err
        assert "Traceback" in text
        assert text.endswith("rayflume: cannot read none.yaml: No such file or directory\n")


def test_a_closed_pipe_is_no_error() -> None:
    command = f"'{sys.executable}' -m rayflume components --markdown | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""
