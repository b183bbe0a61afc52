"""`rayflume components [TYPE]`: every part, or all options of one; `--flume`: those of Flume."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rayflume.cli import _new as new_part
from rayflume.cli import _parity as parity
from rayflume.cli import _reference as reference
from rayflume.cli._output import console, interactive, say, say_json, table
from rayflume.component import FOLDERS, nearest, own_part, types_of
from rayflume.errors import ConfigError
from rayflume.flume.names import FlumePart
from rayflume.own_parts import is_dotted, make_importable


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("components")(components)


def components(
    part: Annotated[
        str | None,
        typer.Argument(
            metavar="TYPE",
            help="A type such as `parquet`, `kind.type` as `channel.memory`, or a class of your "
            "own as `my_module.MySink`.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown with all options.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write docs/components.md, docs/flume-parity.md and conf/reference/ below this "
            "directory.",
        ),
    ] = None,
    flume: Annotated[
        bool,
        typer.Option(
            "--flume", help="The parts of Apache Flume and what rayflume has of them; of one: all."
        ),
    ] = False,
    new: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Write the module of a class of your own to begin with, and a test of it: "
            "source, interceptor, selector, channel, sink or format.",
        ),
    ] = None,
) -> None:
    """List every part, or show the options of one with an example. Needs no Ray.

    Example:  rayflume components parquet
    """
    if new is not None:
        for written in new_part.write(part or "", new, Path.cwd()):
            say(f"wrote {written}")
        return
    if flume:
        _flume(part, as_json, markdown)
        return
    if write is not None:
        for path in reference.write(write):
            say(f"wrote {path}")
        return
    if part is None:
        found = reference.all_parts()
    else:
        found = [reference.describe(kind, name) for kind, name in _named(part)]
    if as_json:
        say_json([one.as_json() for one in found])
    elif markdown:
        sys.stdout.write(reference.markdown(found))
    elif part is None:
        _list(found)
    else:
        for one in found:
            _show(one)


def _flume(name: str | None, as_json: bool, markdown: bool) -> None:
    found = parity.parts() if name is None else parity.named(name)
    if as_json:
        say_json(parity.as_json(found))
    elif markdown:
        sys.stdout.write(parity.markdown())
    elif name is None:
        columns = ["kind", "Flume", "status", "rayflume", "reason or remark"]
        table(columns, parity.rows(found), {"done": "green", "never": "red", "not yet": "yellow"})
    else:
        for part in found:
            _show_flume(part)


def _show_flume(part: FlumePart) -> None:
    own = f": {part.type}" if part.type else ""
    say(f"{part.kind} {parity.title(part)} ({part.status}{own})", "bold")
    for text in (part.java_class, part.why):
        if text:
            _wrapped(text, "  ")
    say("")
    table(["property", "default", "option", "remark"], parity.property_rows(part))
    say("")


def _named(part: str) -> list[tuple[str, str]]:
    """(kind, type) of every part that the word names."""
    kind, _, name = part.lower().rpartition(".")
    if kind not in FOLDERS and is_dotted(part) and part.rpartition(".")[2][0].isupper():
        make_importable([part], Path.cwd())
        return [(own_part(part).kind, part)]
    if kind and kind not in FOLDERS:
        raise ConfigError(f"unknown kind {kind!r}{nearest(kind, list(FOLDERS))}")
    kinds = [kind] if kind else list(FOLDERS)
    found = [(one, name) for one in kinds if name in types_of(one)]
    if not found:
        known = sorted({name for one in kinds for name in types_of(one)})
        raise ConfigError(f"there is no part of type {part!r}{nearest(name, known)}")
    return found


def _list(found: list[reference.PartDoc]) -> None:
    if not interactive():
        table(["kind", "type", "what it does"], [[p.kind, p.type, p.summary] for p in found])
        return
    for kind in FOLDERS:
        rows = [[p.type, p.summary] for p in found if p.kind == kind]
        if rows:
            table([FOLDERS[kind], ""], rows)
            say("")
    say("Options of one: rayflume components TYPE", "dim")


def _show(part: reference.PartDoc) -> None:
    say(f"{part.kind} {part.type}", "bold")
    for paragraph in part.paragraphs:
        _wrapped(paragraph, "  ")
    for fact in part.facts:
        _wrapped(fact, "  ")
    say("")
    for option in sorted(part.options, key=lambda one: not one.required or "." in one.name):
        say(f"  {option.name} ({option.kind}; {option.presence})", "bold")
        _wrapped(option.text, "      ")
    say("")
    say("  Example", "bold")
    for line in part.sample.rstrip().split("\n"):
        say(f"    {line}".rstrip())
    say("")


def _wrapped(text: str, indent: str) -> None:
    if not interactive():
        say(f"{indent}{text}")
        return
    from rich.padding import Padding
    from rich.text import Text

    console().print(Padding(Text(text), (0, 0, 0, len(indent))))
