"""Sink processor `failover`: the sink of highest priority that works takes all rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rayflume.component import Component, Context, component, nearest, option
from rayflume.sink_group import PENALTY_MS, Turn, next_end_ms, penalty_ms
from rayflume.units import Millis


@component
class Failover(Component):
    """Deliver with the sink of highest priority; when its store fails, with the next one, until
    the first works again.

    What a failed sink has taken and not yet prepared goes to the next one. What was prepared stays
    with it until it lands, so each row is delivered once. A failed sink pauses for 2 s, then 4 s,
    8 s and so on up to `max_penalty`, and is then tried again with one small delivery, before all
    others (as in Flume). When all sinks pause, the rows wait in the channel.
    """

    priority: dict[str, int] = option(
        "Sink -> priority, a larger number first. A sink without one comes behind all others, in "
        "the order of `sinks`. Of two with the same priority the first in `sinks` comes first.",
        factory=dict,
        example={"near": 10, "far": 5},
    )
    max_penalty: Millis = option(
        "The longest pause of a failed sink (Flume: maxpenalty).",
        default=30_000,
        ge=0,
        example="30s",
    )

    def check_sinks(self, sinks: Sequence[str]) -> list[str]:
        """What is wrong with leading these sinks, a sentence each."""
        return [
            f"`priority` names {name!r}, which is no sink of this group{nearest(name, list(sinks))}"
            for name in self.priority
            if name not in sinks
        ]

    def order(self, sinks: Sequence[str]) -> list[str]:
        """The sinks by falling priority."""
        # Flume gives -1, -2, ... to those without one; a stable sort keeps their order.
        unset = {name: -1 - place for place, name in enumerate(sinks)}
        return sorted(sinks, key=lambda name: -self.priority.get(name, unset[name]))

    def build(self, context: Context) -> Failover:
        return self

    def lead(self, sinks: Sequence[str]) -> FailoverProcessor:
        """The state machine for these sinks."""
        return FailoverProcessor(self.order(sinks), self.max_penalty)


@dataclass
class _Failure:
    count: int
    until_ms: int
    trying: bool = False
    """It has rows again, and nobody knows yet what becomes of them."""


class FailoverProcessor:
    """See sink_group.SinkProcessor. `order`: the sinks, the best first."""

    def __init__(self, order: Sequence[str], max_penalty_ms: int) -> None:
        self._order = tuple(order)
        self._max_ms = max_penalty_ms
        self._failures: dict[str, _Failure] = {}

    def turn(self, sink: str, asking: Collection[str], now_ms: int) -> Turn:
        trial = self._trial(asking, now_ms)
        if sink in self._failures:
            return Turn.TRIAL if sink == trial else Turn.OUT
        active = next(name for name in self._order if name not in self._failures)
        if sink != active:
            return Turn.OUT
        return Turn.TAKE if trial is None else Turn.WAIT

    def _trial(self, asking: Collection[str], now_ms: int) -> str | None:
        """The failed sink to try now: the one whose pause ended first."""
        due = [
            (failure.until_ms, self._order.index(name))
            for name, failure in self._failures.items()
            if failure.until_ms <= now_ms and name in asking
        ]
        return self._order[min(due)[1]] if due else None

    def took(self, sink: str, rows: bool, now_ms: int) -> None:
        failure = self._failures.get(sink)
        if rows and failure is not None:
            # Meanwhile the others go on. Should nobody hear of the end, it is tried once more.
            failure.trying, failure.until_ms = True, now_ms + max(self._max_ms, PENALTY_MS)

    def delivered(self, sink: str) -> None:
        self._failures.pop(sink, None)

    def failed(self, sink: str, now_ms: int) -> None:
        failure = self._failures.setdefault(sink, _Failure(0, now_ms))
        if failure.until_ms > now_ms and not failure.trying:
            return
        failure.trying = False
        failure.count += 1
        failure.until_ms = now_ms + penalty_ms(failure.count, self._max_ms)

    def wait_ms(self, now_ms: int) -> int:
        return next_end_ms((failure.until_ms for failure in self._failures.values()), now_ms)
