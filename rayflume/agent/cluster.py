"""An agent on a Ray cluster, seen from outside: connecting, starting agents, finding them again.

The part actors (ray_host.py) are detached and named, with Ray's own restarts off: whoever is
killed, the supervisor (supervisor_actor.py), which Ray does restart, finds the others by name and
goes on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError

from rayflume.agent.actors import NAMESPACE, ChannelProxy, actor_name
from rayflume.agent.changes import Changes
from rayflume.agent.placement import expand, store
from rayflume.agent.plan_store import Record
from rayflume.agent.ray_address import check_answers, no_ray
from rayflume.agent.ray_host import RayHost
from rayflume.agent.supervisor_actor import SupervisorActor
from rayflume.config import AgentPlan
from rayflume.errors import ConfigError, Retry
from rayflume.interfaces import Json

_SUPERVISOR = "supervisor"


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


def start_agent(record: Record, *, detached: bool) -> RayAgent:
    """Keep the plan and start its supervisor; parts follow. Blocks until the supervisor answers.

    Raises ConfigError when an agent of that name runs already, or can never be drained as asked.
    """
    if record.until_drained:
        record.plan.check_drainable()
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
        record = _following(earlier, record)
        _end_left_behind(earlier, record)
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


def _following(earlier: Record, record: Record) -> Record:
    """`record` with what the cluster keeps of the agent's earlier life: where its parts and the
    journals that were begun belong.
    """
    begun = [name for name in record.plan.channels if name in earlier.plan.channels]
    return replace(
        record,
        version=earlier.version + 1,
        nodes=earlier.nodes,
        journals={} if record.new_journal else dict.fromkeys(begun, ""),
        pinned=earlier.pinned,
        hosts=earlier.hosts,
    )


def _end_left_behind(earlier: Record, record: Record) -> None:
    """Kill the parts of an earlier life: they run by an earlier plan and must not be adopted."""
    for plan in filter(None, (earlier.plan, earlier.before)):
        left = replace(record, plan=plan)
        host = RayHost(left)
        for key in expand(left):
            host.kill(key)


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
