"""Sink processor `default`: one sink, led by nobody."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rayflume.component import Component, Context, component
from rayflume.sink_group import Turn

_NEVER_MS = 2**31


@component
class Default(Component):
    """One sink that takes whenever it wants. It is what a sink in no group has."""

    def check_sinks(self, sinks: Sequence[str]) -> list[str]:
        """What is wrong with leading these sinks, a sentence each."""
        if len(sinks) > 1:
            return ["`default` leads one sink; with several write `failover` or `load_balance`"]
        return []

    def build(self, context: Context) -> Default:
        return self

    def lead(self, sinks: Sequence[str]) -> DefaultProcessor:
        """The state machine for these sinks."""
        return DefaultProcessor()


class DefaultProcessor:
    """See sink_group.SinkProcessor."""

    def turn(self, sink: str, asking: Collection[str], now_ms: int) -> Turn:
        return Turn.TAKE

    def took(self, sink: str, rows: bool, now_ms: int) -> None:
        """Nothing changes."""

    def delivered(self, sink: str) -> None:
        """Nothing changes."""

    def failed(self, sink: str, now_ms: int) -> None:
        """There is no other one."""

    def wait_ms(self, now_ms: int) -> int:
        return _NEVER_MS
