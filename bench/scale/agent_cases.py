"""Decisions for a whole agent: the real supervisor, control loop, placing and figures, over parts
that answer at once.

On n nodes: n / 10 channels, each with a sink and 100 sources, so 10 sources on each node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from bench.scale.measure import Case, Decide
from rayflume.agent.control import Control, Watch
from rayflume.agent.figures import Meter
from rayflume.agent.nodes import Nodes, fixed_node, pin_name, pins
from rayflume.agent.parts import Status
from rayflume.agent.plan_store import Record, joined, record_from_json, record_to_json
from rayflume.agent.watched import Key
from rayflume.clock import ManualClock
from rayflume.config import AgentPlan, PartPlan, plan_of
from rayflume.interfaces import Json

NODES_PER_CHANNEL, SOURCES, REPLICAS = 10, 10, 10
TICK_MS = 100
METRICS = {
    "source": {"EventReceivedCount": 1, "EventAcceptedCount": 1, "BytesReceivedCount": 224},
    "channel": {"EventPutSuccessCount": 1, "ChannelSize": 1, "ChannelBytes": 224},
    "sink": {"EventDrainAttemptCount": 1, "EventDrainSuccessCount": 1, "BytesDrainedCount": 224},
}


@cache
def plan(nodes: int) -> AgentPlan:
    sources: dict[str, Any] = {}
    channels: dict[str, Any] = {}
    sinks: dict[str, Any] = {}
    for c in range(max(1, nodes // NODES_PER_CHANNEL)):
        channels[f"wal{c}"] = {"type": "file", "directory": f"wal{c}"}
        sinks[f"lake{c}"] = {"type": "null", "channel": f"wal{c}"}
        for s in range(SOURCES):
            place = {"replicas": REPLICAS, "spread": True}
            source = {"type": "http", "port": 1, "channels": [f"wal{c}"], "placement": place}
            sources[f"web{c}x{s}"] = source
    conf = {"agent": "scale", "sources": sources, "channels": channels, "sinks": sinks}
    return plan_of(conf, Path("/nowhere"))


def keys(nodes: int) -> dict[Key, PartPlan]:
    return {(p.name, i): p for p in plan(nodes).parts() for i in range(p.placement.replicas)}


@dataclass
class Parts:
    """Parts that run as soon as they are started. See control.Host."""

    plans: Mapping[Key, PartPlan]
    running: dict[Key, Status] = field(default_factory=dict)

    def start(self, key: Key) -> None:
        kind = self.plans[key].kind
        waiting = {"waiting": 1, "leased": 0, "prepared": 0} if kind == "channel" else {}
        detail, metrics = dict[str, Json](waiting), dict[str, Json](METRICS[kind])
        status: Status = {"state": "running", "last_error": None, "metrics": metrics}
        status["detail"] = detail
        self.running[key] = status

    def kill(self, key: Key) -> None:
        self.running.pop(key, None)

    def drain(self, key: Key, unterminated: bool) -> None:
        """Nothing is read."""

    def stop(self, key: Key) -> Status | None:
        return self.running.pop(key, None)

    def statuses(self, keys: list[Key]) -> Mapping[Key, Status | None]:
        return {key: self.running.get(key) for key in keys}

    def place(self, key: Key) -> tuple[int, str]:
        return 1, "node"


@dataclass
class Rig:
    """An agent under control. `parts` run in it."""

    control: Control
    host: Parts
    clock: ManualClock

    @property
    def parts(self) -> int:
        return len(self.host.plans)

    def tick(self) -> int:
        self.clock.advance(TICK_MS)
        self.control.tick()
        return self.parts


def rig(nodes: int) -> Rig:
    clock, plans = ManualClock(), keys(nodes)
    host = Parts(plans)
    return Rig(Control(Watch(plan(nodes)), host, plans, clock), host, clock)


def _running(nodes: int) -> Rig:
    made = rig(nodes)
    for _ in range(2):
        made.tick()
    if len(made.host.running) != made.parts:
        raise RuntimeError("not all parts run")
    return made


def start(n: int) -> Decide:
    """The first round."""
    return rig(n).tick


def tick(n: int) -> Decide:
    """A round in which nothing happens."""
    return _running(n).tick


def restart(n: int) -> Decide:
    """All parts have died at once: one round notices it, the next ones start them again."""
    made = _running(n)
    made.host.running.clear()

    def run() -> int:
        while len(made.host.running) != made.parts:
            made.tick()
        return made.parts

    return run


def drain_and_end(n: int) -> Decide:
    """From `stop` to the end."""
    made = _running(n)
    made.control.stop()

    def run() -> int:
        while not made.control.ended:
            made.tick()
        return made.parts

    return run


def status(n: int) -> Decide:
    made = _running(n)

    def run() -> int:
        return len(made.control.status()["components"])  # type: ignore[arg-type]

    return run


def figures(n: int) -> Decide:
    made = _running(n)
    meter, shown, now_ms = Meter(0), made.control.status(), count(0, TICK_MS)

    def run() -> int:
        read = meter.read(shown, next(now_ms))
        sums = read.rows_in, read.rows_delivered, read.backlog, read.errors, read.rate("source")
        if sums[0] != len(read.parts) - 2 * len(plan(n).channels) or read.blocked():
            raise RuntimeError("the sums are wrong")
        return len(read.parts)

    return run


# -- placing --------------------------------------------------------------------------------------


def _nodes(n: int) -> Nodes:
    return Nodes(
        {
            f"{i:056x}": {
                "NodeManagerAddress": f"10.0.{i // 250}.{i % 250}",
                "NodeManagerHostname": f"host-{i}",
                "Labels": {"rack": str(i % 7)},
            }
            for i in range(n)
        },
        "0" * 56,
    )


def place(n: int) -> Decide:
    """One look at the nodes, then a place for every part; sources are pinned."""
    record, plans = Record(plan(n)), keys(n)

    def run() -> int:
        nodes = _nodes(n)
        pinned = pins(plans, record, nodes)
        for key, part in plans.items():
            if not fixed_node(part, key[1], record, nodes) and part.kind == "source":
                pinned[pin_name(key)]
        return len(plans)

    return run


def come_back(n: int) -> Decide:
    """Every host has come back as another node."""
    nodes, plans = _nodes(n), keys(n)
    names = list(nodes)
    hosts = {f"old-{i}": f"host-{i}" for i in range(n)}
    hosts |= {node: f"host-{i}" for i, node in enumerate(names)}
    pinned = {pin_name(key): f"old-{i % n}" for i, key in enumerate(plans)}
    record = replace(Record(plan(n)), hosts=hosts, pinned=pinned)

    def run() -> int:
        changed = pins(plans, record, nodes)
        if len(changed) != len([part for part in plans.values() if part.kind == "source"]):
            raise RuntimeError("not every source is where its host is")
        return len(plans)

    return run


def join(n: int) -> Decide:
    """As many nodes join as there are, with a host of their own or as one that is back."""
    old, new = [f"old-{i}" for i in range(n)], [f"new-{i}" for i in range(n)]
    hosts = {node: f"host-{i}" for i, node in enumerate(old)}
    hosts |= {node: f"host-{i if i % 2 else n + i}" for i, node in enumerate(new)}
    record = Record(plan(10), nodes=tuple(old), hosts=hosts)
    alive = set(old[::2]) | set(new)

    def run() -> int:
        nodes = joined(record, alive, new)
        if len(nodes) != n + (n + 1) // 2:
            raise RuntimeError("a host that is back keeps its place, a new one gets another")
        return n

    return run


def keep(n: int) -> Decide:
    """The plan to JSON and back, as when it is kept and a supervisor is built anew."""
    pinned = {pin_name(key): "0" * 56 for key in keys(n)}
    record = replace(Record(plan(n)), pinned=pinned, nodes=tuple(_nodes(n)))

    def run() -> int:
        if record_from_json(record_to_json(record)).pinned != pinned:
            raise RuntimeError("the record has changed")
        return len(pinned)

    return run


def cases(nodes: tuple[int, ...]) -> list[Case]:
    """`nodes`: sizes of the cluster."""
    return [
        Case("supervisor: a round, per part", "nodes", nodes, tick),
        Case("supervisor: first start, per part", "nodes", nodes, start),
        Case("supervisor: all die, per part", "nodes", nodes, restart),
        Case("supervisor: stop, per part", "nodes", nodes, drain_and_end),
        Case("status, per part", "nodes", nodes, status),
        Case("figures, per part", "nodes", nodes, figures),
        Case("placing, per part", "nodes", nodes, place),
        Case("placing after all hosts came back, per part", "nodes", nodes, come_back),
        Case("a node joins", "nodes", nodes, join),
        Case("keeping the plan, per part", "nodes", nodes, keep),
    ]
