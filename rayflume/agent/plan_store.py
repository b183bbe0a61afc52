"""The plan in force, kept as JSON outside of any process: in Ray's key-value store.

A supervisor that was rebuilt reads it back; nothing of it is ever unpickled, and `${NAME}` stays as
it was written, so no secret is in it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rayflume.config import AgentPlan

KEY_PREFIX = "agent/"


class KeyValue(Protocol):
    """What keeps the record: Ray's store, or a dict in tests."""

    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, value: bytes) -> None: ...
    def delete(self, key: str) -> None: ...
    def keys(self, prefix: str) -> list[str]: ...


@dataclass(frozen=True)
class Record:
    """An agent as it was asked for. `asked`: "", "drain", "drain_channels" or "stop"."""

    plan: AgentPlan
    version: int = 1
    until_drained: bool = False
    new_journal: bool = False
    asked: str = ""
    nodes: tuple[str, ...] = ()
    """Node ids in the order in which they got their `per_node` replica number."""
    journals: Mapping[str, str] = field(default_factory=dict)
    """Channel -> node id where its first journal is begun; "" when it was begun in an earlier
    life.
    """
    pinned: Mapping[str, str] = field(default_factory=dict)
    """`<source>/<replica>` -> node id: what a source reads is on the node where it began."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Node id -> host id, as far as it was asked. A host that comes back has a new node id."""
    before: AgentPlan | None = None
    """The plan that was in force before, until no part runs by it any more."""


def joined(
    record: Record, alive: Set[str], new: Sequence[str], twins: Set[str] = frozenset()
) -> tuple[str, ...]:
    """`record.nodes` with new nodes: in the place of a dead node of the same host, else behind.

    A host that is back is seen before its dead node is noticed: a node whose host has a living one
    already is left out, unless it is in `twins`, those that stayed beside it for long.
    """
    nodes, known = list(record.nodes), set(record.nodes)
    places: dict[str, list[int]] = {}
    """Host -> where its nodes stand."""
    for i, node in enumerate(nodes):
        if node in record.hosts:
            places.setdefault(record.hosts[node], []).append(i)
    for node in new:
        host = record.hosts.get(node)
        same = places.setdefault(host, []) if host is not None else []
        dead = [i for i in same if nodes[i] not in alive]
        living = [i for i in same if nodes[i] in alive and nodes[i] in known]
        if dead:
            nodes[dead[0]] = node
        elif not living or node in twins:
            same.append(len(nodes))
            nodes.append(node)
    return tuple(nodes)


class PlanStore:
    """Records by agent name."""

    changing = threading.Lock()
    """Of all stores of this process: a change reads, and writes what it read."""

    def __init__(self, store: KeyValue) -> None:
        self._store = store

    def load(self, agent: str) -> Record | None:
        """The record of an agent, None when there is none."""
        data = self._store.get(KEY_PREFIX + agent)
        return None if data is None else record_from_json(json.loads(data))

    def save(self, record: Record) -> None:
        """Keep a record; replaces the one before."""
        data = json.dumps(record_to_json(record)).encode()
        self._store.put(KEY_PREFIX + record.plan.agent, data)

    def change(self, agent: str, **changes: object) -> Record | None:
        """Change fields of a record that is there."""
        with self.changing:
            record = self.load(agent)
            if record is not None:
                record = replace(record, **changes)  # type: ignore[arg-type]
                self.save(record)
            return record

    def add(self, agent: str, **more: Mapping[str, str]) -> Record | None:
        """Add entries to `journals`, `pinned` or `hosts` of a record that is there."""
        with self.changing:
            record = self.load(agent)
            if record is not None:
                added = {name: {**getattr(record, name), **more[name]} for name in more}
                record = replace(record, **added)  # type: ignore[arg-type]
                self.save(record)
            return record

    def delete(self, agent: str) -> None:
        """Forget an agent."""
        self._store.delete(KEY_PREFIX + agent)

    def agents(self) -> list[str]:
        """Names of all agents that are kept."""
        return sorted(key.removeprefix(KEY_PREFIX) for key in self._store.keys(KEY_PREFIX))


def record_to_json(record: Record) -> dict[str, Any]:
    """A record as JSON."""
    return {
        "plan": record.plan.to_json(),
        "version": record.version,
        "until_drained": record.until_drained,
        "new_journal": record.new_journal,
        "asked": record.asked,
        "nodes": list(record.nodes),
        "journals": dict(record.journals),
        "pinned": dict(record.pinned),
        "hosts": dict(record.hosts),
        "before": record.before and record.before.to_json(),
    }


def record_from_json(data: dict[str, Any]) -> Record:
    """The inverse of record_to_json."""
    plan, before = AgentPlan.from_json(data["plan"]), data.get("before")
    former = None if before is None else AgentPlan.from_json(before)
    return Record(**data | {"plan": plan, "before": former, "nodes": tuple(data["nodes"])})
