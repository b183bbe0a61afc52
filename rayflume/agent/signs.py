"""A source's signs that it lives and has nothing to read, for channels that watch event time.

A put is such a sign by itself. Without any a source counts as gone, and holds the watermark; one
that has nothing to read for long stops holding it.
"""

from __future__ import annotations

from contextlib import suppress

from rayflume.clock import Clock
from rayflume.errors import Retry
from rayflume.flow import Route

EVERY_MS = 2_000
REFUSED_MS = 60_000
"""So long after a client was refused its rows count as to be read: it will send them again."""


class Signs:
    """Those of one source. `wanted`: whether its channels want to hear of it."""

    def __init__(self, route: Route, clock: Clock) -> None:
        self.wanted = False
        self._route = route
        self._clock = clock
        self._due_ms = 0
        self._refused_ms: int | None = None

    def nothing_to_read(self) -> None:
        """To be called only while nothing that was read is still to be put. Tells the channels now
        and then; one that does not answer hears it next time. Blocks.
        """
        now_ms = self._clock.monotonic_ms()
        if not self.wanted or now_ms < self._due_ms:
            return
        if self._refused_ms is not None and now_ms - self._refused_ms < REFUSED_MS:
            return
        self._due_ms = now_ms + EVERY_MS
        for channel in self._route.channels.values():
            with suppress(Retry):
                channel.idle(self._route.source)

    def refused(self) -> None:
        """Rows of a client were not taken."""
        self._refused_ms = self._clock.monotonic_ms()
