"""Wanted against running: what to start, restart, drain and stop, as a function of (state,
statuses, now).

Pure: no thread, no Ray, no clock. `Control` (control.py) asks for the statuses, hands them in with
the time, and does what comes back.

    RUNNING --drain, until_drained--> SOURCES --all read--> CHANNELS --all empty--> ENDING --> ENDED
       |                                                       ^                      ^
       +-------- first Ctrl-C: sources stop reading -----------+                      |
       +-------- stop -----------------------------------------------------------------
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from rayflume.agent.changes import Found
from rayflume.agent.renewal import renewals
from rayflume.agent.watched import KIND_ORDER, Action, Key, Verb, Wanted, Watched
from rayflume.interfaces import Json

RESTART_MS = (100, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
WAITING_MS = 2_000
"""A part that has no place now (its host is away) is tried again so soon, however long it takes."""
STEADY_MS = 60_000
"""After so long without a crash the back-off begins anew."""


class Phase(StrEnum):
    """Where the agent stands."""

    RUNNING = "running"
    SOURCES = "draining sources"
    CHANNELS = "draining channels"
    ENDING = "ending"
    ENDED = "ended"


class Supervisor:
    """The state of one agent."""

    def __init__(self, parts: Mapping[Key, tuple[str, bool]], *, until_drained: bool) -> None:
        """`parts`: key -> (kind, whether it is a server)."""
        self._parts = {key: Watched(kind, server) for key, (kind, server) in parts.items()}
        self._until_drained = until_drained
        self._asked_drain = False
        self.phase = Phase.RUNNING
        self.failed = False

    def renew(self, wanted: Mapping[Key, Wanted], former: Mapping[Key, Wanted]) -> None:
        """Another plan is in force: bring all parts from `former`, the plan before, to `wanted`."""
        for key, part in {**former, **wanted}.items():
            was = former.get(key, part)
            watched = self._parts.setdefault(key, Watched(part.kind, part.server))
            watched.server, watched.wanted = part.server, part
            watched.runs, watched.wires = watched.runs or was.print, was.wires
            watched.leaving = key not in wanted

    # -- told from outside ----------------------------------------------------------------------

    def add(self, key: Key, kind: str, server: bool) -> None:
        """A part more is wanted (a node joined)."""
        self._parts.setdefault(key, Watched(kind, server))

    def adopt(self, key: Key) -> None:
        """A part is running already: it was found by its name."""
        self._parts[key].state, self._parts[key].unheard = "starting", True

    def observe(self, key: Key, status: Mapping[str, Json] | None, now_ms: int) -> None:
        """A part's status, None when it is dead."""
        part = self._parts[key]
        part.unheard = part.unheard and status is not None and "plan" not in status
        if status is None:
            self._crashed(part, now_ms, "the process died")
            return
        part.state = str(status["state"])
        part.last_error = str(status["last_error"]) if status["last_error"] else None
        if part.state == "crashed":
            self._crashed(part, now_ms, part.last_error or "crashed")
        part.runs = str(status.get("plan") or part.runs)
        part.look_inside(status.get("detail"))
        if part.crashes and now_ms - part.started_ms > STEADY_MS:
            part.crashes = 0

    def _crashed(self, part: Watched, now_ms: int, reason: str) -> None:
        if part.state in ("wanted", "stopped", "dead"):
            return
        part.start_at_ms = now_ms + RESTART_MS[min(part.crashes, len(RESTART_MS) - 1)]
        part.crashes += 1
        part.restarts += 1
        part.last_error = reason
        part.state = "dead"
        part.drained = False

    def start_failed(self, key: Key, reason: str, now_ms: int, waiting: bool = False) -> None:
        """A part could not be started. `waiting`: nothing is wrong with it, it has no place now."""
        part = self._parts[key]
        part.state = "starting"
        if not waiting:
            self._crashed(part, now_ms, reason)
            return
        part.state, part.last_error = "dead", reason
        part.start_at_ms = now_ms + WAITING_MS

    def drain(self) -> None:
        """Read to the present end, empty the channels, end."""
        if self.phase is Phase.RUNNING:
            self._asked_drain = True
            self.phase = Phase.SOURCES

    def drain_channels(self) -> None:
        """Stop reading at once, empty the channels, end (the first Ctrl-C)."""
        if self.phase in (Phase.RUNNING, Phase.SOURCES):
            self.phase = Phase.CHANNELS

    def stop(self) -> None:
        """Stop at a batch boundary; what is in the channels stays there."""
        if self.phase is not Phase.ENDED:
            self.phase = Phase.ENDING

    # -- decided --------------------------------------------------------------------------------

    def actions(self, now_ms: int) -> list[Action]:
        """What is to be done now."""
        self._move_on()
        if self.phase is Phase.ENDED:
            return []
        if self.phase is Phase.ENDING:
            return self._stops(KIND_ORDER[::-1])
        actions = renewals(self._parts, now_ms)
        actions += self._starts(now_ms)
        if self.phase is Phase.RUNNING and self._until_drained:
            actions += self._drain_sources(servers=False, unterminated=True)
        elif self.phase is Phase.SOURCES:
            unterminated = self._until_drained and not self._asked_drain
            actions += self._drain_sources(servers=True, unterminated=unterminated)
        elif self.phase is Phase.CHANNELS:
            actions += self._stops(("source",))
            actions += [Action(Verb.DRAIN, key) for key in self._to_drain("channel")]
        return actions

    def _move_on(self) -> None:
        sources = self._of("source")
        if self.renewing() and self.phase in (Phase.RUNNING, Phase.SOURCES):
            return
        if self.phase is Phase.RUNNING and self._until_drained:
            finite = [part for part in sources if not part.server]
            if all(part.state in ("drained", "failed") for part in finite):
                self.phase = Phase.SOURCES
        if self.phase is Phase.SOURCES and all(p.state in ("drained", "failed") for p in sources):
            self.phase = Phase.CHANNELS
        failed = any(part.state == "failed" for part in self._parts.values())
        if self.phase is Phase.CHANNELS:
            empty = all(p.drained and p.rows == 0 for p in self._of("channel"))
            still = all(p.state in ("stopped", "wanted", "dead", "failed") for p in sources)
            if empty and still:
                self.failed = failed
                self.phase = Phase.ENDING
        emptying = self._until_drained or self.phase is not Phase.RUNNING
        if emptying and self.phase not in (Phase.ENDING, Phase.ENDED) and self._blocked():
            # What is left can't be delivered before an operator acts; the channels keep it.
            self.failed = True
            self.phase = Phase.ENDING
        if self.phase is Phase.ENDING and self._until_drained and failed:
            self.failed = True
        ended = all(p.ended or p.state in ("stopped", "wanted") for p in self._parts.values())
        if self.phase is Phase.ENDING and ended:
            self.phase = Phase.ENDED

    def _blocked(self) -> bool:
        """Whether a channel, or all replicas of a sink, have failed for good."""
        states: dict[str, set[str]] = {}
        for (name, _), part in self._parts.items():
            if part.kind != "source":
                states.setdefault(name, set()).add(part.state)
        return {"failed"} in states.values()

    def _of(self, kind: str) -> list[Watched]:
        return [part for part in self._parts.values() if part.kind == kind]

    def _starts(self, now_ms: int) -> list[Action]:
        actions = []
        for kind in KIND_ORDER:
            for key, part in self._parts.items():
                due = part.state == "wanted" or (
                    part.state == "dead" and now_ms >= part.start_at_ms
                )
                reading = kind != "source" or self.phase in (Phase.RUNNING, Phase.SOURCES)
                if part.kind == kind and due and reading and not part.outdated:
                    if part.state == "dead":
                        actions.append(Action(Verb.KILL, key))
                    actions.append(Action(Verb.START, key))
                    part.state, part.started_ms, part.drained = "starting", now_ms, False
        return actions

    def _to_drain(self, kind: str, servers: bool = True) -> Iterable[Key]:
        for key, part in self._parts.items():
            asked = part.kind == kind and part.state == "running" and not part.drained
            if asked and not part.outdated and (servers or not part.server):
                part.drained = True
                part.rows = -1 if kind == "channel" else 0
                yield key

    def _drain_sources(self, *, servers: bool, unterminated: bool) -> list[Action]:
        keys = self._to_drain("source", servers)
        return [Action(Verb.DRAIN, key, unterminated) for key in keys]

    def _stops(self, kinds: Iterable[str]) -> list[Action]:
        """Stop one kind after the other: the next only when all of the one before have stopped."""
        for kind in kinds:
            left = [
                (key, part)
                for key, part in self._parts.items()
                if part.kind == kind and part.state not in ("stopped", "wanted") and not part.ended
            ]
            if left:
                for _, part in left:
                    part.drained = True
                return [Action(Verb.STOP, key) for key, _ in left]
        return []

    def stopped(self, key: Key) -> None:
        """A STOP was carried out. A part that had failed is still shown as failed."""
        self._parts[key].ended = True
        if self._parts[key].state != "failed":
            self._parts[key].state = "stopped"

    def renewed(self, key: Key) -> None:
        """A RENEW or REMOVE was carried out."""
        part = self._parts[key]
        if part.leaving or part.wanted is None:
            del self._parts[key]
            return
        part.runs, part.wires = part.wanted.print, part.wanted.wires
        part.state, part.drained, part.crashes, part.last_error = "wanted", False, 0, None

    def adjusted(self, key: Key) -> None:
        """An ADJUST was carried out."""
        part = self._parts[key]
        if part.wanted is not None:
            part.runs = part.wanted.print

    def renewing(self) -> list[str]:
        """Parts that are not yet as the plan in force wants them, and what they are doing."""
        return [
            f"{part.kind} {key[0]} is {part.state}"
            + (f": {part.last_error}" * bool(part.last_error))
            for key, part in self._parts.items()
            if part.outdated
        ]

    def found(self) -> dict[str, Found]:
        """Part -> how it is, all replicas together. See changes.refusals."""
        found: dict[str, Found] = {}
        for (name, _), part in self._parts.items():
            now = Found(part.state, part.rows, part.prepared, part.deliveries)
            found[name] = found[name].and_(now) if name in found else now
        return found

    # -- shown ----------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """running, draining, drained, stopped or failed: as in `status --json`."""
        if self.phase is Phase.ENDED:
            if self.failed:
                return "failed"
            drained = all(p.drained and p.rows == 0 for p in self._of("channel"))
            return "drained" if drained else "stopped"
        if self.phase is not Phase.RUNNING:
            return "draining"
        failed = any(part.state == "failed" for part in self._parts.values())
        return "failed" if failed else "running"

    def shown(self, key: Key) -> dict[str, Json]:
        """State, restarts and last error of a part."""
        part = self._parts[key]
        return {"state": part.state, "restarts": part.restarts, "last_error": part.last_error}

    @property
    def keys(self) -> list[Key]:
        """All parts, channels first."""
        order = {kind: i for i, kind in enumerate(KIND_ORDER)}
        return sorted(self._parts, key=lambda key: (order[self._parts[key].kind], key))

    @property
    def steady(self) -> bool:
        """Whether nothing is to be done until a part changes or somebody asks for something."""
        running = all(part.state == "running" for part in self._parts.values())
        still = not self.renewing() and not self._until_drained
        return running and still and self.phase is Phase.RUNNING

    def alive(self, key: Key) -> bool:
        """Whether the part should answer now."""
        return self._parts[key].state not in ("wanted", "dead", "stopped")
