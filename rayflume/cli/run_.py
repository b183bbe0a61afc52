"""`rayflume run CONF`: an agent in the foreground, with live progress."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._conf import CLUSTER, FlumeOptions, LogLevel, Where, for_flume, plan_of
from rayflume.cli._output import complain, interactive, say
from rayflume.cli._progress import Progress, log_to_stderr, summary
from rayflume.cli.validate import AgentName, Conf
from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.agent.cluster import RayAgent
    from rayflume.agent.figures import AgentFigures
    from rayflume.agent.inline import InlineAgent
    from rayflume.config import AgentPlan


@dataclass(frozen=True)
class Watched:
    """A configuration that is applied when it changes. See agent.reload.Reload."""

    file: Path
    read: Callable[[], AgentPlan]
    plan: AgentPlan
    host: bool = True
    more: tuple[Path, ...] = ()


Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDR",
        help="Ray cluster: host:port, or auto for the one of this host.",
    ),
]
Grace = Annotated[
    str,
    typer.Option(
        metavar="TIME", help="How long the first Ctrl-C or SIGTERM delivers what is read, as 60s."
    ),
]
LogLevelOption = Annotated[
    LogLevel | None,
    typer.Option(
        "--log-level",
        help="Log lines on stderr from this level on, by default critical; rows of a logger sink "
        "always.",
    ),
]


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run")(run)


@for_flume
def run(
    conf: Conf,
    agent: AgentName = None,
    address: Address = None,
    until_drained: Annotated[
        bool,
        typer.Option(
            "--until-drained", help="End once finite input is read and every row is delivered."
        ),
    ] = False,
    inline: Annotated[
        bool, typer.Option("--inline", help="All parts in this process, without Ray.")
    ] = False,
    new_journal: Annotated[
        bool,
        typer.Option(
            "--new-journal", help="Begin an empty journal where no node has the earlier one."
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="When the file changes, change the parts that differ."),
    ] = False,
    grace: Grace = "60s",
    log_level: LogLevelOption = None,
    *,
    flume: FlumeOptions,
) -> None:
    """Run an agent here until it has ended or Ctrl-C is pressed.

    The first Ctrl-C (or SIGTERM) stops reading and delivers what is in the channels, the second
    stops at once; nothing is lost either way. Exit code 1 when a part failed, and with
    --until-drained when rows were read and all of them became dead letters. With --watch a
    changed file is checked and applied as `rayflume apply` does; a bad one is refused, and the plan
    before goes on.

    Of a Flume file Flume's defaults hold; what Flume would drop is dropped, and told at the start.

    Example:  rayflume run conf/clickstream.yaml --until-drained

    Example:  rayflume run flume.conf --agent a1
    """
    if inline and (address or new_journal):
        raise typer.BadParameter("--inline has no cluster: leave out --address and --new-journal")
    if inline:
        from rayflume.agent.lean import spare_pandas

        spare_pandas()
    grace_ms = grace_of(grace)
    from rayflume.flume.grammar import is_flume

    plan = plan_of(conf, agent, flume, where=CLUSTER if address else None)
    here = inline or address is None
    where = CLUSTER if address else None if inline else Where(variables=frozenset(os.environ))
    read = partial(plan_of, conf, plan.agent, flume, where=where)
    reload = Watched(conf, read, plan, here, flume.conf_file) if watch else None
    # Of a part that can never start --until-drained would wait for the end.
    patient = not (flume.strict or until_drained) and is_flume(conf)
    if here:
        refuse_host(plan, patient=patient)
    log_to_stderr(log_level or flume.log_level() or "critical")
    with interrupting_sigterm():
        if inline:
            from rayflume.agent.inline import InlineAgent

            inline_agent = InlineAgent(plan, until_drained=until_drained).start()
            figures = followed(inline_agent, grace_ms, reload)
        else:
            figures = _on_ray(
                plan, address, (until_drained, new_journal), (grace_ms, reload), patient
            )
    if until_drained:
        refuse_all_dead(figures)


def _on_ray(
    plan: AgentPlan,
    address: str | None,
    wanted: tuple[bool, bool],
    following: tuple[int, Watched | None],
    patient: bool,
) -> AgentFigures:
    from rayflume.agent.plan_store import Record

    where = f"connecting to Ray at {address}" if address else "starting Ray on this machine"
    say(f"{where}, this takes up to 20 s", "dim" if interactive() else "")
    from rayflume.agent import cluster
    from rayflume.agent.placement import alive_nodes

    modules = plan.modules() if address else ()
    # Rows of a logger sink are to be seen; they are log lines of the process that has the sink.
    logs = any(sink.type == "logger" for sink in plan.sinks.values())
    cluster.connect(address, log_to_driver=logs, modules=modules)
    try:
        if address is not None and len(alive_nodes()) == 1:
            refuse_host(plan, patient=patient)
        record = Record(plan, until_drained=wanted[0], new_journal=wanted[1])
        running = cluster.start_agent(record, detached=False)
        try:
            return followed(running, *following)
        finally:
            running.close()
    finally:
        cluster.disconnect()


def followed(
    agent: InlineAgent | RayAgent, grace_ms: int, watched: Watched | None = None
) -> AgentFigures:
    """Show progress until the agent has ended, then the summary; its last figures. `watched`: apply
    that file each time it changes. Raises Exit(1) when the agent failed.
    """
    from rayflume.agent.follow import Follow, Follower, Signals
    from rayflume.clock import SystemClock

    with (
        Progress() as progress,
        Signals().caught() as signals,
        _reloading(agent, watched, progress.say) as look,
    ):
        options = Follow(progress.show, progress.say, grace_ms, look=look)
        figures = Follower(agent, options, SystemClock()).run(signals)
    ended(figures)
    return figures


@contextmanager
def _reloading(
    agent: InlineAgent | RayAgent, watched: Watched | None, say: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """What is to be called now and then, so that changes of the file are applied."""
    if watched is None:
        yield lambda: None
        return
    from rayflume.agent.reload import Reload, Reloader

    reload = Reload(watched.file, watched.read, say, watched.plan, watched.host, watched.more)
    reloader = Reloader(agent, reload)
    try:
        yield reloader.look
    finally:
        reloader.close()


def ended(figures: AgentFigures) -> None:
    """Say how an agent ended. Raises Exit(1) when it failed."""
    from rayflume.agent.follow import outcome

    state = outcome(figures.status)
    failed = ", ".join(f"{part.kind} {part.name}" for part in figures.failed())
    styles = {"failed": "bold red", "drained": "bold green"}
    say(f"{figures.agent}: {state}{f' ({failed})' if failed else ''}", styles.get(state, "bold"))
    summary(figures)
    if state not in ("drained", "stopped"):
        complain([f"the agent {figures.agent} failed{f': {failed}' if failed else ''}"])
        raise typer.Exit(1)


def refuse_all_dead(figures: AgentFigures) -> None:
    """Raises Exit(1) when rows were read and all of them are dead letters: what was asked for has
    not been done, and a script must notice.
    """
    if figures.all_dead:
        complain([f"no row was delivered: all {figures.dead:,} are dead letters"])
        raise typer.Exit(1)


def refuse_host(plan: AgentPlan, *, patient: bool = False) -> None:
    """Raises ConfigError for all that is wrong on this host, before anything starts.

    `patient`: where the rest of the agent has work it is only told, and the parts are tried again.
    """
    from rayflume.config import can_wait, host_problems_of

    found = host_problems_of(plan)
    problems = [str(one) for one in found]
    if found and patient and can_wait(plan, found):
        waiting = ", ".join(dict.fromkeys(one.where for one in found))
        complain(
            [f"{plan.agent} waits with {waiting}, tried again and again as in Flume:", *problems]
        )
    elif found:
        raise ConfigError("\n".join(problems), problems=tuple(problems))


def grace_of(text: str) -> int:
    """Milliseconds of `--grace`; a bare number is seconds."""
    from rayflume.units import parse_millis

    try:
        return int(text) * 1000 if text.isdigit() else parse_millis(text)
    except ValueError as error:
        raise typer.BadParameter(f"--grace: {error}") from None


@contextmanager
def interrupting_sigterm() -> Iterator[None]:
    """Until progress is shown, SIGTERM ends a command as Ctrl-C does, with all cleaning up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
