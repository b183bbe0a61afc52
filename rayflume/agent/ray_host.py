"""The parts of an agent as detached, named actors: started, asked, ended, and found again by name.

Nobody waits long for one part: all are asked at once, and an answer that has not come by then is
looked for the next time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from rayflume.agent.actors import NAMESPACE, Assignment, PartActor, actor_name
from rayflume.agent.changes import prints
from rayflume.agent.marking import marks
from rayflume.agent.parts import WATCHED, Place, Status
from rayflume.agent.placement import Round, actor_options, expand, store
from rayflume.agent.plan_store import Record
from rayflume.agent.watched import Key
from rayflume.clock import SystemClock
from rayflume.config import AgentPlan, PartPlan
from rayflume.errors import Retry

log = logging.getLogger(__name__)

STATUS_WAIT_S = 0.3
HUNG_MS = 60_000
START_MS = 180_000
_SILENT = object()
"""Instead of an answer: the part is dead or hangs, and is not worth another question."""


class RayHost:
    """Parts as detached actors. See control.Host and control.Renews."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._plans = expand(record)
        self._prints = prints(record.plan)
        self._handles: dict[Key, Any] = {}
        self._asked: dict[Key, tuple[Any, int]] = {}
        self._last: dict[Key, Status] = {}
        self._round: Round | None = None
        self._watched: dict[Key, Any] = {}
        self._clock = SystemClock()

    def adopt(self, key: Key) -> bool:
        """Find a part that runs already, by its name."""
        name = actor_name(self._record.plan.agent, *key)
        try:
            self._handles[key] = ray.get_actor(name, NAMESPACE)
        except ValueError:
            return False
        return True

    def start(self, key: Key) -> None:
        if self._round is None:
            self._round = Round(self._record, self._plans)
        self._start(key, self._round)

    def start_former(self, key: Key) -> None:
        """As it was in the plan before. The host for it alone knows no other plan."""
        before = self._record.before
        former = RayHost(self._record if before is None else replace(self._record, plan=before))
        former.start(key)
        self._handles[key] = former._handles[key]
        self._last.pop(key, None)
        self._asked.pop(key, None)

    def _place(self, key: Key, node: str) -> Place:
        plan, part = self._record.plan, self._plans[key]
        channel = plan.channels.get(part.channel)
        grouped = channel is not None and channel.placement.per_node
        nodes = max(1, len(self._record.nodes))
        return Place(plan, part, key[1], node, grouped, nodes, self._prints[part.name])

    def _start(self, key: Key, found: Round) -> None:
        part = self._plans[key]
        node = found.node_of(key)
        place = self._place(key, node)
        agent = self._record.plan.agent
        channels = self._channels(part, key[1])
        assignment = Assignment(place, channels, self._record.plan.orphan_after_ms)
        name = actor_name(agent, part.name, key[1])
        options = actor_options(part, name, node or found.spread_of(key))
        try:
            self._handles[key] = ray.remote(PartActor).options(**options).remote(assignment)
        except (RayError, ValueError) as error:
            raise Retry(f"{part.name} can't be placed: {error}") from error
        self._last.pop(key, None)
        self._asked.pop(key, None)

    def _channels(self, part: PartPlan, replica: int) -> dict[str, str]:
        """Channel -> actor. A source beside a `per_node` channel writes to that of its own node;
        the sinks share the journals out among them.
        """
        plan, found = self._record.plan, {}
        for name in part.channels:
            if not plan.channels[name].placement.per_node:
                found[name] = actor_name(plan.agent, name, 0)
            elif part.kind == "source":
                found[name] = actor_name(plan.agent, name, replica)
            else:
                count = part.placement.replicas
                for journal in range(replica, len(self._record.nodes), count):
                    found[f"{name}/{journal}"] = actor_name(plan.agent, name, journal)
                if replica == 0 and marks(part):
                    for journal in range(len(self._record.nodes)):
                        watched = f"{name}{WATCHED}{journal}"
                        found[watched] = actor_name(plan.agent, name, journal)
        return found

    def join(self, record: Record) -> list[Key]:
        """Nodes have joined: take over the record; returns the sinks that must start anew."""
        self._take_over(record)
        shared = {n for n, part in record.plan.channels.items() if part.placement.per_node}
        sinks = [(key, part) for key, part in self._plans.items() if part.kind == "sink"]
        # Markers of complete partitions count the nodes.
        return [key for key, part in sinks if part.channel in shared or marks(part)]

    def renew(self, plan: AgentPlan) -> Mapping[Key, PartPlan]:
        self._take_over(replace(self._record, plan=plan, before=self._record.plan))
        return self._plans

    def _take_over(self, record: Record) -> None:
        self._record, self._plans = record, expand(record)
        self._prints, self._round = prints(record.plan), None

    def settled(self) -> None:
        store().change(self._record.plan.agent, before=None)
        self._record = replace(self._record, before=None)

    def hold(self, key: Key) -> None:
        self._ask(key, "hold")

    def resume(self, key: Key) -> None:
        self._ask(key, "resume")

    def adjust(self, key: Key) -> None:
        last = self._last.get(key, {})
        self._ask(key, "adjust", self._place(key, str(last.get("node", ""))))

    def kill(self, key: Key) -> None:
        if key not in self._handles and not self.adopt(key):
            return
        ray.kill(self._handles.pop(key), no_restart=True)
        self._asked.pop(key, None)

    def drain(self, key: Key, unterminated: bool) -> None:
        self._ask(key, "drain", unterminated)

    def stop(self, key: Key) -> Status | None:
        if self._ask(key, "stop") is not _SILENT:
            last = self._ask(key, "status")
            if isinstance(last, dict):
                self._last[key] = last
        self.kill(key)
        return self._last.get(key)

    def _ask(self, key: Key, method: str, *args: object) -> object:
        try:
            return ray.get(getattr(self._handles[key], method).remote(*args), timeout=30)
        except (RayActorError, GetTimeoutError, KeyError) as error:
            log.warning("%s of %s: %s", method, key[0], type(error).__name__)
            return _SILENT

    def statuses(self, keys: list[Key]) -> Mapping[Key, Status | None]:
        self._round = None  # a new one begins with the question how all are
        now_ms = self._clock.monotonic_ms()
        for key in keys:
            if key in self._handles and key not in self._asked:
                self._asked[key] = self._handles[key].status.remote(), now_ms
        waiting = [self._asked[key][0] for key in keys if key in self._asked]
        if waiting:
            ray.wait(waiting, num_returns=len(waiting), timeout=STATUS_WAIT_S)
        return {key: self._answer(key, now_ms) for key in keys}

    def alarm(self, keys: list[Key], wake: Callable[[], None]) -> None:
        """Call `wake` when a part dies or runs no more. See control.Alarm."""
        for key in keys:
            watched = self._watched.get(key)
            if key in self._handles and (watched is None or watched.done()):
                self._watched[key] = self._handles[key].watch.remote().future()
                self._watched[key].add_done_callback(lambda _: wake())

    def _answer(self, key: Key, now_ms: int) -> Status | None:
        if key not in self._asked:
            return None
        reply, since_ms = self._asked[key]
        try:
            status: Status = ray.get(reply, timeout=0)
        except GetTimeoutError:
            limit = HUNG_MS if key in self._last else START_MS
            if now_ms - since_ms > limit:
                del self._asked[key]
                return None
            return self._last.get(key, {"state": "starting", "last_error": None, "metrics": {}})
        except RayError:
            del self._asked[key]
            self._last.pop(key, None)
            return None
        del self._asked[key]
        self._last[key] = status
        return status

    def place(self, key: Key) -> tuple[int, str]:
        status = self._last.get(key, {})
        return int(str(status.get("pid", 0))), str(status.get("node", ""))[:12]
