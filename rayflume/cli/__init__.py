"""The command `rayflume`. A module beside this file is a command; `_output` is what they share.

A command module has `add(app)`, which registers it. Importing one must import neither ray nor
pyarrow: what it needs it imports inside the command, so that `--help` and errors come at once.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from rayflume.cli._output import complain, interactive
from rayflume.errors import ConfigError, RayflumeError

COMMANDS = (
    "run", "start", "apply", "status", "tap", "submit", "validate", "graph", "convert",
    "components", "fsck",
    "journal", "gc", "compact", "lake", "replay",
)  # fmt: skip
"""The command modules in the order of the help text."""
DONE, FAILED, WRONG = 0, 1, 2
"""Exit codes: done, the run failed, wrong usage or configuration."""
_INTERRUPTED = 130  # what typer makes of Ctrl-C
_HELP = """Collect data with Flume's model on Ray and Arrow: sources, channels, sinks, a data lake.

Check a configuration:  rayflume validate conf/clickstream.yaml

Run it until all is read:  rayflume run conf/clickstream.yaml --until-drained

See what a part can do:  rayflume components parquet

Run an agent of Apache Flume:  rayflume run flume.conf --agent a1
"""
_UsageError = typer.BadParameter.__mro__[1]  # typer brings its own click and does not export it


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one command line. Returns the exit code; errors are sentences on stderr.

    `--debug` may stand anywhere before `--`.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    arguments = [word for i, word in enumerate(argv) if word != "--debug" or i > end]
    if not arguments:
        _called(["--help"])
        return WRONG
    try:
        return _called(arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or exit complains again
        return FAILED
    except Exception as error:
        if len(arguments) < len(argv):
            traceback.print_exc()
        return _reported(error)


def _called(arguments: Sequence[str]) -> int:
    try:
        code = build_app()(args=list(arguments), prog_name="rayflume", standalone_mode=False)
    except typer.Exit as left:
        code = left.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        complain(["interrupted"])
        return FAILED
    return code if isinstance(code, int) else DONE


def _reported(error: Exception) -> int:
    if isinstance(error, ConfigError):
        complain(error.problems or [error.message])
        if len(error.problems) > 1:
            complain([f"{len(error.problems)} problems; nothing was started"])
        return WRONG
    if isinstance(error, RayflumeError):
        complain([error.message])
        return FAILED
    if isinstance(error, _UsageError):
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context else ""
        complain([f"{error.format_message().rstrip('.')}{hint}"])  # type: ignore[attr-defined]
        return WRONG
    if isinstance(error, OSError):
        complain([f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"])
        return FAILED
    complain([f"{type(error).__name__}: {error}", "this is a bug in rayflume; --debug shows where"])
    return FAILED


def build_app() -> typer.Typer:
    """The application with all commands."""
    app = typer.Typer(
        name="rayflume",
        help=_HELP,
        rich_markup_mode="rich" if interactive() else None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    for name in COMMANDS:
        module = "run_" if name == "run" else name  # `run` is the function here
        importlib.import_module(f"rayflume.cli.{module}").add(app)
    _join_lines(app)
    return app


def _join_lines(app: typer.Typer) -> None:
    """Let a terminal fold each paragraph of the help at its own width: rich keeps line ends."""
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _join_lines(group.typer_instance)
    for command in app.registered_commands:
        paragraphs = inspect.cleandoc(command.help or command.callback.__doc__ or "").split("\n\n")
        command.help = "\n\n".join(" ".join(one.split("\n")) for one in paragraphs)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"rayflume {version('rayflume')}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (any command).")
    ] = False,
) -> None:
    """Options before the command; both are handled before any command runs."""
