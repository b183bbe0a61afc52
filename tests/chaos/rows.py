"""Rows with an id each, and what is known of them: issued, owed, allowed to be there twice.

An id is `feed number * 10^10 + n`, n without gaps from 0, so a multiset of ids is one array.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

SPAN = 10**10
BAD_EVERY = 10_007
"""Every so many rows the id is a text, which the schema refuses: it must be a dead letter."""


@dataclass(frozen=True)
class Kind:
    """A way to send. `once`: no row may be doubled. `owed`: every issued row must arrive, else only
    acknowledged ones.
    """

    name: str
    once: bool
    owed: bool


TAIL = Kind("taildir", once=True, owed=True)
SPOOL = Kind("spooldir", once=True, owed=True)
KEYED = Kind("http, Idempotency-Key", once=True, owed=True)
RETRIED = Kind("http, retried without key", once=False, owed=True)
SINGLE = Kind("http, neither", once=True, owed=False)
KINDS = (TAIL, SPOOL, KEYED, RETRIED, SINGLE)


def body(feed: int, n: int) -> str:
    """One row as a line of JSON with its newline."""
    row_id = feed * SPAN + n
    shown = f'"{row_id}"' if n % BAD_EVERY == BAD_EVERY - 1 else str(row_id)
    return f'{{"id":{shown},"pad":"{"x" * (n % 97)}"}}\n'


@dataclass
class Ledger:
    """What one kind of sender issued and what it was promised. Thread-safe."""

    kind: Kind
    issued: int = 0
    acked: list[tuple[int, int]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def feed(self) -> int:
        return KINDS.index(self.kind)

    def issue(self, count: int) -> tuple[int, str]:
        """The next rows: number of the first, and all as text."""
        with self._lock:
            first, self.issued = self.issued, self.issued + count
        return first, "".join(body(self.feed, n) for n in range(first, first + count))

    def ack(self, first: int, count: int) -> None:
        """Rows that were promised to be safe."""
        with self._lock:
            self.acked.append((first, first + count))

    def owes(self) -> npt.NDArray[np.bool_]:
        """For each issued row whether it must be in the lake."""
        owed = np.full(self.issued, self.kind.owed)
        for start, stop in () if self.kind.owed else self.acked:
            owed[start:stop] = True
        return owed


class Ledgers(dict[Kind, Ledger]):
    """The ledgers of all kinds."""

    def __init__(self) -> None:
        super().__init__({kind: Ledger(kind) for kind in KINDS})

    @property
    def issued(self) -> int:
        return sum(ledger.issued for ledger in self.values())
