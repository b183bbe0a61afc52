"""`rayflume replay DEAD_LETTERS --config CONF`: rows that failed, into the lake again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._output import complain, printable, say
from rayflume.cli.run_ import followed, grace_of, interrupting_sigterm, refuse_host
from rayflume.cli.validate import AgentName

if TYPE_CHECKING:
    from rayflume.agent.figures import AgentFigures
    from rayflume.agent.replay import Replay


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("replay")(replay)


def replay(
    dead_letters: Annotated[
        str,
        typer.Argument(
            metavar="DEAD_LETTERS",
            help="A lake, its folder of dead letters, or one file of it.",
        ),
    ],
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="CONF", help="The configuration, a YAML file."),
    ],
    agent: AgentName = None,
    sink: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The sink that gets the rows, if it is not plain which."),
    ] = None,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How long the first Ctrl-C delivers what is read.")
    ] = "60s",
) -> None:
    """Deliver dead letters again, with bodies and headers as they were, each row once.

    Mend the configuration first. A replay may be killed and started again, or run twice: a file is
    replayed once. Rows that fail again are dead letters again, for the next replay. The files stay
    where they are. Needs no Ray; an agent that writes to the lake may go on.

    Example:  rayflume replay lake/clicks --config conf/clickstream.yaml
    """
    from rayflume.agent.inline import InlineAgent
    from rayflume.agent.lean import spare_pandas
    from rayflume.agent.replay import choose, mark_done, prepare
    from rayflume.flume.read import load

    spare_pandas()
    grace_ms = grace_of(grace)
    plan = load(config, agent)
    chosen = choose(plan, dead_letters, sink)
    found = prepare(plan, chosen)
    complain(found.elsewhere)
    if not found.files:
        say(f"nothing to replay: {chosen.lake} has no dead letters that were not replayed already")
        return
    refuse_host(found.plan)
    begun = f", {found.resumed} of them begun by an earlier run" if found.resumed else ""
    say(printable(f"{len(found.files)} files of dead letters go to {chosen.sink.name}{begun}"))
    with interrupting_sigterm():
        figures = followed(InlineAgent(found.plan, until_drained=True).start(), grace_ms)
    if all_committed(figures):
        mark_done(found)
    _say_outcome(found, figures)


def all_committed(figures: AgentFigures) -> bool:
    """Every row of every file is committed: none is left in a file, none in the journal."""
    components = figures.status["components"]
    left = [
        part["detail"].get("files_left")
        for part in (components if isinstance(components, list) else ())
        if isinstance(part, dict) and part["kind"] == "source" and isinstance(part["detail"], dict)
    ]
    return figures.state == "drained" and left == [0]


def _say_outcome(found: Replay, figures: AgentFigures) -> None:
    run = " in this run" if found.resumed else ""
    say(f"{figures.rows_delivered:,} rows are in the lake now{run}")
    if figures.dead:
        say(
            f"{figures.dead:,} rows went to the dead letters again; "
            "look at their reasons, mend the configuration and replay once more"
        )
    if not all_committed(figures):
        complain(["not all was replayed: run the same command again, it goes on where it was"])
        raise typer.Exit(1)
