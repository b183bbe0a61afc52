"""`rayflume apply CONF`: another plan for a running agent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._cluster import Address, connected, running
from rayflume.cli._conf import CLUSTER, FlumeOptions, for_flume, plan_of
from rayflume.cli._output import say
from rayflume.cli.validate import AgentName, Conf

if TYPE_CHECKING:
    from rayflume.agent.cluster import RayAgent
    from rayflume.config import AgentPlan

_LOOK_S = 0.5


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("apply")(apply)


@for_flume
def apply(
    conf: Conf,
    agent: AgentName = None,
    address: Address = "auto",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until all parts have changed.")
    ] = True,
    *,
    flume: FlumeOptions,
) -> None:
    """Change a running agent to what a configuration says, without stopping it.

    Only parts that differ start anew, at batch boundaries; no row is lost or doubled. What cannot
    be done now (dropping a channel that holds rows, ...) is refused with what to do, and nothing
    has changed then. Ctrl-C stops the waiting, not the change.

    Example:  rayflume apply conf/clickstream.yaml
    """
    plan = plan_of(conf, agent, flume, where=CLUSTER)
    with connected(address):
        found = running(plan.agent)
        _announce(plan)
        found.apply(plan)
        if not wait:
            say(f"{plan.agent} is changing; `rayflume status {plan.agent}` shows how far it is")
            return
        _await(found)
        say(f"{plan.agent} runs as {plan.file} says", "bold green")


def _announce(plan: AgentPlan) -> None:
    """Say what will change, and refuse paths that mean nothing on a cluster."""
    from rayflume.agent.changes import changes
    from rayflume.agent.paths import refuse_relative, relative_paths
    from rayflume.agent.placement import store

    record = store().load(plan.agent)
    if record is None:
        return
    if not relative_paths(record.plan):
        refuse_relative(plan)
    for line in changes(record.plan, plan).lines():
        say(line)


def _await(agent: RayAgent) -> None:
    pause, told = threading.Event(), ""
    while waiting := agent.renewing():
        pause.wait(_LOOK_S)
        if (text := "; ".join(waiting)) != told:
            say(text, "dim")
        told = text
