"""What is known of a part that is watched, how it is wanted, and what may be done with it.

Values, and no decisions: those are in supervisor.py and, from one plan to the next, in renewal.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from rayflume.interfaces import Json

Key: TypeAlias = tuple[str, int]
"""A part: its name and replica."""

KIND_ORDER = ("channel", "sink", "source")


class Verb(StrEnum):
    """What is to be done with a part."""

    START = "start"
    KILL = "kill"
    DRAIN = "drain"
    STOP = "stop"
    HOLD = "hold"
    RESUME = "resume"
    ADJUST = "adjust"
    RENEW = "renew"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do now. `unterminated` goes with DRAIN of a source. `former`: START a part as it
    was in the plan before. RENEW: end it, it is started as it is wanted; REMOVE: end it for good.
    """

    verb: Verb
    key: Key
    unterminated: bool = False
    former: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A part of a plan. `print`: what it is made of (changes.prints). `wires`: of a source or sink,
    its channels.
    """

    kind: str
    server: bool = False
    print: str = ""
    wires: tuple[str, ...] = ()


@dataclass
class Watched:
    """What is known of a part, and how it is wanted."""

    kind: str
    server: bool
    state: str = "wanted"
    last_error: str | None = None
    restarts: int = 0
    crashes: int = 0
    started_ms: int = 0
    start_at_ms: int = 0
    rows: int = 0
    """Of a channel: rows that are not committed; -1 when not known."""
    drained: bool = False
    ended: bool = False
    """It was told to stop and has stopped."""
    wanted: Wanted | None = None
    """As it is to be, None before the first new plan."""
    runs: str = ""
    """The print of what runs."""
    wires: tuple[str, ...] = ()
    """The channels of what runs."""
    leaving: bool = False
    prepared: tuple[str, ...] = ()
    """Of a channel: the sinks that have Prepared deliveries in it."""
    deliveries: int = 0
    """Of a sink: deliveries that are open or on their way."""
    unheard: bool = False
    """It was found by its name, and has not yet said what it is made of."""

    @property
    def outdated(self) -> bool:
        """Whether it is another part than the one that is wanted."""
        return self.leaving or (self.wanted is not None and self.runs != self.wanted.print)

    def look_inside(self, detail: Json) -> None:
        """Note what is in a channel, and what a sink has under way."""
        if self.kind == "channel":
            self.rows = -1
        if not isinstance(detail, dict):
            return
        if self.kind == "channel" and "waiting" in detail:
            self.rows = sum(int(str(detail[name])) for name in ("waiting", "leased", "prepared"))
            sinks = detail.get("prepared_sinks", [])
            self.prepared = tuple(map(str, sinks)) if isinstance(sinks, list) else ()
        elif self.kind == "sink":
            self.deliveries = int(str(detail.get("deliveries", 0)))
