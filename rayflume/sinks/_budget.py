"""One byte budget over all open files of a sink, those of two deliveries included."""

from __future__ import annotations

import threading

from rayflume.metrics import Metrics

_OWN_SHARE = 4


class Budget:
    """Decoded bytes held in memory and files open, per delivery. Thread-safe.

    While one delivery is being staged its bytes only shrink, and the one that fills may always use
    a quarter of the budget: so the two together hold at most a quarter more than `limit`.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._lock = threading.Lock()
        self._held: dict[str, tuple[int, int]] = {}

    def hold(self, delivery: str, size: int, files: int) -> None:
        """What a delivery holds now; nothing: forget it."""
        with self._lock:
            if size or files:
                self._held[delivery] = (size, files)
            else:
                self._held.pop(delivery, None)
            sizes, counts = zip(*self._held.values(), strict=True) if self._held else ((0,), (0,))
            self._metrics.set("BufferedBytes", sum(sizes))
            self._metrics.set("OpenFileCount", sum(counts))

    def allowance(self, delivery: str) -> int:
        """Bytes this delivery may hold, beside what the others hold."""
        with self._lock:
            others = sum(size for name, (size, _) in self._held.items() if name != delivery)
        return max(self._limit - others, self._limit // _OWN_SHARE)
