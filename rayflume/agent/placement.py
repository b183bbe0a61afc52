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

from rayflume.agent.actors import NAMESPACE, actor_name
from rayflume.agent.parts import host_id
from rayflume.agent.plan_store import PlanStore, Record, joined
from rayflume.agent.supervisor import Key
from rayflume.config import PartPlan, component_of
from rayflume.errors import ChannelClosed, ConfigError

log = logging.getLogger(__name__)

CHANNEL_THREADS = 64
PART_THREADS = 4
ASK_S = 30


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


def find_node(part: PartPlan, replica: int, record: Record) -> str:
    """The node a replica must run on, "" when Ray may choose. Raises ConfigError: no such node."""
    nodes = alive_nodes()
    if part.placement.per_node:
        wanted = record.nodes[replica]
        if wanted not in nodes:
            raise ChannelClosed(f"the node {wanted[:8]} of {part.name}/{replica} is gone")
        return wanted
    where = part.placement.node
    if isinstance(where, str):
        for node_id, node in nodes.items():
            if where in (node_id, node["NodeManagerAddress"], node["NodeManagerHostname"]):
                return node_id
        known = ", ".join(str(node["NodeManagerAddress"]) for node in nodes.values())
        raise ConfigError(f"{part.where}.placement.node: no node {where!r}; there are: {known}")
    return ""


def nodes_that_fit(part: PartPlan) -> list[str]:
    """All living nodes with the labels a part asks for, in a stable order."""
    wanted = part.placement.node
    return [
        node
        for node, facts in alive_nodes().items()
        if not isinstance(wanted, Mapping)
        or wanted.items() <= dict(facts.get("Labels", {})).items()
    ]


def pin_source(part: PartPlan, replica: int, record: Record) -> str:
    """The node on which a source without a fixed place stays: where it was started first.

    Its files are there, and the names of its streams begin with that host. Raises ChannelClosed
    (try again later) while that host is gone.
    """
    agent, name = record.plan.agent, f"{part.name}/{replica}"
    kept = store().load(agent) or record
    if name not in kept.pinned:
        node = _first_node(part, replica)
        hosts = {**kept.hosts, **hosts_of([node])}
        store().change(agent, pinned={**kept.pinned, name: node}, hosts=hosts)
        return node
    node = _node_again(kept.pinned[name], kept)
    if not node:
        gone = kept.pinned[name][:8]
        raise ChannelClosed(f"the node {gone} that {name} reads on is gone: waiting")
    if node != kept.pinned[name]:
        store().change(agent, pinned={**kept.pinned, name: node})
    return node


def _first_node(part: PartPlan, replica: int) -> str:
    here = ray.get_runtime_context().get_node_id()
    fits = nodes_that_fit(part)
    if not fits:
        wanted = part.placement.node
        raise ChannelClosed(f"no living node has the labels {wanted} that {part.name} asks for")
    if not part.placement.spread and here in fits:
        return str(here)
    return fits[replica % len(fits)] if part.placement.spread else fits[0]


def _node_again(node: str, record: Record) -> str:
    """A node, or the one that its host has joined as since; "" while there is none. Blocks."""
    nodes = alive_nodes()
    if node in nodes:
        return node
    host = record.hosts.get(node)
    if host is None:
        return ""
    hosts = {**record.hosts, **hosts_of(other for other in nodes if other not in record.hosts)}
    if hosts != record.hosts:
        store().change(record.plan.agent, hosts=hosts)
    return next((other for other in nodes if hosts.get(other) == host), "")


def hosts_of(nodes: Iterable[str]) -> dict[str, str]:
    """Node id -> host id, of those nodes that answer. Blocks."""
    return _ask_nodes(host_id, nodes)


def _ask_nodes(question: Any, nodes: Iterable[str], *args: str) -> dict[str, Any]:  # noqa: ANN401
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
    new = [node for node in alive if node not in record.nodes]
    if not new:
        return record
    asked = hosts_of(node for node in new if node not in record.hosts)
    hosts = {node: record.hosts[node] for node in new if node in record.hosts} | asked
    known = replace(record, hosts={**record.hosts, **hosts})
    nodes = joined(known, set(alive), list(hosts), twins)
    if nodes == record.nodes and not asked:
        return record
    return store().change(record.plan.agent, nodes=nodes, hosts=known.hosts) or record


def actor_options(part: PartPlan, replica: int, agent: str, node: str) -> dict[str, Any]:
    """Options for `ray.remote` of one part."""
    placement = part.placement
    options: dict[str, Any] = {
        "name": actor_name(agent, part.name, replica),
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
    elif placement.spread and (fits := nodes_that_fit(part)):
        # Ray's SPREAD and its soft affinity are hints: both put two replicas on one node. The
        # choice is made anew at each start, so it holds only while that node lives.
        choice = fits[replica % len(fits)]
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(choice, soft=False)
    return options


def _has_journal(directory: str) -> bool:
    path = Path(directory)
    return path.is_dir() and any(path.glob("segment-*.log"))


def find_journal(part: PartPlan, record: Record) -> str:
    """The node whose disk has a channel's journal; "" when no node has one and it may be begun
    anywhere. Blocks.

    Raises ChannelClosed (try again later) when there was one and no living node has it.
    """
    directory = getattr(component_of(part), "directory", None)
    if directory is None:
        return ""
    path = str((record.plan.directory / Path(directory).expanduser()).absolute())
    answers = _ask_nodes(_has_journal, nodes_that_fit(part), path)
    for node, has in answers.items():
        if has:
            return node
    journals = (store().load(record.plan.agent) or record).journals
    if part.name not in journals:
        return ""
    if journals[part.name] in answers:
        return journals[part.name]  # it was to be begun there, and that host says it never was
    raise ChannelClosed(
        f"no living node has the journal of channel {part.name} in {path}: waiting for its "
        "node; to begin an empty one, start the agent with --new-journal"
    )


def begin_journal(part: PartPlan, record: Record) -> str:
    """The node where a channel begins its first journal, noted before it can hold a row: from now
    on no other node may begin one.
    """
    fits, here = nodes_that_fit(part), str(ray.get_runtime_context().get_node_id())
    if not fits:
        raise ChannelClosed(f"no living node has the labels that channel {part.name} asks for")
    node = here if here in fits else fits[0]
    kept = store().load(record.plan.agent) or record
    store().change(record.plan.agent, journals={**kept.journals, part.name: node})
    return node
