"""`rayflume gc CONF`: delete staged files that nobody will publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._output import printable, say, say_json, table
from rayflume.cli.validate import AgentName, AsJson, Conf
from rayflume.units import format_bytes

if TYPE_CHECKING:
    from rayflume.agent.garbage import Looked, Staged


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("gc")(gc)


def gc(
    conf: Conf,
    agent: AgentName = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be deleted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete staged files of an agent's sinks that nobody will publish. Needs no Ray.

    Sinks do so by themselves, at their start and every quarter of an hour. Only files of the
    journals that lie on this host are judged, never another's. While the agent runs, what its
    present life has open is left alone.

    Example:  rayflume gc conf/clickstream.yaml --dry-run
    """
    from rayflume.agent.garbage import collect
    from rayflume.agent.lean import spare_pandas
    from rayflume.flume.read import load

    spare_pandas()
    looked = list(collect(load(conf, agent), dry_run=dry_run))
    if as_json:
        say_json([_as_object(one, dry_run) for one in looked])
        return
    garbage = [(one, staged) for one in looked for staged in one.garbage]
    if garbage:
        cells = [
            [printable(one.sink), staged.delivery, _size(staged), printable(_name(staged))]
            for one, staged in garbage
        ]
        table(["sink", "delivery", "size", "staged"], cells)
    for one in looked:
        say(_sentence(one))
    size = format_bytes(sum(staged.size or 0 for _, staged in garbage))
    done = "would be deleted" if dry_run else "deleted"
    say(f"{len(garbage):,} staged files ({size}) {done}")


def _sentence(one: Looked) -> str:
    if one.why:
        return printable(f"{one.sink}: not judged: {one.why}")
    by = f"; the journal is in use by {one.owner}" if one.owner else ""
    return printable(f"{one.sink}: {one.kept:,} staged files are kept{by}")


def _size(staged: Staged) -> str:
    return "" if staged.size is None else format_bytes(staged.size)


def _name(staged: Staged) -> str:
    return str(staged.handle.get("staged") or staged.handle.get("target") or "")


def _as_object(one: Looked, dry_run: bool) -> dict[str, object]:
    return {
        "sink": one.sink,
        "journal": one.journal or None,
        "in_use_by": one.owner or None,
        "not_judged": one.why or None,
        "kept": one.kept,
        "deleted": not dry_run,
        "garbage": [
            {"delivery": staged.delivery, "size": staged.size, "staged": _name(staged)}
            for staged in one.garbage
        ],
    }
