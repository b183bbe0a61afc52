"""The supervisor as an actor: the control loop of one agent, built anew from the kept plan."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace

from rayflume.agent.changes import Changes
from rayflume.agent.control import Control, Watch
from rayflume.agent.placement import alive_nodes, expand, store, with_present_nodes
from rayflume.agent.ray_host import RayHost
from rayflume.clock import SystemClock
from rayflume.config import AgentPlan
from rayflume.errors import ConfigError
from rayflume.interfaces import Json

NODES_WATCH_S = 5.0
TWIN_MS = 60_000
"""By then Ray has noticed a node that died; another one of its host stands beside it."""


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
