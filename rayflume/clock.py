"""Time as a thing that is handed in, so that a test can walk it by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""What milliseconds of a wall clock count from."""


class Clock(Protocol):
    """What any part may know about time. None of the methods blocks."""

    def now_ms(self) -> int:
        """Wall clock: milliseconds since 1970-01-01 UTC. May jump; only for data, never for
        timers.
        """
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since an arbitrary point; never goes back. For timers, rolls and leases."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ms(self) -> int:
        return self._monotonic_ms

    def advance(self, ms: int) -> None:
        """Let `ms` milliseconds pass on both clocks."""
        self._now_ms += ms
        self._monotonic_ms += ms

    def jump(self, ms: int) -> None:
        """Move only the wall clock, forwards or backwards, as an administrator would."""
        self._now_ms += ms
