"""Sink selector `round_robin`: one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from rayflume.component import Component, Context, component, option
from rayflume.units import Millis


@component
class RoundRobin(Component):
    """The sinks take one after the other, in the order of the group."""

    max_time_out: Millis = option(
        "The longest pause of a failed sink, with `backoff` (Flume: selector.maxTimeOut).",
        default=30_000,
        ge=0,
        example="30s",
    )

    def build(self, context: Context) -> RoundRobin:
        return self

    def start(self) -> InTurn:
        """The selector at its beginning."""
        return InTurn()


class InTurn:
    """See sink_group.SinkSelector."""

    def __init__(self) -> None:
        self._last = -1

    def pick(self, sinks: Sequence[str], candidates: Sequence[str]) -> str:
        count = len(sinks)
        places = ((self._last + step) % count for step in range(1, count + 1))
        self._last = next(place for place in places if sinks[place] in candidates)
        return sinks[self._last]
