"""How many connections there may be, and from where."""

from __future__ import annotations

from collections import Counter


class Gate:
    """Counts open connections, in all and by address."""

    def __init__(self, connections_max: int, per_address_max: int) -> None:
        self._connections_max = connections_max
        self._per_address_max = per_address_max
        self._addresses: Counter[str] = Counter()
        self.open = 0

    @property
    def full(self) -> bool:
        return self.open >= self._connections_max

    def takes_from(self, address: str) -> bool:
        """Whether the address may have one more connection."""
        return self._addresses[address] < self._per_address_max

    def enter(self, address: str) -> None:
        self.open += 1
        self._addresses[address] += 1

    def leave(self, address: str) -> None:
        self.open -= 1
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]
