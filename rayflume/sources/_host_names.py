"""Names of hosts by address: looked up backwards, remembered for a while, in bounded space."""

from __future__ import annotations

import socket
import threading
from collections import OrderedDict

from rayflume.clock import Clock

_KEPT_MAX = 10_000
_KEPT_MS = 300_000


class HostNames:
    """Thread-safe. A name is remembered for five minutes, also that there is none."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._lock = threading.Lock()

    def name_of(self, address: str) -> str:
        """The name of the host, "" when it has none. Blocks as long as the resolver does."""
        now = self._clock.monotonic_ms()
        with self._lock:
            at, name = self._kept.get(address, (-_KEPT_MS, ""))
        if now - at < _KEPT_MS:
            return name
        try:
            name = socket.gethostbyaddr(address.partition("%")[0])[0]
        except OSError:
            name = ""
        with self._lock:
            self._kept[address] = now, name
            self._kept.move_to_end(address)
            while len(self._kept) > _KEPT_MAX:
                self._kept.popitem(last=False)
        return name
