"""What must hold between the parts of a plan. Pure: a plan -> (path in the file, sentence)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from rayflume.component import lookup, nearest
from rayflume.config.guarantee import Level, guarantees
from rayflume.config.load import KeyPath
from rayflume.config.parts import component_of
from rayflume.config.plan import AgentPlan, PartPlan
from rayflume.errors import ConfigError

Problem = tuple[KeyPath, str]
Environ = Mapping[str, str] | None


@runtime_checkable
class ChecksChannels(Protocol):
    """A selector whose options name channels."""

    def check_channels(self, channels: Sequence[str]) -> list[str]:
        """What is wrong with them for a source with these channels, a sentence each."""
        ...


def wiring(plan: AgentPlan, environ: Environ = None, partial: bool = False) -> Iterator[Problem]:
    """All that is wrong between the parts, but for the guarantee.

    `partial`: a channel may lack sources or sinks.
    """
    yield from _unique_names(plan)
    if plan.channels:
        yield from _references(plan)
        yield from () if partial else _orphans(plan)
    for source in plan.sources.values():
        yield from _selected(source, environ)
        yield from _alone(source)
    for channel in plan.channels.values():
        yield from _placed(channel, plan)


def promises(plan: AgentPlan, environ: Environ = None) -> Iterator[Problem]:
    """Paths weaker than the wanted guarantee. Only for a plan that is right otherwise."""
    for path in guarantees(plan, environ) if plan.guarantee else ():
        if path.level.rank < Level(plan.guarantee).rank:
            way = f"{path.source} -> {path.channel} -> {path.sink}"
            text = f"{way} is only {path.level}: {path.reason}; change that part or ask for less"
            yield ("guarantee",), text


def _unique_names(plan: AgentPlan) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for part in plan.parts():
        if part.name in first:
            text = f"the name is taken by {first[part.name]}; give every part its own"
            yield (f"{part.kind}s", part.name), text
        first.setdefault(part.name, part.where)


def _references(plan: AgentPlan) -> Iterator[Problem]:
    for part in (*plan.sources.values(), *plan.sinks.values()):
        key = "channel" if part.kind == "sink" else "channels"
        for name in part.channels:
            if name not in plan.channels:
                text = f"there is no channel {name!r}{nearest(name, list(plan.channels))}"
                yield (f"{part.kind}s", part.name, key), text


def _orphans(plan: AgentPlan) -> Iterator[Problem]:
    fed = {name for source in plan.sources.values() for name in source.channels}
    emptied = {sink.channel for sink in plan.sinks.values()}
    for name in plan.channels:
        if name not in fed and plan.sources:
            text = "no source writes to it; name it in the `channels` of a source, or remove it"
            yield ("channels", name), text
        if name not in emptied and plan.sinks:
            text = "no sink reads from it; name it as the `channel` of a sink, or remove it"
            yield ("channels", name), text


def _selected(source: PartPlan, environ: Environ) -> Iterator[Problem]:
    if source.selector is None or not source.selector.type:
        return
    try:
        options = component_of(source.selector, environ)
    except ConfigError:
        return  # reported with its place already
    if isinstance(options, ChecksChannels) and source.channels:
        for text in options.check_channels(source.channels):
            yield ("sources", source.name, "selector"), text


def _alone(source: PartPlan) -> Iterator[Problem]:
    """Two readers of the same files would get in each other's way."""
    if source.placement.replicas > 1 and not _listens(source):
        text = "replicas of this source would read the same input; use `per_node: true`, or one"
        yield ("sources", source.name, "placement", "replicas"), text


def _listens(source: PartPlan) -> bool:
    return bool(getattr(lookup("source", source.type), "server", False))


def _placed(channel: PartPlan, plan: AgentPlan) -> Iterator[Problem]:
    path = ("channels", channel.name, "placement")
    if channel.placement.replicas > 1:
        text = (
            "a channel cannot be split over replicas; use `per_node: true` here and in its sources"
        )
        yield (*path, "replicas"), text
    if not channel.placement.per_node:
        return
    for source in plan.sources.values():
        if channel.name in source.channels and not source.placement.per_node:
            text = f"the source {source.name!r} writes to it and needs `per_node: true` as well"
            yield (*path, "per_node"), text
