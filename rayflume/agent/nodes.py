"""Where parts may run, decided from one look at the nodes of a cluster. Pure: no Ray, no clock.

A look costs O(nodes); with it each decision costs the same on a thousand nodes as on two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rayflume.agent.plan_store import Record
from rayflume.agent.watched import Key
from rayflume.config import PartPlan
from rayflume.errors import ChannelClosed, ConfigError


class Nodes:
    """The living nodes in a stable order. `here`: the node of whoever looks, "" for none."""

    def __init__(self, facts: Mapping[str, Mapping[str, Any]], here: str = "") -> None:
        """`facts`: node id -> what Ray tells of it."""
        self.here = here
        self._facts = facts
        self._named: dict[str, str] = {}
        for name in ("NodeManagerHostname", "NodeManagerAddress"):
            # The first of several nodes that have the same name or address.
            found = [(str(node.get(name, "")), node_id) for node_id, node in facts.items()]
            self._named |= dict(reversed(found))
        self._named |= {node_id: node_id for node_id in facts}
        self._fitting: dict[tuple[tuple[str, str], ...], tuple[str, ...]] = {}

    def __contains__(self, node: str) -> bool:
        return node in self._facts

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def named(self, where: str) -> str:
        """The node with this id, address or host name; "" when there is none."""
        return self._named.get(where, "")

    def addresses(self) -> list[str]:
        """The addresses of all."""
        return [str(node.get("NodeManagerAddress", "")) for node in self._facts.values()]

    def fitting(self, part: PartPlan) -> tuple[str, ...]:
        """All nodes with the labels a part asks for, in order."""
        labels = tuple(sorted(_labels(part).items()))
        if labels not in self._fitting:
            self._fitting[labels] = tuple(node for node in self._facts if self.fits(node, part))
        return self._fitting[labels]

    def fits(self, node: str, part: PartPlan) -> bool:
        """Whether a node lives and has the labels a part asks for."""
        has = dict(self._facts[node].get("Labels", {})) if node in self._facts else None
        return has is not None and _labels(part).items() <= has.items()


def _labels(part: PartPlan) -> Mapping[str, str]:
    return part.placement.node if isinstance(part.placement.node, Mapping) else {}


def is_fixed(part: PartPlan) -> bool:
    """Whether the plan says on which node each replica runs."""
    return part.placement.per_node or isinstance(part.placement.node, str)


def fixed_node(part: PartPlan, replica: int, record: Record, nodes: Nodes) -> str:
    """The node a replica must run on, "" when it may be chosen. Raises ConfigError: no such node;
    ChannelClosed (try again later): it is gone.
    """
    if part.placement.per_node:
        wanted = record.nodes[replica]
        if wanted not in nodes:
            raise ChannelClosed(f"the node {wanted[:8]} of {part.name}/{replica} is gone")
        return wanted
    where = part.placement.node
    if not isinstance(where, str):
        return ""
    if nodes.named(where):
        return nodes.named(where)
    known = ", ".join(nodes.addresses())
    raise ConfigError(f"{part.where}.placement.node: no node {where!r}; there are: {known}")


def first_node(part: PartPlan, replica: int, nodes: Nodes) -> str:
    """The node where a source without a fixed place begins. Raises ChannelClosed (try again later)
    when none has its labels.
    """
    fits = nodes.fitting(part)
    if not fits:
        wanted = part.placement.node
        raise ChannelClosed(f"no living node has the labels {wanted} that {part.name} asks for")
    if part.placement.spread:
        return fits[replica % len(fits)]
    return nodes.here if nodes.fits(nodes.here, part) else fits[0]


def pin_name(key: Key) -> str:
    """`<source>/<replica>`: the name under which the node of a source is kept."""
    return f"{key[0]}/{key[1]}"


def pins(plans: Mapping[Key, PartPlan], record: Record, nodes: Nodes) -> dict[str, str]:
    """What changes in `record.pinned`: sources without a fixed place that have none yet, and those
    whose host has come back as another node. One that fits nowhere now is left out.
    """
    back = {record.hosts[node]: node for node in reversed(list(nodes)) if node in record.hosts}
    changed = {}
    for key, part in plans.items():
        if part.kind != "source" or is_fixed(part):
            continue
        name = pin_name(key)
        pinned = record.pinned.get(name)
        if pinned is None:
            if nodes.fitting(part):
                changed[name] = first_node(part, key[1], nodes)
        elif pinned not in nodes:
            now = back.get(record.hosts.get(pinned, ""))
            if now is not None:
                changed[name] = now
    return changed
