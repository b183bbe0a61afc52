"""Where each stream of a channel stands: a mapping that also finds the names with a common
beginning. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, MutableMapping

from rayflume.interfaces import StreamPosition

_MANY = 1_000
"""So many new names are sorted at once instead of one by one."""


class Streams(MutableMapping[str, StreamPosition]):
    """Stream -> position."""

    def __init__(self, items: Iterable[tuple[str, StreamPosition]] = ()) -> None:
        self._positions = dict(items)
        self._names: list[str] = []
        """Sorted; without those of `_new`, and with what was deleted until `_stale` is seen to."""
        self._new = list(self._positions)
        self._stale = False

    def __getitem__(self, name: str) -> StreamPosition:
        return self._positions[name]

    def __setitem__(self, name: str, position: StreamPosition) -> None:
        if name not in self._positions:
            self._new.append(name)
        self._positions[name] = position

    def __delitem__(self, name: str) -> None:
        del self._positions[name]
        self._stale = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    def __contains__(self, name: object) -> bool:
        return name in self._positions

    def __repr__(self) -> str:
        return f"Streams({self._positions})"

    def beginning(self, prefix: str) -> list[str]:
        """Names that begin with `prefix`, sorted. O(found + log n), and what is new is sorted in
        first.
        """
        self._sort()
        found = []
        for i in range(bisect_left(self._names, prefix), len(self._names)):
            if not self._names[i].startswith(prefix):
                break
            found.append(self._names[i])
        return found

    def _sort(self) -> None:
        if self._stale:
            self._names, self._stale = sorted(self._positions), False
        elif len(self._new) > _MANY:
            self._names = sorted(self._names + self._new)
        else:
            for name in self._new:
                insort(self._names, name)
        self._new = []
