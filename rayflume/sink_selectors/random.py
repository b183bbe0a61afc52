"""Sink selector `random`: any of those that work."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from rayflume.component import Component, Context, component, option
from rayflume.units import Millis


@component
class Random(Component):
    """Each take goes to a sink chosen at random, all alike."""

    max_time_out: Millis = option(
        "The longest pause of a failed sink, with `backoff` (Flume: selector.maxTimeOut).",
        default=30_000,
        ge=0,
        example="30s",
    )

    def build(self, context: Context) -> Random:
        return self

    def start(self) -> AtRandom:
        """The selector at its beginning."""
        return AtRandom(secrets.randbelow)


class AtRandom:
    """See sink_group.SinkSelector. `below`: n -> one of 0 to n - 1."""

    def __init__(self, below: Callable[[int], int]) -> None:
        self._below = below

    def pick(self, sinks: Sequence[str], candidates: Sequence[str]) -> str:
        return candidates[self._below(len(candidates))]
