"""`rayflume validate CONF`: all that is wrong with a configuration, or what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._output import LEVEL_STYLES, say, say_json, table
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.config import AgentPlan, PartPlan, PathGuarantee

Conf = Annotated[Path, typer.Argument(metavar="CONF", help="The configuration, a YAML file.")]
AgentName = Annotated[
    str | None,
    typer.Option("--agent", "-a", metavar="NAME", help="Which agent, if the file has several."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("validate")(validate)


def validate(
    conf: Conf,
    agent: AgentName = None,
    as_json: AsJson = False,
    host: Annotated[
        bool,
        typer.Option(
            "--host/--no-host",
            help="Look at directories and ports of this host, too.",
        ),
    ] = True,
) -> None:
    """Check a configuration and show what it promises. Starts nothing, needs no Ray.

    Every problem is named with its file and line; the exit code is then 2.

    Example:  rayflume validate conf/clickstream.yaml
    """
    from rayflume.config import check_host, guarantees, load

    try:
        plan = load(conf, agent)
        problems = check_host(plan) if host else []
        if problems:
            raise ConfigError("\n".join(problems), problems=tuple(problems))
    except ConfigError as error:
        if not as_json:
            raise
        say_json({"ok": False, "problems": list(error.problems or [error.message])})
        raise typer.Exit(2) from None
    paths = guarantees(plan)
    if as_json:
        say_json(_as_json(plan, paths))
    else:
        _show(plan, paths)


def _as_json(plan: AgentPlan, paths: list[PathGuarantee]) -> dict[str, object]:
    keys = ("source", "channel", "sink", "level", "reason")
    return {
        "ok": True,
        "problems": [],
        "agent": plan.agent,
        "parts": [
            {"name": p.name, "kind": p.kind, "type": p.type, "line": p.line} for p in plan.parts()
        ],
        "guarantees": [{key: str(getattr(path, key)) for key in keys} for path in paths],
    }


def _show(plan: AgentPlan, paths: list[PathGuarantee]) -> None:
    say(f"OK: {plan.file} is a valid configuration of the agent {plan.agent}", "bold green")
    say("")
    rows = [[p.name, p.kind, p.type, _to(p), placed(p), str(p.line)] for p in plan.parts()]
    table(["part", "kind", "type", "channel", "runs", "line"], rows)
    say("")
    table(
        ["path", "guarantee", "because"],
        [[f"{p.source} > {p.channel} > {p.sink}", words(p.level), p.reason] for p in paths],
        {words(level): style for level, style in LEVEL_STYLES.items()},
    )


def words(level: str) -> str:
    """A level as people say it."""
    return str(level).replace("_", " ")


def placed(part: PartPlan) -> str:
    """Where and how often the part runs, in a few words."""
    placement = part.placement
    found = "on every node" if placement.per_node else f"{placement.replicas}x"
    if isinstance(placement.node, str):
        found += f" on {placement.node}"
    elif placement.node:
        found += " where " + ", ".join(f"{k}={v}" for k, v in placement.node.items())
    return found + (" spread" if placement.spread else "")


def _to(part: PartPlan) -> str:
    return ", ".join(part.channels)
