"""Who has which open delivery, and when each holder was last heard of. Pure.

A holder is one life of one sink replica: `<sink>/<replica>/<life>`. A delivery has one holder, or
none when that one is gone. Nothing here takes longer when there are more holders or deliveries.
"""

from __future__ import annotations

from collections import OrderedDict

from rayflume.interfaces import Taken

_NEVER = -(2**63)


class Holders:
    """The holders of a channel's open and Prepared deliveries."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}
        self._held: dict[str, dict[str, None]] = {}
        self._heard_ms: OrderedDict[str, int] = OrderedDict()
        """The one that was silent for the longest time comes first."""
        self._turns: dict[str, tuple[int, Taken]] = {}
        """Holder -> its newest numbered take and the answer, which may have been lost."""
        self._lives: dict[str, set[str]] = {}
        """`<sink>/<replica>` -> those of its lives that have a delivery or took with a number."""

    def hear(self, holder: str, now_ms: int) -> None:
        """A holder lives. `now_ms` is monotonic."""
        self._heard_ms[holder] = now_ms
        self._heard_ms.move_to_end(holder)

    def lost(self, limit_ms: int) -> list[str]:
        """Holders of something that were not heard of since `limit_ms`, sorted."""
        silent = []
        for holder, heard_ms in self._heard_ms.items():
            if heard_ms > limit_ms:
                break
            silent.append(holder)
        for holder in silent:
            if holder not in self._held:
                del self._heard_ms[holder]
        return sorted(holder for holder in silent if holder in self._held)

    # -- deliveries -----------------------------------------------------------------------------

    def give(self, delivery: str, holder: str) -> None:
        """A delivery is `holder`'s from now on, whoever had it."""
        self.end(delivery)
        self._holders[delivery] = holder
        self._held.setdefault(holder, {})[delivery] = None
        self._live(holder)
        if holder not in self._heard_ms:
            self._heard_ms[holder] = _NEVER
            self._heard_ms.move_to_end(holder, last=False)

    def end(self, delivery: str) -> None:
        """A delivery is nobody's."""
        holder = self._holders.pop(delivery, None)
        if holder is None:
            return
        del self._held[holder][delivery]
        if not self._held[holder]:
            del self._held[holder]
            self._forget_life(holder)

    def of(self, delivery: str) -> str:
        """Who has a delivery; "" for nobody."""
        return self._holders.get(delivery, "")

    def held(self, holder: str) -> list[str]:
        """What a holder has, in the order in which it got it."""
        return list(self._held.get(holder, ()))

    def gone(self, holder: str) -> list[str]:
        """Forget a holder; returns what it had."""
        had = self.held(holder)
        for delivery in had:
            self.end(delivery)
        self._heard_ms.pop(holder, None)
        return had

    # -- takes and lives ------------------------------------------------------------------------

    def turn(self, holder: str) -> tuple[int, Taken]:
        """Number and answer of a holder's newest numbered take; number 0 when there is none."""
        return self._turns.get(holder, (0, Taken("")))

    def note_turn(self, holder: str, turn: int, taken: Taken) -> None:
        """What a numbered take is answered."""
        self._turns[holder] = turn, taken
        self._live(holder)

    def forget_turns(self, holder: str) -> None:
        """A holder that is dead for good takes no more."""
        self._turns.pop(holder, None)
        self._forget_life(holder)

    def predecessors(self, holder: str) -> list[str]:
        """Earlier lives of the same sink replica, sorted."""
        return sorted(self._lives.get(_replica(holder), set()) - {holder})

    def _live(self, holder: str) -> None:
        self._lives.setdefault(_replica(holder), set()).add(holder)

    def _forget_life(self, holder: str) -> None:
        if holder in self._held or holder in self._turns:
            return
        lives = self._lives.get(_replica(holder), set())
        lives.discard(holder)
        if not lives:
            self._lives.pop(_replica(holder), None)


def _replica(holder: str) -> str:
    return holder.rpartition("/")[0]
