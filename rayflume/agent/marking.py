"""The thread that marks complete partitions, and what it expects.

The first replica of a sink has it. It asks every journal of the sink's channel, also those whose
rows other replicas deliver. Should two run at once, after one was taken for dead, they write the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rayflume.agent.runner import Runner, describe
from rayflume.completeness import MarkerRules
from rayflume.component import Component, Context
from rayflume.config import AgentPlan, PartPlan
from rayflume.config.environment import resolve_text
from rayflume.errors import RayflumeError
from rayflume.interfaces import Channel, Json
from rayflume.markers import Marking, mark

EVERY_MS = 5_000


class SinkPlace(Protocol):
    """Of parts.Place: the plan, the sink, and on how many nodes parts run that run on each."""

    @property
    def plan(self) -> AgentPlan: ...
    @property
    def part(self) -> PartPlan: ...
    @property
    def nodes(self) -> int: ...


class MarkerRunner(Runner):
    """Marks at its own pace. An error is shown, and the next round tries again."""

    def __init__(self, marking: Marking, context: Context) -> None:
        super().__init__(f"{context.part}-markers", context)
        self._marking = marking

    def describe(self) -> dict[str, Json]:
        return self._marking.describe()

    def _run(self) -> None:
        self.health.state = "running"
        try:
            while not self._stopping.is_set():
                self._mark()
                self._pause(EVERY_MS)
            # What was delivered meanwhile: nobody may start this agent again for long.
            self._mark()
        finally:
            self._marking.storage.close()

    def _mark(self) -> None:
        try:
            mark(self._marking)
        except RayflumeError as error:
            self.health.last_error = describe(error)
        else:
            self.health.last_error = None


def expected_sources(plan: AgentPlan, channel: str, nodes: int) -> dict[str, int]:
    """Id -> on how many places a journal of a channel gets rows of that source. `nodes`: on how
    many nodes the `per_node` sources beside a channel that is not run.
    """
    alone = not plan.channels[channel].placement.per_node
    found: dict[str, int] = {}
    for source in plan.sources.values():
        if channel in source.channels:
            # Not its component: that may want secrets which only the source's host has.
            name = resolve_text(str(source.options.get("id") or source.name))
            own = source.placement
            count = (nodes if own.per_node else own.replicas) if alone else 1
            found[name] = found.get(name, 0) + count
    return found


def marks(part: PartPlan) -> bool:
    """Whether a sink marks complete partitions."""
    return part.kind == "sink" and part.options.get("complete") is not None


def _rules(component: Component) -> MarkerRules | None:
    asked = getattr(component, "marker_rules", None)
    rules: MarkerRules | None = None if asked is None else asked()
    return rules


def marker_runner(
    place: SinkPlace, component: Component, context: Context, channels: Sequence[Channel]
) -> MarkerRunner | None:
    """The markers of a sink, None when it has none. `channels`: all journals of its channel."""
    rules = _rules(component)
    if rules is None:
        return None
    marking = Marking(
        context.agent,
        context.part,
        rules,
        component.build(context).storage,
        channels,
        expected_sources(place.plan, place.part.channel, place.nodes),
        context.clock,
        context.metrics,
    )
    return MarkerRunner(marking, context)
