"""`rayflume validate CONF`: all that is wrong with a configuration, or what it promises."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._conf import FlumeOptions, flume_file, for_flume, refuse_for_yaml
from rayflume.cli._output import LEVEL_STYLES, printable, say, say_json, table
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.config import AgentPlan, PartPlan, PathGuarantee

Conf = Annotated[
    Path, typer.Argument(metavar="CONF", help="The configuration: YAML, or a Flume file.")
]
AgentName = Annotated[
    str | None,
    typer.Option(
        "--agent", "-a", "--name", "-n", metavar="NAME",
        help="Which agent, if the file has several.",
    ),
]  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("validate")(validate)


@for_flume
def validate(
    conf: Conf,
    agent: AgentName = None,
    as_json: AsJson = False,
    host: Annotated[
        bool,
        typer.Option(
            "--host/--no-host",
            help="Look at the directories and files of this host, and ask stores, too.",
        ),
    ] = True,
    *,
    flume: FlumeOptions,
) -> None:
    """Check a configuration and show what it promises. Starts nothing, needs no Ray.

    Every problem is named with its file and line; the exit code is then 2. Of a Flume file all
    that is dropped, ignored or other than in Flume is printed; the exit code is 2 when an agent
    could not run, or with --strict.

    Example:  rayflume validate conf/clickstream.yaml

    Example:  rayflume validate flume.conf --agent a1 --strict
    """
    from rayflume.config import advice, check_host, guarantees, load
    from rayflume.flume.grammar import is_flume

    if is_flume(conf):
        from rayflume.cli._flume import validated

        validated(flume_file(conf, flume), agent, Wanted(as_json, host, flume.strict))
        return
    try:
        refuse_for_yaml(flume)
        plan = load(conf, agent)
        problems = check_host(plan) if host else []
        if problems:
            raise ConfigError("\n".join(problems), problems=tuple(problems))
    except ConfigError as error:
        if not as_json:
            raise
        say_json({"ok": False, "problems": list(error.problems or [error.message])})
        raise typer.Exit(2) from None
    paths, advised = guarantees(plan), advice(plan)
    if as_json:
        say_json(plan_as_json(plan, paths) | {"advice": advised})
    else:
        show(plan, paths)
        for text in advised:
            say("")
            say(printable(text), "yellow")


@dataclass(frozen=True)
class Wanted:
    """What was asked of `validate`."""

    as_json: bool
    host: bool
    strict: bool


def plan_as_json(plan: AgentPlan, paths: list[PathGuarantee]) -> dict[str, object]:
    """A plan that is right, and what it promises."""
    from rayflume.config import expected_files

    keys = ("source", "channel", "sink", "level", "reason")
    return {
        "ok": True,
        "problems": [],
        "agent": plan.agent,
        "parts": [
            {"name": p.name, "kind": p.kind, "type": p.type, "line": p.line} for p in plan.parts()
        ],
        "guarantees": [{key: str(getattr(path, key)) for key in keys} for path in paths],
        "files": expected_files(plan),
    }


def show(plan: AgentPlan, paths: list[PathGuarantee], *, whole: bool = True) -> None:
    """Print the parts of a plan and what it promises. Not `whole`: without parts of its file."""
    from rayflume.config import expected_files

    if whole:
        say(f"OK: {plan.file} is a valid configuration of the agent {plan.agent}", "bold green")
    else:
        say(f"what is left of the agent {plan.agent} of {plan.file}:", "bold yellow")
    say("")
    rows = [[p.name, p.kind, p.type, _to(p), placed(p), str(p.line)] for p in plan.parts()]
    table(["part", "kind", "type", "channel", "runs", "line"], rows)
    say("")
    if not paths:
        say("no row can come from a source to a sink", "yellow")
        return
    table(
        ["path", "guarantee", "because"],
        [[f"{p.source} > {p.channel} > {p.sink}", words(p.level), p.reason] for p in paths],
        {words(level): style for level, style in LEVEL_STYLES.items()},
    )
    files = expected_files(plan)
    if files:
        say("")
    for sink, sentence in files.items():
        say(printable(f"files of {sink}: {sentence}"))


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
