"""The loop that keeps an agent as its plan wants it: ask, decide (supervisor.py), do.

The same loop runs in a thread with `--inline` and in the supervisor actor on Ray; a Host does what
differs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from rayflume.agent.parts import Status
from rayflume.agent.runner import describe
from rayflume.agent.supervisor import Action, Key, Phase, Supervisor, Verb
from rayflume.clock import Clock
from rayflume.component import lookup
from rayflume.config import AgentPlan, PartPlan
from rayflume.errors import RayflumeError, Retry
from rayflume.interfaces import Json

log = logging.getLogger(__name__)

TICK_MS = 100
ASK_AGAIN_MS = 5_000
STEADY_TICK_MS = 5_000
ORPHAN_SHARE = 4
"""A part is asked that often, at least, before it would take itself for an orphan."""
ATTENTION_MS = 2_000
"""So long after somebody asked for the status it is kept fresh."""


class Host(Protocol):
    """Runs parts. `status` returns None for a part that is dead; the others raise RayflumeError."""

    def start(self, key: Key) -> None: ...
    def kill(self, key: Key) -> None: ...
    def drain(self, key: Key, unterminated: bool) -> None: ...
    def stop(self, key: Key) -> Status | None:
        """Stop a part at a batch boundary; returns its last status. Blocks."""
        ...

    def statuses(self, keys: list[Key]) -> Mapping[Key, Status | None]: ...
    def place(self, key: Key) -> tuple[int, str]:
        """Process id and node of a part; (0, "") when it does not run."""
        ...


Alarm: TypeAlias = Callable[[list[Key], Callable[[], None]], None]
"""Call the second argument, from any thread, as soon as one of these parts may run no more."""


@dataclass(frozen=True)
class Watch:
    """What a control loop was told to do."""

    plan: AgentPlan
    until_drained: bool = False
    tick_ms: int = TICK_MS
    alarm: Alarm | None = None
    """With it parts that all run are asked rarely: each question costs CPU in both processes."""

    @property
    def steady_tick_ms(self) -> int:
        return max(self.tick_ms, min(STEADY_TICK_MS, self.plan.orphan_after_ms // ORPHAN_SHARE))


def is_server(part: PartPlan) -> bool:
    """Whether a source listens instead of reading: it has no end of its own."""
    return part.kind == "source" and bool(getattr(lookup("source", part.type), "server", False))


class Control:
    """Keeps one agent running, drains it, stops it. `run` blocks; the other calls return at
    once.
    """

    def __init__(
        self, watch: Watch, host: Host, keys: Mapping[Key, PartPlan], clock: Clock
    ) -> None:
        self._watch = watch
        self._host = host
        self._plans = dict(keys)
        self._clock = clock
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._last: dict[Key, Status] = {}
        parts = {key: (part.kind, is_server(part)) for key, part in keys.items()}
        self.supervisor = Supervisor(parts, until_drained=watch.until_drained)
        self.started_ms = clock.now_ms()
        self._ticked_ms = clock.monotonic_ms()
        self._asked_ms = self._ticked_ms

    def run(self) -> None:
        """Watch until the agent has ended, and serve its metrics meanwhile if the plan says so."""
        monitoring = self._watch.plan.monitoring
        if monitoring is None:
            self._run()
            return
        from rayflume.agent.metrics_server import MetricsServer  # a web server only who wants one

        with MetricsServer(monitoring, self.status, self._clock):
            self._run()

    def _run(self) -> None:
        while self.supervisor.phase is not Phase.ENDED:
            self._try_tick()
            self._wake.wait(self.pause_ms() / 1000)
            self._wake.clear()

    def _try_tick(self) -> None:
        try:
            self.tick()
        except Exception:
            log.exception("a round of watching failed; the next one is tried")

    def pause_ms(self) -> int:
        """Until the next round: long while all parts run and nobody looks; an alarm ends it."""
        alarm, now_ms = self._watch.alarm, self._clock.monotonic_ms()
        looked_at = now_ms - self._asked_ms < ATTENTION_MS
        if alarm is None or looked_at or not self.supervisor.steady:
            return self._watch.tick_ms
        alarm(self.supervisor.keys, self._wake.set)
        return self._watch.steady_tick_ms

    def tick(self) -> None:
        """One round: ask all parts, decide, do."""
        with self._lock:
            self._ticked_ms = self._clock.monotonic_ms()
            asked_ms = now_ms = self._ask()
            actions = self.supervisor.actions(now_ms)
            for i, action in enumerate(actions):
                if self._clock.monotonic_ms() - asked_ms >= ASK_AGAIN_MS:
                    # Thousands of starts take minutes, and who is not asked for so long stops.
                    asked_ms = self._ask({action.key for action in actions[i:]})
                self._do(action, now_ms)

    def _ask(self, without: Set[Key] = frozenset()) -> int:
        """Ask the parts how they are, but those of which something else is to be done first.
        Returns when that was.
        """
        keys = [key for key in self.supervisor.keys if self.supervisor.alive(key)]
        statuses = self._host.statuses([key for key in keys if key not in without])
        now_ms = self._clock.monotonic_ms()
        for key, status in statuses.items():
            self.supervisor.observe(key, status, now_ms)
            if status is not None:
                self._last[key] = status
        return now_ms

    def _do(self, action: Action, now_ms: int) -> None:
        key = action.key
        try:
            if action.verb is Verb.START:
                self._host.start(key)
            elif action.verb is Verb.KILL:
                self._host.kill(key)
            elif action.verb is Verb.DRAIN:
                self._host.drain(key, action.unterminated)
            else:
                last = self._host.stop(key)
                if last is not None:
                    self._last[key] = last
                self.supervisor.stopped(key)
        except Exception as error:
            if not isinstance(error, RayflumeError):
                log.exception("%s of %s failed", action.verb, key[0])
            log.warning("%s of %s: %s", action.verb, key[0], describe(error))
            if action.verb is Verb.START:
                waiting = isinstance(error, Retry)
                self.supervisor.start_failed(key, describe(error), now_ms, waiting)
            elif action.verb is Verb.STOP:
                self.supervisor.stopped(key)

    @property
    def ended(self) -> bool:
        """Whether nothing runs any more, and nothing will."""
        return self.supervisor.phase is Phase.ENDED

    def join(self, keys: Mapping[Key, PartPlan], again: list[Key]) -> None:
        """More parts are wanted; those in `again` are started anew with what is changed."""
        with self._lock:
            self._plans = dict(keys)
            for key, part in keys.items():
                self.supervisor.add(key, part.kind, is_server(part))
            for key in again:
                self._host.kill(key)
        self._wake.set()

    # -- asked by others ------------------------------------------------------------------------

    def drain(self) -> None:
        """Read to the present end, empty the channels, end."""
        with self._lock:
            self.supervisor.drain()
        self._wake.set()

    def drain_channels(self) -> None:
        """Stop reading, empty the channels, end."""
        with self._lock:
            self.supervisor.drain_channels()
        self._wake.set()

    def stop(self) -> None:
        """Stop at a batch boundary."""
        with self._lock:
            self.supervisor.stop()
        self._wake.set()

    def status(self) -> dict[str, Json]:
        """What `rayflume status --json` prints: stable names, see the documentation."""
        self._attend()
        with self._lock:
            components: list[Json] = [
                self._component(key, self._plans[key]) for key in self.supervisor.keys
            ]
            return {
                "agent": self._watch.plan.agent,
                "state": self.supervisor.state,
                "components": components,
            }

    def _attend(self) -> None:
        """Somebody looks: what he sees must not be as old as a long pause."""
        now_ms = self._clock.monotonic_ms()
        self._asked_ms = now_ms
        if self._watch.alarm is not None and now_ms - self._ticked_ms > 2 * self._watch.tick_ms:
            if not self.ended:
                self._try_tick()
            self._wake.set()

    def _component(self, key: Key, part: PartPlan) -> Json:
        last = self._last.get(key, {})
        pid, node = self._host.place(key)
        shown = self.supervisor.shown(key)
        return {
            "name": part.name,
            "kind": part.kind,
            "type": part.type,
            "replica": key[1],
            "pid": pid,
            "node": node,
            "state": shown["state"],
            "restarts": shown["restarts"],
            "last_error": shown["last_error"],
            "metrics": last.get("metrics", {}),
            "detail": last.get("detail", {}),
        }
