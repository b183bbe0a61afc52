"""The states of one delivery and the steps between them; knows no channel, no store, no clock.

    FILLING --stage--> STAGED --prepare--> PREPARED --publish--> PUBLISHED --commit--> COMMITTED
       |                  |                    |
       +-----release------+--> RELEASED        +--rebuild--> PREPARED (under a new manifest)

The Prepared record is the point of no return: before it a delivery may be given up, behind it it is
published and committed whatever happens. An illegal step raises and leaves the state unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rayflume.interfaces import DeliveryLimits, DeliveryWriter, Manifest


class State(StrEnum):
    """Where a delivery stands."""

    FILLING = "filling"
    STAGED = "staged"
    PREPARED = "prepared"
    PUBLISHED = "published"
    COMMITTED = "committed"
    RELEASED = "released"


STEPS: dict[State, frozenset[State]] = {
    State.FILLING: frozenset({State.STAGED, State.RELEASED}),
    State.STAGED: frozenset({State.PREPARED, State.RELEASED}),
    State.PREPARED: frozenset({State.PREPARED, State.PUBLISHED}),
    State.PUBLISHED: frozenset({State.COMMITTED}),
    State.COMMITTED: frozenset(),
    State.RELEASED: frozenset(),
}


@dataclass
class Delivery:
    """One delivery on its way. `writer` is None for one that was found Prepared after a crash."""

    id: str
    writer: DeliveryWriter | None = None
    manifest: Manifest | None = None
    state: State = State.FILLING
    rows: int = 0
    bytes: int = 0
    began_ms: int = 0
    wrote_ms: int = 0

    def to(self, state: State) -> None:
        """Take one step. Raises RuntimeError for one that STEPS does not allow."""
        if state not in STEPS[self.state]:
            raise RuntimeError(f"delivery {self.id} can't go from {self.state} to {state}")
        self.state = state

    def time_left(self, limits: DeliveryLimits, now_ms: int) -> int:
        """Milliseconds until age or idle time end it; large when neither does."""
        left = [2**31]
        if limits.age_ms:
            left.append(self.began_ms + limits.age_ms - now_ms)
        if limits.idle_ms:
            left.append(self.wrote_ms + limits.idle_ms - now_ms)
        return max(0, min(left))

    @property
    def ended(self) -> bool:
        return not STEPS[self.state]
