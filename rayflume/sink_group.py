"""The contract of what leads a group of sinks: pure state machines, the time is handed in.

A group's sinks ask the channel for rows as any sink does; before each take the processor is asked
whose turn it is. It learns what became of a take, and which sinks delivered or failed. Times are
monotonic milliseconds. Not thread-safe: whoever holds one holds a lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Protocol

PENALTY_MS = 1_000
"""Flume: the n-th failure in a row costs 1000 ms x 2^n, up to a limit."""


_NEVER_MS = 2**31


class Turn(StrEnum):
    """What a sink may do now. TRIAL: take, and deliver at once, to show whether it works again.
    WAIT: another one's turn. OUT: take nothing, and deliver what is open.
    """

    TAKE = "take"
    TRIAL = "trial"
    WAIT = "wait"
    OUT = "out"


class SinkProcessor(Protocol):
    """Leads one group.

    P1  `turn` never lets two sinks of the group take at once, but for one that is on trial.
    P2  A sink that `failed` is OUT until its pause is over; more failures within the pause count
        as the same one.
    P3  As long as one sink asks that is not in a pause, one that asks may take.
    """

    def turn(self, sink: str, asking: Collection[str], now_ms: int) -> Turn:
        """`asking`: the sinks that want rows now, this one among them."""
        ...

    def took(self, sink: str, rows: bool, now_ms: int) -> None:
        """Its turn is over; whether it was given any rows."""
        ...

    def delivered(self, sink: str) -> None:
        """A delivery of it was committed."""
        ...

    def failed(self, sink: str, now_ms: int) -> None:
        """Its store failed, or it was not heard of for long."""
        ...

    def wait_ms(self, now_ms: int) -> int:
        """So long until `turn` may answer otherwise only because time passed; large for never."""
        ...


class SinkSelector(Protocol):
    """Chooses among the sinks of a `load_balance` group."""

    def pick(self, sinks: Sequence[str], candidates: Sequence[str]) -> str:
        """One of `candidates` (at least one), which are in the order of `sinks`, the whole
        group.
        """
        ...


def penalty_ms(failures: int, limit_ms: int) -> int:
    """How long a sink pauses after so many failures in a row (Flume's user guide, sink
    processors).
    """
    return min(limit_ms, PENALTY_MS << min(failures, 40))


def next_end_ms(ends_ms: Iterable[int], now_ms: int) -> int:
    """So long until the first of the pauses ends that are not over; large when there is none."""
    left = [end_ms - now_ms for end_ms in ends_ms if end_ms > now_ms]
    return min(left, default=_NEVER_MS)
