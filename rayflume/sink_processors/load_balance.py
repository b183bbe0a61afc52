"""Sink processor `load_balance`: the sinks of a group take rows in turn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from rayflume.component import Component, Context, component, nested, option
from rayflume.sink_group import SinkSelector, Turn, next_end_ms, penalty_ms

_FAILURES_MAX = 16
_IN_A_ROW_MS = 3_600_000
Selector = Annotated[Component, nested("sink_selector")]


@component
class LoadBalance(Component):
    """Share the rows of a channel out among several sinks: each take goes to another one, so each
    batch is in one sink. What a failing sink has taken and not prepared goes to the others.

    A sink that is still busy with its last rows is passed over, so a slow one gets fewer. (Flume
    drives all sinks of a group with one thread, which waits for the slow one.)
    """

    selector: Selector = option(
        "In which order: `round_robin` or `random`. Its options are those of the type, as "
        "`{type: random, max_time_out: 10s}`.",
        default="round_robin",
        validate_default=True,
        example="random",
    )
    backoff: bool = option(
        "Leave out a sink that failed, for 2 s, then 4 s, 8 s and so on up to the selector's "
        "`max_time_out`. Otherwise it is tried again at its next turn.",
        default=False,
    )

    def check_sinks(self, sinks: Sequence[str]) -> list[str]:
        """What is wrong with leading these sinks, a sentence each."""
        if len(sinks) < 2:
            return ["`load_balance` needs at least two sinks; one sink needs no group"]
        return []

    def build(self, context: Context) -> LoadBalance:
        return self

    def lead(self, sinks: Sequence[str]) -> LoadBalanceProcessor:
        """The state machine for these sinks."""
        limit_ms: int = getattr(self.selector, "max_time_out", 30_000)
        selector: SinkSelector = getattr(self.selector, "start", self._none)()
        return LoadBalanceProcessor(sinks, selector, limit_ms if self.backoff else None)

    def _none(self) -> SinkSelector:
        raise TypeError(f"the sink selector {self.selector.type_name} has no method `start`")


@dataclass
class _Failure:
    count: int
    last_ms: int
    until_ms: int


class LoadBalanceProcessor:
    """See sink_group.SinkProcessor. `limit_ms`: the longest pause; None for no pauses at all."""

    def __init__(
        self, sinks: Sequence[str], selector: SinkSelector, limit_ms: int | None = None
    ) -> None:
        self._sinks = tuple(sinks)
        self._selector = selector
        self._limit_ms = limit_ms
        self._failures: dict[str, _Failure] = {}
        self._next = ""

    def turn(self, sink: str, asking: Collection[str], now_ms: int) -> Turn:
        able = [name for name in self._sinks if name in asking and not self._out(name, now_ms)]
        if sink not in able:
            return Turn.OUT
        if self._next not in able:
            self._next = self._selector.pick(self._sinks, able)
        return Turn.TAKE if sink == self._next else Turn.WAIT

    def _out(self, sink: str, now_ms: int) -> bool:
        failure = self._failures.get(sink)
        return failure is not None and now_ms < failure.until_ms

    def took(self, sink: str, rows: bool, now_ms: int) -> None:
        if sink == self._next:
            self._next = ""

    def delivered(self, sink: str) -> None:
        """A success forgives nothing: failures count as in a row until an hour has passed."""

    def failed(self, sink: str, now_ms: int) -> None:
        if self._limit_ms is None or self._out(sink, now_ms):
            return
        before = self._failures.get(sink)
        count = 1
        if before is not None:
            pause_ms = before.until_ms - before.last_ms
            if now_ms - before.last_ms < pause_ms + _IN_A_ROW_MS:
                count = min(before.count + 1, _FAILURES_MAX)
        pause_ms = penalty_ms(count, self._limit_ms)
        self._failures[sink] = _Failure(count, now_ms, now_ms + pause_ms)

    def wait_ms(self, now_ms: int) -> int:
        return next_end_ms((failure.until_ms for failure in self._failures.values()), now_ms)
