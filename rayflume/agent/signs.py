"""A source's signs that it lives and has nothing to read, for channels that watch event time.

A put is such a sign by itself. Without any a source counts as gone, and holds the watermark; one
that has nothing to read for long stops holding it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rayflume.clock import Clock
from rayflume.errors import Retry
from rayflume.flow import Route

EVERY_MS = 2_000
REFUSED_MS = 60_000
"""So long after a client was refused its rows count as to be read: it will send them again."""


class Signs:
    """Those of one source. `wanted`: whether its channels want to hear of it. Thread-safe."""

    def __init__(self, route: Route, clock: Clock) -> None:
        self.wanted = False
        self._route = route
        self._clock = clock
        self._due_ms = 0
        self._refused_ms: int | None = None
        self._in_hand: set[object] = set()

    def nothing_to_read(self) -> None:
        """To be called only while nothing that was read is still to be put; says nothing while rows
        are `in_hand`. Tells the channels now and then; one that does not answer hears it next time.
        Blocks.
        """
        now_ms = self._clock.monotonic_ms()
        if not self.wanted or self._in_hand or now_ms < self._due_ms:
            return
        if self._refused_ms is not None and now_ms - self._refused_ms < REFUSED_MS:
            return
        self._due_ms = now_ms + EVERY_MS
        for channel in self._route.channels.values():
            if self._in_hand:
                # They came while the channel before took its time, and may wait for that one.
                return
            with suppress(Retry):
                channel.idle(self._route.source)

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """While rows of a client are put: they may be in some channels, and wait for others."""
        rows = object()
        self._in_hand.add(rows)
        try:
            yield
        finally:
            self._in_hand.discard(rows)

    def refused(self) -> None:
        """Rows of a client were not taken."""
        self._refused_ms = self._clock.monotonic_ms()
