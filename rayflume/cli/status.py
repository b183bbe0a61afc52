"""`rayflume status [NAME]`: agents of a cluster and how they do."""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._cluster import Address, connected, running
from rayflume.cli._output import console, interactive, printable, say, say_json, table
from rayflume.cli._progress import COLUMNS, dead_letters, grid, line, part_cells
from rayflume.cli.validate import AsJson
from rayflume.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rayflume.agent.cluster import RayAgent
    from rayflume.agent.figures import AgentFigures, Meter
    from rayflume.interfaces import Json

SAMPLE_S = 1.0
"""Rates need two looks that far apart."""
WATCH_S = 2.0


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("status")(status)


def status(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One agent; all without it.")
    ] = None,
    address: Address = "auto",
    as_json: AsJson = False,
    detail: Annotated[
        bool, typer.Option("--detail", help="With --json: also what parts say of themselves.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s, until Ctrl-C.")] = False,
) -> None:
    """Show the parts of running agents: where they run, rates, backlog, last error.

    JSON is one document per agent, one line each with --watch.

    Example:  rayflume status clickstream --json
    """
    with connected(address):
        try:
            if as_json:
                _print_json(name, detail, watch)
            else:
                _show(name, watch)
        except KeyboardInterrupt:
            if not watch:
                raise


def _agents(name: str | None) -> list[RayAgent]:
    from rayflume.agent import cluster

    if name is not None:
        return [running(name)]
    found = (cluster.find_agent(one) for one in cluster.agents())
    return [agent for agent in found if agent is not None]


def _print_json(name: str | None, detail: bool, watch: bool) -> None:
    from rayflume.agent.api import exact

    while True:
        for agent in _agents(name):
            shown = exact(agent.status(), detail=detail)
            if watch:
                sys.stdout.write(f"{json.dumps(shown, ensure_ascii=False)}\n")
                sys.stdout.flush()
            else:
                say_json(shown)
        if not watch:
            return
        _pause(WATCH_S)


def _show(name: str | None, watch: bool) -> None:
    from rayflume.agent.figures import Meter
    from rayflume.clock import SystemClock

    clock = SystemClock()
    meters: dict[str, Meter] = {}
    first = True
    while True:
        figures = []
        for agent in _agents(name):
            now_ms = clock.monotonic_ms()
            meter = meters.setdefault(agent.name, Meter(now_ms))
            figures.append(meter.read(agent.status(), clock.monotonic_ms()))
        if first and figures:
            first = False
            _pause(SAMPLE_S)
            continue
        if not figures:
            say("no agent runs on this cluster; `rayflume start CONF` starts one")
        if watch and interactive():
            sys.stdout.write("\x1b[H\x1b[2J")
        for one in figures:
            _table(one, brief=watch and not interactive())
        sys.stdout.flush()
        if not watch:
            return
        _pause(WATCH_S)


def _table(figures: AgentFigures, *, brief: bool) -> None:
    if brief:
        say(line(figures))
        return
    _, speed = figures.rate("source")
    say(f"{figures.agent}: {figures.state}, reading {format_bytes(speed)}/s", "bold")
    more = ["restarts", "node", "pid", "type"]
    rows = [
        [*part_cells(part), str(part.restarts), part.node[:8], str(part.pid), part.type]
        for part in figures.parts
    ]
    if interactive():
        # What fits the width of a terminal; all of it is in a pipe and in the JSON.
        narrow = [*COLUMNS, *more]
        kept = [i for i, name in enumerate(narrow) if name not in ("in", "out", "errors", "type")]
        shown = [[row[i] for i in kept] for row in rows]
        console().print(grid([narrow[i] for i in kept], shown))
    else:
        table([*COLUMNS, *more], rows)
    for text in watermarks(figures.status):
        say(text)
    for text in dead_letters(figures):
        say(text, "yellow")
    for part in figures.parts:
        if part.last_error:
            say(f"{part.kind} {part.name}/{part.replica}: {printable(part.last_error)}", "red")


def watermarks(status: Mapping[str, Json]) -> Iterator[str]:
    """Of every sink that marks complete partitions: how far it is, a line each."""
    components = status.get("components")
    for part in components if isinstance(components, list) else ():
        detail = part.get("detail") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(detail, dict) or "watermark" not in detail:
            continue
        held, oldest = detail["held_by"], detail["oldest_open_partition"]
        who = ", ".join(str(name) for name in held) if isinstance(held, list) else ""
        yield printable(
            f"sink {part['name']}: watermark {detail['watermark'] or 'not known yet'}"
            f"{f' (held by {who})' if who else ''}, "
            f"oldest partition not complete: {oldest or 'none'}"
        )


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
