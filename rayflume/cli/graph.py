"""`rayflume graph CONF`: the configuration as a picture."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rayflume.cli._conf import FlumeOptions, for_flume, plan_of
from rayflume.cli._output import LEVEL_STYLES, console, interactive, say
from rayflume.cli.validate import AgentName, Conf, words

if TYPE_CHECKING:
    from rayflume.config import AgentPlan, PartPlan, PathGuarantee


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("graph")(graph)


@for_flume
def graph(
    conf: Conf,
    agent: AgentName = None,
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print Mermaid, for a README or a wiki.")
    ] = False,
    *,
    flume: FlumeOptions,
) -> None:
    """Draw sources, channels and sinks. Starts nothing, needs no Ray.

    In a pipe it prints one line per path.

    Example:  rayflume graph conf/clickstream.yaml --mermaid
    """
    from rayflume.config import guarantees

    plan = plan_of(conf, agent, flume)
    paths = guarantees(plan)
    if mermaid:
        lines = mermaid_lines(plan, paths)
    elif interactive():
        _draw(plan, paths)
        return
    else:
        lines = path_lines(plan, paths)
    for line in lines:
        sys.stdout.write(f"{line}\n")


def path_lines(plan: AgentPlan, paths: list[PathGuarantee]) -> list[str]:
    """One line per source -> channel -> sink."""
    lines = []
    for path in paths:
        source, channel = plan.sources[path.source], plan.channels[path.channel]
        way = f"{_source_text(source)} -> {label(channel)} -> {label(plan.sinks[path.sink])}"
        lines.append(f"{way}: {words(path.level)}")
    return lines


def label(part: PartPlan) -> str:
    """`web (taildir)`."""
    return f"{part.name} ({part.type})"


def picture(plan: AgentPlan, channel: PartPlan, width: int = 1000) -> list[str]:
    """One channel between its sources and its sinks, side by side or, if too wide, in a list."""
    sources = [_source_text(p) for p in plan.sources.values() if channel.name in p.channels]
    sinks = [label(p) for p in plan.sinks.values() if p.channel == channel.name]
    middle, room = label(channel), max(map(len, sources), default=0)
    lines = []
    for row in range(max(len(sources), len(sinks))):
        line = f"{sources[row]} ".ljust(room + 1, "─") if row < len(sources) else " " * (room + 1)
        line += _join(row, len(sources))
        line += f"─▶ {middle} " if row == 0 else " " * (len(middle) + 4)
        line += _fork(row, len(sinks))
        line += f"─▶ {sinks[row]}" if row < len(sinks) else ""
        lines.append(line.rstrip())
    if max(map(len, lines)) <= width:
        return lines
    return [middle, *(f"  ◀─ {one}" for one in sources), *(f"  ─▶ {one}" for one in sinks)]


def _join(row: int, count: int) -> str:
    """How the line of a source meets those of the others, above the channel's first row."""
    if row >= count:
        return "  "
    return "──" if count == 1 else "─┬" if row == 0 else "─┘" if row == count - 1 else "─┤"


def _fork(row: int, count: int) -> str:
    if row >= count:
        return ""
    return "──" if count == 1 else "─┬" if row == 0 else " └" if row == count - 1 else " ├"


def _source_text(part: PartPlan) -> str:
    inner = ", ".join(one.type for one in part.interceptors)
    return f"{label(part)} [{inner}]" if inner else label(part)


def _draw(plan: AgentPlan, paths: list[PathGuarantee]) -> None:
    say(plan.agent, "bold")
    for channel in plan.channels.values():
        say("")
        for line in picture(plan, channel, console().width):
            say(line)
    say("")
    for path in paths:
        style = LEVEL_STYLES[str(path.level)]
        say(f"{path.source} ▶ {path.channel} ▶ {path.sink}: {words(path.level)}", style)


def mermaid_lines(plan: AgentPlan, paths: list[PathGuarantee]) -> list[str]:
    """A Mermaid flowchart. A path whose channel is optional is dotted."""
    from rayflume.config.guarantee import required_channels

    ids = {part.name: f"p{index}" for index, part in enumerate(plan.parts())}
    lines = ["flowchart LR"]
    for part in plan.parts():
        start, end = {"channel": ("[(", ")]"), "source": ("([", "])"), "sink": ("[", "]")}[
            part.kind
        ]
        inner = "".join(f"<br/>{one.type}" for one in part.interceptors)
        lines.append(f'    {ids[part.name]}{start}"{part.name}<br/>{part.type}{inner}"{end}')
    for source in plan.sources.values():
        required = required_channels(source)
        for name in source.channels:
            arrow = "-->" if name in required else "-.->"
            lines.append(f"    {ids[source.name]} {arrow} {ids[name]}")
    for sink in plan.sinks.values():
        levels = {str(path.level) for path in paths if path.sink == sink.name}
        weakest = next((one for one in reversed(list(LEVEL_STYLES)) if one in levels), "")
        arrow = f"-->|{words(weakest)}|" if weakest else "-->"  # nothing fills the channel
        lines.append(f"    {ids[sink.channel]} {arrow} {ids[sink.name]}")
    return lines
