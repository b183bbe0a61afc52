"""The loop that keeps an agent as its plan wants it: ask, decide (supervisor.py), do.

The same loop runs in a thread with `--inline` and in the supervisor actor on Ray; a Host does what
differs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, runtime_checkable

from rayflume.agent.changes import Changes, changes, prints, refusals
from rayflume.agent.parts import Status
from rayflume.agent.runner import describe
from rayflume.agent.supervisor import Phase, Supervisor
from rayflume.agent.watched import Action, Key, Verb, Wanted
from rayflume.clock import Clock
from rayflume.component import lookup
from rayflume.config import AgentPlan, PartPlan
from rayflume.errors import ConfigError, RayflumeError, Retry
from rayflume.interfaces import Json

log = logging.getLogger(__name__)

TICK_MS = 100
RENEWING_TICK_MS = 10
"""In one process a question costs nothing: parts that wait for each other are asked often."""
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


@runtime_checkable
class Renews(Protocol):
    """A Host whose parts can be exchanged while the agent runs."""

    def renew(self, plan: AgentPlan) -> Mapping[Key, PartPlan]:
        """Start parts by this plan from now on; returns all that it wants. The plan before is still
        known: `start_former`.
        """
        ...

    def start_former(self, key: Key) -> None: ...
    def hold(self, key: Key) -> None: ...
    def resume(self, key: Key) -> None: ...
    def adjust(self, key: Key) -> None: ...
    def settled(self) -> None:
        """All parts are as the plan wants them: forget the one before."""
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
    def renewing_tick_ms(self) -> int:
        return self.tick_ms if self.alarm else min(self.tick_ms, RENEWING_TICK_MS)

    @property
    def steady_tick_ms(self) -> int:
        return max(self.tick_ms, min(STEADY_TICK_MS, self.plan.orphan_after_ms // ORPHAN_SHARE))


def is_server(part: PartPlan) -> bool:
    """Whether a source listens instead of reading: it has no end of its own."""
    return part.kind == "source" and bool(getattr(lookup("source", part.type), "server", False))


def wanted_of(plan: AgentPlan, keys: Mapping[Key, PartPlan]) -> dict[Key, Wanted]:
    """What a supervisor must know of the parts of a plan. `keys`: its replicas."""
    known = prints(plan)
    return {
        key: Wanted(part.kind, is_server(part), known[part.name], part.channels)
        for key, part in keys.items()
        if part.name in known
    }


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
        self._renewing = False

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
        if self._renewing:
            return self._watch.renewing_tick_ms
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
            self._settle()

    def _settle(self) -> None:
        if self._renewing and not self.supervisor.renewing():
            self._renewing = False
            if isinstance(self._host, Renews):
                self._host.settled()

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
            if action.verb is Verb.START and not action.former:
                self._host.start(key)
            elif action.verb is Verb.KILL:
                self._host.kill(key)
            elif action.verb is Verb.DRAIN:
                self._host.drain(key, action.unterminated)
            elif action.verb is Verb.STOP:
                last = self._host.stop(key)
                if last is not None:
                    self._last[key] = last
                self.supervisor.stopped(key)
            elif isinstance(self._host, Renews):
                self._do_renewal(action, self._host)
        except Exception as error:
            if not isinstance(error, RayflumeError):
                log.exception("%s of %s failed", action.verb, key[0])
            log.warning("%s of %s: %s", action.verb, key[0], describe(error))
            if action.verb is Verb.START:
                waiting = isinstance(error, Retry)
                self.supervisor.start_failed(key, describe(error), now_ms, waiting)
            elif action.verb is Verb.STOP:
                self.supervisor.stopped(key)

    def _do_renewal(self, action: Action, host: Renews) -> None:
        key = action.key
        if action.verb is Verb.START:
            host.start_former(key)
        elif action.verb is Verb.HOLD:
            host.hold(key)
        elif action.verb is Verb.RESUME:
            host.resume(key)
        elif action.verb is Verb.ADJUST:
            host.adjust(key)
            self.supervisor.adjusted(key)
        else:
            self._host.stop(key)
            self._host.kill(key)
            self.supervisor.renewed(key)
            if action.verb is Verb.REMOVE:
                self._plans.pop(key, None)
                self._last.pop(key, None)

    @property
    def ended(self) -> bool:
        """Whether nothing runs any more, and nothing will."""
        return self.supervisor.phase is Phase.ENDED

    def join(self, keys: Mapping[Key, PartPlan], again: list[Key]) -> None:
        """More parts are wanted; those in `again` are started anew with what is changed."""
        with self._lock:
            self._plans = {**self._plans, **keys}
            for key, part in keys.items():
                self.supervisor.add(key, part.kind, is_server(part))
            for key in again:
                self._host.kill(key)
        self._wake.set()

    # -- another plan ---------------------------------------------------------------------------

    def apply(self, plan: AgentPlan, store: Callable[[], None]) -> Changes:
        """Put another plan in force: `store` keeps it, then parts that differ change one after the
        other, at batch boundaries; see `renewing`. Blocks for a round of questions, not for the
        change.

        Raises ConfigError with all `problems` when it is refused; nothing has changed then.
        """
        with self._lock:
            if plan == self._watch.plan:
                return changes(plan, plan)  # asked again, for the answer was lost
            self._ask()
            problems = self._refused(plan)
            if problems:
                raise ConfigError("\n".join(problems), problems=tuple(problems))
            old = self._watch.plan
            what = changes(old, plan)
            store()
            assert isinstance(self._host, Renews)
            self._follow(plan, wanted_of(old, self._plans), self._host.renew(plan))
        self._wake.set()
        return what

    def go_on(self, former: AgentPlan, keys: Mapping[Key, PartPlan]) -> None:
        """Of a supervisor that was rebuilt in the middle of a change: bring it to its end. `keys`:
        the replicas of the plan before.
        """
        plan, now = self._watch.plan, self._plans
        with self._lock:
            self._plans = {**keys, **now}
            self._follow(plan, wanted_of(former, keys), now)

    def _follow(
        self, plan: AgentPlan, former: Mapping[Key, Wanted], keys: Mapping[Key, PartPlan]
    ) -> None:
        self.supervisor.renew(wanted_of(plan, keys), former)
        self._plans = {**self._plans, **keys}
        self._watch = replace(self._watch, plan=plan)
        self._renewing = True

    def _refused(self, plan: AgentPlan) -> list[str]:
        if not isinstance(self._host, Renews):
            return ["this agent cannot change while it runs: stop it, and start the new file"]
        if self.supervisor.phase is not Phase.RUNNING:
            return [f"the agent is {self.supervisor.state}: start the new file when it has ended"]
        if self._renewing and (waiting := self.supervisor.renewing()):
            return [f"the change before is not done yet: {'; '.join(waiting)}; try again then"]
        return refusals(self._watch.plan, plan, self.supervisor.found())

    def renewing(self) -> list[str]:
        """Parts that are not yet as the newest plan wants them, a sentence each."""
        with self._lock:
            return self.supervisor.renewing()

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
