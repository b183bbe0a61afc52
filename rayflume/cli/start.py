"""`rayflume start CONF`, `stop NAME`, `drain NAME`: detached agents on a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._cluster import Address, Name, connected, running
from rayflume.cli._conf import CLUSTER, FlumeOptions, for_flume, plan_of
from rayflume.cli._output import complain, say
from rayflume.cli._progress import Progress
from rayflume.cli.run_ import ended, refuse_host
from rayflume.cli.validate import AgentName, Conf

if TYPE_CHECKING:
    from rayflume.agent.cluster import RayAgent
    from rayflume.agent.figures import AgentFigures

_STARTING = ("wanted", "starting")
START_WAIT_MS = 120_000


def add(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("drain")(drain)


@for_flume
def start(
    conf: Conf,
    agent: AgentName = None,
    address: Address = "auto",
    until_drained: Annotated[
        bool,
        typer.Option(
            "--until-drained", help="End once finite input is read and every row is delivered."
        ),
    ] = False,
    new_journal: Annotated[
        bool,
        typer.Option(
            "--new-journal", help="Begin an empty journal where no node has the earlier one."
        ),
    ] = False,
    *,
    flume: FlumeOptions,
) -> None:
    """Start an agent on a Ray cluster and leave it running there.

    Local paths must not be relative, for the parts run wherever Ray places them.

    Example:  rayflume start conf/clickstream.yaml --address 10.0.0.1:6379

    Example:  rayflume start flume.conf --agent a1
    """
    from rayflume.agent.paths import refuse_relative

    plan = plan_of(conf, agent, flume, where=CLUSTER)
    refuse_relative(plan)
    with connected(address, plan.modules()):
        from rayflume.agent import cluster
        from rayflume.agent.placement import alive_nodes
        from rayflume.agent.plan_store import Record

        if len(alive_nodes()) == 1:
            refuse_host(plan)
        record = Record(plan, until_drained=until_drained, new_journal=new_journal)
        _await_start(cluster.start_agent(record, detached=True))


def _await_start(agent: RayAgent) -> None:
    """Return when every part runs. Raises Exit(1) when one failed or does not come up."""
    from rayflume.agent.figures import Meter
    from rayflume.agent.follow import sentence
    from rayflume.clock import SystemClock

    clock = SystemClock()
    meter = Meter(clock.monotonic_ms())
    while True:
        done = agent.join(0.5)
        figures = meter.read(agent.status(), clock.monotonic_ms())
        late = [part for part in figures.parts if part.state in _STARTING]
        if done or not late or figures.elapsed_ms > START_WAIT_MS:
            break
    wrong = [part for part in figures.parts if part.last_error or part in late]
    complain([sentence(part) for part in wrong])
    if figures.failed() or late:
        complain([f"`rayflume stop {agent.name}` ends the agent"])
        raise typer.Exit(1)
    say(f"{agent.name} is {figures.state}: {len(figures.parts)} parts", "bold green")
    say(
        f"rayflume status {agent.name}    rayflume drain {agent.name}    rayflume stop {agent.name}"
    )


def stop(name: Name, address: Address = "auto") -> None:
    """Stop an agent at a batch boundary; what is not delivered stays in its channels.

    Example:  rayflume stop clickstream
    """
    with connected(address):
        agent = running(name)
        agent.stop()
        ended(_followed(agent))


def drain(
    name: Name,
    address: Address = "auto",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the end, with progress.")
    ] = True,
) -> None:
    """Let an agent read to the present end of its input, deliver all of it, and end.

    Ctrl-C stops the waiting, not the draining.

    Example:  rayflume drain clickstream
    """
    with connected(address):
        agent = running(name)
        agent.drain()
        if not wait:
            say(f"{name} is draining; `rayflume status {name}` shows how far it is")
            return
        ended(_followed(agent))


def _followed(agent: RayAgent) -> AgentFigures:
    from rayflume.agent.follow import Follow, Follower, Signals
    from rayflume.clock import SystemClock

    with Progress() as progress, Signals().caught() as signals:
        options = Follow(progress.show, progress.say, owner=False)
        figures = Follower(agent, options, SystemClock()).run(signals)
    agent.close()
    return figures
