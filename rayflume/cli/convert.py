"""`rayflume convert FLUME.properties`: the YAML of a Flume agent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rayflume.cli._conf import FlumeOptions, flume_file, for_flume
from rayflume.cli._output import complain
from rayflume.cli.validate import AgentName
from rayflume.errors import ConfigError


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("convert")(convert)


@for_flume
def convert(
    conf: Annotated[Path, typer.Argument(metavar="CONF", help="A Flume file.")],
    agent: AgentName = None,
    *,
    flume: FlumeOptions,
) -> None:
    """Print a Flume agent as YAML; comments say what could not be carried.

    Without --agent all agents of the file are printed, as documents parted by `---`. The exit code
    is 2 when an agent could not run (or, with --strict, when anything would be other than in
    Flume); what can be converted is printed nevertheless.

    Example:  rayflume convert flume.conf --agent a1 > a1.yaml

    Example:  rayflume convert base.conf -f site.conf -D region=eu
    """
    from rayflume.flume.grammar import is_flume
    from rayflume.flume.read import findings_of, refused
    from rayflume.flume.yaml_text import yaml_text

    if not is_flume(conf) and conf.is_file():
        raise ConfigError(f"{conf} is no Flume file: it lists no AGENT.sources, AGENT.channels")
    file = flume_file(conf, flume)
    chosen = [file.chosen(agent)] if agent else list(file.agents.values())
    texts = [yaml_text(one, findings_of(file, one.name), file.files) for one in chosen]
    sys.stdout.write("---\n".join(texts))
    wrong = [finding for one in chosen for finding in refused(file, one.name, flume.strict)]
    if wrong:
        complain([str(finding) for finding in wrong])
        raise typer.Exit(2)
