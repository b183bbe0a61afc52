"""Where the parts of an agent go on a Ray cluster, and what is remembered of it.

A channel belongs to the host that has its journal, a source to the host whose files it reads: both
stay where they were started first. A host that comes back is another node to Ray, so nodes are
known again by their host id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.experimental import internal_kv
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayflume.agent.actors import NAMESPACE
from rayflume.agent.nodes import Nodes, first_node, fixed_node, is_fixed, pin_name, pins
from rayflume.agent.parts import host_id
from rayflume.agent.plan_store import PlanStore, Record, joined
from rayflume.agent.watched import Key
from rayflume.clock import SystemClock
from rayflume.config import PartPlan, component_of
from rayflume.errors import ChannelClosed

log = logging.getLogger(__name__)

CHANNEL_THREADS = 64
PART_THREADS = 4
ASK_S = 30
LOOK_AGAIN_MS = 1_000


class RayKeyValue:
    """Ray's key-value store, in rayflume's namespace. See plan_store.KeyValue."""

    def get(self, key: str) -> bytes | None:
        value: bytes | None = internal_kv._internal_kv_get(key, namespace=NAMESPACE)
        return value

    def put(self, key: str, value: bytes) -> None:
        internal_kv._internal_kv_put(key, value, namespace=NAMESPACE)

    def delete(self, key: str) -> None:
        internal_kv._internal_kv_del(key, namespace=NAMESPACE)

    def keys(self, prefix: str) -> list[str]:
        return [k.decode() for k in internal_kv._internal_kv_list(prefix, namespace=NAMESPACE)]


def store() -> PlanStore:
    """The plans in force on this cluster."""
    return PlanStore(RayKeyValue())


def alive_nodes() -> dict[str, dict[str, Any]]:
    """Node id -> what Ray tells of it, of all living nodes, in a stable order."""
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node for node in sorted(nodes, key=lambda node: str(node["NodeID"]))}


def expand(record: Record) -> dict[Key, PartPlan]:
    """All replicas a plan wants on the present nodes. Key -> part."""
    keys: dict[Key, PartPlan] = {}
    for part in record.plan.parts():
        count = len(record.nodes) if part.placement.per_node else part.placement.replicas
        keys |= {(part.name, replica): part for replica in range(count)}
    return keys


def nodes_now() -> Nodes:
    """A look at the living nodes, from this one."""
    return Nodes(alive_nodes(), str(ray.get_runtime_context().get_node_id()))


def hosts_of(nodes: Iterable[str]) -> dict[str, str]:
    """Node id -> host id, of those nodes that answer. Blocks."""
    return _ask_nodes(host_id, nodes)


def _ask_nodes(question: Any, nodes: Iterable[str], *args: object) -> dict[str, Any]:  # noqa: ANN401
    """What a function returns on each node; a node that does not answer is left out. Blocks."""
    ask = ray.remote(num_cpus=0)(question)
    replies = {
        node: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(*args)
        for node in nodes
    }
    found = {}
    for node, reply in replies.items():
        try:
            found[node] = ray.get(reply, timeout=ASK_S)
        except RayError as error:
            log.warning("node %s did not answer: %s", node[:8], error)
    return found


def with_present_nodes(record: Record, twins: Set[str] = frozenset()) -> Record:
    """The record with nodes that have joined since, kept in the store if there are any. Blocks.

    A host that is back gets its replica number back. A node that does not answer yet is left out,
    and so is a second one of a host (see plan_store.joined).
    """
    alive = alive_nodes()
    placed = set(record.nodes)
    new = [node for node in alive if node not in placed]
    if not new:
        return record
    asked = hosts_of(node for node in new if node not in record.hosts)
    hosts = {node: record.hosts[node] for node in new if node in record.hosts} | asked
    known = replace(record, hosts={**record.hosts, **hosts})
    nodes = joined(known, set(alive), list(hosts), twins)
    if nodes == record.nodes and not asked:
        return record
    store().add(record.plan.agent, hosts=known.hosts)
    return store().change(record.plan.agent, nodes=nodes) or record


def actor_options(part: PartPlan, name: str, node: str) -> dict[str, Any]:
    """Options for `ray.remote` of one part; `name`: see actors.actor_name."""
    placement = part.placement
    options: dict[str, Any] = {
        "name": name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "max_restarts": 0,
        "max_task_retries": 0,
        "num_cpus": placement.num_cpus or 0,
        "max_concurrency": CHANNEL_THREADS if part.kind == "channel" else PART_THREADS,
    }
    if placement.memory:
        options["memory"] = placement.memory
    if placement.resources:
        options["resources"] = dict(placement.resources)
    if isinstance(placement.node, Mapping):
        options["label_selector"] = dict(placement.node)
    if node:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
    return options


def _has_journals(directories: Mapping[str, str]) -> list[str]:
    """Channels that have a journal on this host. `directories`: channel -> its directory."""
    return [name for name, place in directories.items() if any(Path(place).glob("segment-*.log"))]


class Round:
    """Where the parts go that are started in one round of the supervisor.

    The nodes are looked at, asked for journals and noted for all of them together: what a single
    start costs does not depend on how many there are.
    """

    def __init__(self, record: Record, plans: Mapping[Key, PartPlan]) -> None:
        self._record = record
        self._plans = plans
        self._kept = store().load(record.plan.agent) or record
        self._clock = SystemClock()
        self._nodes, self._looked_ms = nodes_now(), self._clock.monotonic_ms()
        self._pinned = False
        self._journals: dict[str, list[str]] | None = None
        """Channel -> nodes that have its journal."""
        self._answered: set[str] = set()

    def nodes(self) -> Nodes:
        """The nodes as they were a moment ago: a round of thousands of starts takes minutes."""
        now_ms = self._clock.monotonic_ms()
        if now_ms - self._looked_ms > LOOK_AGAIN_MS:
            self._nodes, self._looked_ms = nodes_now(), now_ms
        return self._nodes

    def node_of(self, key: Key) -> str:
        """The node where a part is to be started, "" when Ray may choose. Blocks.

        Raises ConfigError, or ChannelClosed: try again later.
        """
        part, nodes = self._plans[key], self.nodes()
        node = fixed_node(part, key[1], self._record, nodes)
        if part.kind == "channel" and not node:
            node = self._journal_of(part) or self._begin_journal(part)
        if part.kind == "source" and not node:
            node = self._pin_of(key)
        return node

    def spread_of(self, key: Key) -> str:
        """The node of a part that may run on any, when its replicas are to be spread; else ""."""
        # Ray's SPREAD and its soft affinity are hints: both put two replicas on one node. The
        # choice is made anew at each start, so it holds only while that node lives.
        part = self._plans[key]
        fits = self.nodes().fitting(part) if part.placement.spread else ()
        return fits[key[1] % len(fits)] if fits else ""

    # -- sources --------------------------------------------------------------------------------

    def _pin_of(self, key: Key) -> str:
        """The node on which a source without a fixed place stays: where it was started first.

        Its files are there, and the names of its streams begin with that host. Raises ChannelClosed
        (try again later) while that host is gone.
        """
        if not self._pinned:
            self._pin_all()
            self._pinned = True
        name = pin_name(key)
        if name not in self._kept.pinned:
            first_node(self._plans[key], key[1], self.nodes())
            self._pin_all()  # a node that fits has joined since
        node = self._kept.pinned.get(name, "")
        if node not in self.nodes():
            raise ChannelClosed(f"the node {node[:8]} that {name} reads on is gone: waiting")
        return node

    def _pin_all(self) -> None:
        nodes, hosts = self.nodes(), dict[str, str]()
        if any(node not in nodes for node in self._kept.pinned.values()):
            hosts = hosts_of(node for node in nodes if node not in self._kept.hosts)
        known = replace(self._kept, hosts={**self._kept.hosts, **hosts})
        pinned = pins(self._plans, known, nodes)
        hosts |= hosts_of(set(pinned.values()) - known.hosts.keys())
        if hosts or pinned:
            more = {"pinned": pinned, "hosts": hosts}
            self._kept = store().add(self._record.plan.agent, **more) or self._kept

    # -- channels -------------------------------------------------------------------------------

    def _journal_of(self, part: PartPlan) -> str:
        """The node whose disk has a channel's journal; "" when no node has one and it may be begun
        anywhere. Blocks.

        Raises ChannelClosed (try again later) when there was one and no living node has it.
        """
        path = self._directory(part)
        if not path:
            return ""
        if self._journals is None:
            self._journals = self._ask_journals()
        nodes = self.nodes()
        for node in self._journals.get(part.name, ()):
            if nodes.fits(node, part):
                return node
        begun = self._kept.journals.get(part.name)
        if begun is None:
            return ""
        if begun in self._answered and nodes.fits(begun, part):
            return begun  # it was to be begun there, and that host says it never was
        raise ChannelClosed(
            f"no living node has the journal of channel {part.name} in {path}: waiting for its "
            "node; to begin an empty one, start the agent with --new-journal"
        )

    def _directory(self, part: PartPlan) -> str:
        directory = getattr(component_of(part), "directory", None)
        if directory is None:
            return ""
        return str((self._record.plan.directory / Path(directory).expanduser()).absolute())

    def _ask_journals(self) -> dict[str, list[str]]:
        asked: dict[str, str] = {}
        fits: dict[str, None] = {}
        for part in self._plans.values():
            free = part.kind == "channel" and not is_fixed(part)
            if free and (place := self._directory(part)):
                asked[part.name] = place
                fits |= dict.fromkeys(self.nodes().fitting(part))
        answers = _ask_nodes(_has_journals, fits, asked)
        self._answered = set(answers)
        found: dict[str, list[str]] = {}
        for node, names in answers.items():
            for name in names:
                found.setdefault(name, []).append(node)
        return found

    def _begin_journal(self, part: PartPlan) -> str:
        """The node where a channel begins its first journal, noted before it can hold a row: from
        now on no other node may begin one.
        """
        nodes = self.nodes()
        fits = nodes.fitting(part)
        if not fits:
            raise ChannelClosed(f"no living node has the labels that channel {part.name} asks for")
        node = nodes.here if nodes.fits(nodes.here, part) else fits[0]
        agent = self._record.plan.agent
        self._kept = store().add(agent, journals={part.name: node}) or self._kept
        return node
