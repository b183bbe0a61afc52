"""`rayflume tap NAME CHANNEL`: the newest rows of a channel, without taking them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._cluster import Address, Name, connected, running
from rayflume.cli._output import complain, interactive, printable, table
from rayflume.component import nearest
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.agent.cluster import RayAgent
    from rayflume.agent.tapped import Row

BODY_CHARS_MAX = 200
"""Of a body in a terminal; pipes and JSON get all of it."""


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("tap")(tap)


def tap(
    name: Name,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="One of its channels.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=100_000, help="How many.")] = 10,
    address: Address = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row.")] = False,
) -> None:
    """Show the newest rows of a channel, oldest first. They are not taken.

    Bytes that are no UTF-8 are shown as escapes. Rows may hold what not everybody should read.

    Example:  rayflume tap clickstream wal --rows 5
    """
    with connected(address):
        agent = running(name)
        _refuse_unknown(agent, channel)
        from rayflume.agent.tapped import rows_of

        found = rows_of(agent.tap(channel, rows), rows)
    if as_json:
        for row in found:
            sys.stdout.write(f"{json.dumps(as_object(row), ensure_ascii=False)}\n")
    elif found:
        table(["row", "body", "headers", "stream"], [_cells(row) for row in found])
    else:
        complain([f"the channel {channel} has no rows to show yet"])


def _refuse_unknown(agent: RayAgent, channel: str) -> None:
    components = agent.status()["components"]
    assert isinstance(components, list)
    known = [str(p["name"]) for p in components if isinstance(p, dict) and p["kind"] == "channel"]
    if channel not in known:
        hint = nearest(channel, known)
        raise ConfigError(f"the agent {agent.name} has no channel {printable(channel)!r}{hint}")


def as_object(row: Row) -> dict[str, object]:
    """A row as JSON; the body of a tombstone is null."""
    return {
        "position": row.position,
        "stream": row.stream,
        "body": row.text,
        "headers": row.headers,
    }


def _cells(row: Row) -> list[str]:
    text = "(null)" if row.text is None else printable(row.text)
    if interactive() and len(text) > BODY_CHARS_MAX:
        text = f"{text[:BODY_CHARS_MAX]} ..."
    headers = ", ".join(f"{name}={value}" for name, value in row.headers.items())
    return [str(row.position), text, printable(headers), printable(row.stream)]
