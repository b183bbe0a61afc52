"""An agent on a Ray cluster: connecting, placing actors, the supervisor actor, finding agents.

The part actors are detached and named, with Ray's own restarts off: whoever is killed, the
supervisor (which Ray does restart) finds the others by name and goes on. Ray calls are here and in
actors.py, nowhere else.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from rayflume.agent.actors import NAMESPACE, Assignment, ChannelProxy, PartActor, actor_name
from rayflume.agent.changes import Changes, prints
from rayflume.agent.control import Control, Watch
from rayflume.agent.marking import marks
from rayflume.agent.parts import WATCHED, Place, Status
from rayflume.agent.placement import (
    Round,
    actor_options,
    alive_nodes,
    expand,
    store,
    with_present_nodes,
)
from rayflume.agent.plan_store import Record
from rayflume.agent.ray_address import check_answers, no_ray
from rayflume.agent.supervisor import Key
from rayflume.clock import SystemClock
from rayflume.config import AgentPlan, PartPlan
from rayflume.errors import ConfigError, Retry
from rayflume.interfaces import Json

log = logging.getLogger(__name__)

STATUS_WAIT_S = 0.3
HUNG_MS = 60_000
START_MS = 180_000
_SUPERVISOR = "supervisor"
_SILENT = object()
"""Instead of an answer: the part is dead or hangs, and is not worth another question."""
NODES_WATCH_S = 5.0
TWIN_MS = 60_000
"""By then Ray has noticed a node that died; another one of its host stands beside it."""


def connect(
    address: str | None, *, log_to_driver: bool = False, modules: Sequence[Path] = ()
) -> bool:
    """Connect to a cluster, or start Ray on this machine when `address` is None. Blocks (12-15 s).

    `modules`: Python files and packages of users' own parts, which Ray brings to all nodes.
    False when this process was connected already. Raises ConfigError with what to do when there is
    no cluster at `address`.
    """
    if ray.is_initialized():
        return False
    if address is not None:
        check_answers(address)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's default of 15 lets whatever else is busy on this machine hold up each put and publish.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(
            address=address or "local",
            namespace=NAMESPACE,
            log_to_driver=log_to_driver,
            logging_level=logging.WARNING,
            include_dashboard=False if address is None else None,
            configure_logging=False,
            runtime_env={"py_modules": [str(path) for path in modules]} if modules else None,
        )
    except Exception as error:  # of a node that does not come up in time Ray raises no other class
        raise no_ray(address, error) from error
    return True


def disconnect() -> None:
    """Leave the cluster (a local one ends)."""
    ray.shutdown()


# -- the host of a control loop -----------------------------------------------------------------


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


# -- the supervisor actor -----------------------------------------------------------------------


class SupervisorActor:
    """The control loop of one agent, in an actor that Ray restarts. Reads its plan from the
    store.
    """

    def __init__(self, agent: str) -> None:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        self._agent = agent
        record = store().load(agent)
        if record is None:
            raise ConfigError(f"no plan of agent {agent} is kept on this cluster")
        record.plan.make_importable()
        if any(part.placement.per_node for part in record.plan.parts()):
            record = with_present_nodes(record)
        host = RayHost(record)
        keys = expand(record)
        watch = Watch(record.plan, record.until_drained, alarm=host.alarm)
        self._control = Control(watch, host, keys, SystemClock())
        former = {} if record.before is None else expand(replace(record, plan=record.before))
        if record.before is not None:
            self._control.go_on(record.before, former)
        for key in {**former, **keys}:
            if host.adopt(key):
                self._control.supervisor.adopt(key)
        if record.asked:
            getattr(self._control, record.asked)()
        self._host, self._record = host, record
        threading.Thread(target=self._run, name="rayflume-control", daemon=True).start()

    def _run(self) -> None:
        if any(part.placement.per_node for part in self._record.plan.parts()):
            threading.Thread(target=self._watch_nodes, name="rayflume-nodes", daemon=True).start()
        self._control.run()

    def _watch_nodes(self) -> None:
        """Parts that run on every node run on those that join later, too."""
        pause, seen, clock = threading.Event(), dict[str, int](), SystemClock()
        while not self._control.ended:
            pause.wait(NODES_WATCH_S)
            now_ms = clock.monotonic_ms()
            seen = {node: seen.get(node, now_ms) for node in alive_nodes()}
            twins = {node for node, since_ms in seen.items() if now_ms - since_ms > TWIN_MS}
            before, changed = self._record, with_present_nodes(self._record, twins)
            self._record = changed
            if changed.nodes != before.nodes:
                more = len(changed.nodes) > len(before.nodes)
                again = self._host.join(changed)
                self._control.join(expand(changed), again if more else [])

    def status(self) -> dict[str, Json]:
        """As `rayflume status --json`."""
        return self._control.status()

    def ask(self, what: str) -> None:
        """`drain`, `drain_channels` or `stop`; kept, so that a rebuilt supervisor goes on with
        it.
        """
        store().change(self._agent, asked=what)
        getattr(self._control, what)()

    def apply(self, plan: str) -> tuple[Changes | None, tuple[str, ...]]:
        """Put another plan (as JSON) in force; kept first, so that a rebuilt supervisor goes on
        with it. What changes, or why it is refused.
        """
        new = AgentPlan.from_json(plan)
        try:
            return self._control.apply(new, lambda: self._keep(new)), ()
        except ConfigError as error:
            return None, error.problems or (error.message,)

    def _keep(self, plan: AgentPlan) -> None:
        before = self._record.plan
        kept = store().load(self._agent) or self._record
        begun = [name for name in plan.channels if name in before.channels]
        journals = {**dict.fromkeys(begun, ""), **kept.journals}
        changed = {"plan": plan, "before": before, "version": kept.version + 1}
        store().change(self._agent, journals=journals, **changed)
        self._record = replace(self._record, plan=plan, before=before)

    def renewing(self) -> list[str]:
        """Parts that are not yet as the newest plan wants them, a sentence each."""
        return self._control.renewing()

    def pid(self) -> int:
        """Process id of this supervisor."""
        return os.getpid()


def start_agent(record: Record, *, detached: bool) -> RayAgent:
    """Keep the plan and start its supervisor; parts follow. Blocks until the supervisor answers.

    Raises ConfigError when an agent of that name runs already.
    """
    agent = record.plan.agent
    running = find_agent(agent)
    if running is not None and running.join(0):
        running.close()  # it has ended and only its last status was kept
    elif running is not None:
        raise ConfigError(
            f"an agent {agent!r} runs already on this cluster: `rayflume stop {agent}` first"
        )
    earlier = store().load(agent)
    if earlier is not None:
        begun = [name for name in record.plan.channels if name in earlier.plan.channels]
        record = replace(
            record,
            version=earlier.version + 1,
            nodes=earlier.nodes,
            journals={} if record.new_journal else dict.fromkeys(begun, ""),
            pinned=earlier.pinned,
            hosts=earlier.hosts,
        )
        # What an earlier life left behind runs by an earlier plan: it must not be adopted.
        for plan in filter(None, (earlier.plan, earlier.before)):
            host = RayHost(replace(record, plan=plan))
            for key in expand(replace(record, plan=plan)):
                host.kill(key)
    store().save(record)
    options: dict[str, Any] = {
        "name": actor_name(agent, _SUPERVISOR, 0),
        "namespace": NAMESPACE,
        "max_restarts": -1,
        "max_task_retries": 3,
        "num_cpus": 0,
        "max_concurrency": 8,
    }
    if detached:
        options["lifetime"] = "detached"
    handle = ray.remote(SupervisorActor).options(**options).remote(agent)
    running = RayAgent(agent, handle)
    running.status()
    return running


def find_agent(agent: str) -> RayAgent | None:
    """A running agent by its name; None when there is none on this cluster."""
    try:
        return RayAgent(agent, ray.get_actor(actor_name(agent, _SUPERVISOR, 0), NAMESPACE))
    except ValueError:
        return None


def agents() -> list[str]:
    """Names of the agents that run on this cluster."""
    return [name for name in store().agents() if find_agent(name) is not None]


class RayAgent:
    """A running agent on a cluster. All calls block for a round trip; any process may make them."""

    def __init__(self, name: str, supervisor: Any) -> None:  # noqa: ANN401 - Ray's handles have no type
        self.name = name
        self._supervisor = supervisor

    def status(self) -> dict[str, Json]:
        """As `rayflume status --json`. Raises Retry when the supervisor does not answer."""
        return dict(self._get(self._supervisor.status.remote()))

    def drain(self) -> None:
        """Read to the present end of the input and empty the channels."""
        self._get(self._supervisor.ask.remote("drain"))

    def drain_channels(self) -> None:
        """Stop reading and empty the channels."""
        self._get(self._supervisor.ask.remote("drain_channels"))

    def stop(self) -> None:
        """Stop at a batch boundary; what the channels hold stays there."""
        self._get(self._supervisor.ask.remote("stop"))

    def apply(self, plan: AgentPlan) -> Changes:
        """Put another plan in force; see control.Control.apply. Raises ConfigError when it is
        refused.
        """
        what, problems = self._get(self._supervisor.apply.remote(plan.to_json()))
        if what is None:
            raise ConfigError("\n".join(problems), problems=tuple(problems))
        done: Changes = what
        return done

    def renewing(self) -> list[str]:
        """Parts that are not yet as the newest plan wants them, a sentence each."""
        return list(self._get(self._supervisor.renewing.remote()))

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; False when `timeout_s` passed before."""
        pause, left = threading.Event(), timeout_s
        while self.status()["state"] not in ("drained", "stopped", "failed") or not self.ended():
            pause.wait(0.2)
            if left is not None:
                left -= 0.2
                if left <= 0:
                    return False
        return True

    def ended(self) -> bool:
        """Whether all parts have stopped."""
        parts = self.status()["components"]
        assert isinstance(parts, list)
        states = [part["state"] for part in parts if isinstance(part, dict)]
        return all(state in ("stopped", "failed", "wanted") for state in states)

    def pid(self) -> int:
        """Process id of the supervisor, to watch it."""
        return int(self._get(self._supervisor.pid.remote()))

    def close(self) -> None:
        """End the supervisor after the agent has ended, and forget that it was asked to."""
        store().change(self.name, asked="", until_drained=False)
        ray.kill(self._supervisor, no_restart=True)

    def tap(self, channel: str, rows_max: int) -> list[Any]:
        """Up to the newest rows of a channel, as Put records, without taking them."""
        name, _, replica = channel.partition("/")
        return ChannelProxy(channel, actor_name(self.name, name, int(replica or 0))).tap(rows_max)

    def _get(self, reply: Any) -> Any:  # noqa: ANN401
        try:
            return ray.get(reply, timeout=60)
        except (RayActorError, GetTimeoutError) as error:
            cause = str(error).strip().splitlines()[-1]
            raise Retry(f"the supervisor of {self.name} does not answer: {cause}") from error
