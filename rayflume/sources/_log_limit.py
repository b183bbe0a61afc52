"""Log lines that a sender can cause, so that none can fill a disk or forge one (S13)."""

from __future__ import annotations

import logging

from rayflume.clock import Clock

_AGAIN_MS = 10_000
_CHARACTERS_MAX = 256

_log = logging.getLogger(__name__)


class LogLimit:
    """Each message at most once in ten seconds, with the number of those left out."""

    def __init__(self, source: str, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._said: dict[str, tuple[int, int]] = {}

    def warning(self, message: str, *values: object) -> None:
        """`message`: one of the few texts in the code, with `%s` for values, which are escaped and
        cut.
        """
        now = self._clock.monotonic_ms()
        since, left_out = self._said.get(message, (-_AGAIN_MS, 0))
        if now - since < _AGAIN_MS:
            self._said[message] = since, left_out + 1
            return
        self._said[message] = now, 0
        more = f" (and {left_out} more of these)" if left_out else ""
        texts = tuple(printed(value) for value in values)
        _log.warning("source %s: " + message + "%s", self._source, *texts, more)


def printed(value: object) -> str:
    """A value in a log line: no control character, at most 256 characters."""
    text = str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _CHARACTERS_MAX else text[:_CHARACTERS_MAX] + "..."
