from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rayflume.agent.nodes import Nodes, first_node, fixed_node, pins
from rayflume.agent.plan_store import Record
from rayflume.agent.watched import Key
from rayflume.config import PartPlan, plan_of
from rayflume.errors import ChannelClosed, ConfigError


def facts(address: str, host: str, **labels: str) -> dict[str, Any]:
    return {"NodeManagerAddress": address, "NodeManagerHostname": host, "Labels": labels}


FACTS = {
    "n1": facts("10.0.0.1", "red"),
    "n2": facts("10.0.0.2", "red", disk="y"),
    "n3": facts("10.0.0.3", "blue", disk="y"),
}
NODES = Nodes(FACTS, "n2")


def record(**placements: dict[str, Any]) -> Record:
    """An agent with one source for each placement."""
    sources = {
        name: {"type": "http", "port": 1, "channels": ["wal"], "placement": placement}
        for name, placement in placements.items()
    }
    channels = {"wal": {"type": "file", "directory": "wal"}}
    sinks = {"out": {"type": "null", "channel": "wal"}}
    conf = {"agent": "a", "sources": sources, "channels": channels, "sinks": sinks}
    return Record(plan_of(conf, Path("/nowhere")), nodes=("n1", "gone"))


def keys(of: Record) -> dict[Key, PartPlan]:
    sources = of.plan.sources.values()
    return {(p.name, i): p for p in sources for i in range(p.placement.replicas)}


def test_a_node_is_named_by_id_address_or_host_name() -> None:
    names = ("n3", "10.0.0.2", "red", "blue", "10.0.0.9")
    assert [NODES.named(name) for name in names] == ["n3", "n2", "n1", "n3", ""]
    assert (list(NODES), "n1" in NODES, "n9" in NODES) == (["n1", "n2", "n3"], True, False)


def test_a_fixed_place_is_that_of_the_replica_or_the_named_one() -> None:
    made = record(each={"per_node": True}, one={"node": "blue"}, none={"node": "no"}, free={})
    part = made.plan.sources
    assert fixed_node(part["each"], 0, made, NODES) == "n1"
    with pytest.raises(ChannelClosed, match="the node gone of each/1 is gone"):
        fixed_node(part["each"], 1, made, NODES)
    assert fixed_node(part["one"], 0, made, NODES) == "n3"
    with pytest.raises(ConfigError, match=r"no node 'no'; there are: 10.0.0.1, 10.0.0.2, 10.0.0.3"):
        fixed_node(part["none"], 0, made, NODES)
    assert fixed_node(part["free"], 0, made, NODES) == ""


def test_a_source_begins_here_or_on_the_first_that_fits_or_spread() -> None:
    labels = {"disk": "y"}
    made = record(
        free={},
        spread={"spread": True, "replicas": 4},
        labels={"node": labels, "spread": True, "replicas": 3},
        nowhere={"node": {"disk": "z"}},
    )
    part = made.plan.sources
    assert first_node(part["free"], 0, NODES) == "n2"
    assert first_node(part["free"], 0, Nodes(FACTS, "elsewhere")) == "n1"
    assert [first_node(part["spread"], i, NODES) for i in range(4)] == ["n1", "n2", "n3", "n1"]
    assert [first_node(part["labels"], i, NODES) for i in range(3)] == ["n2", "n3", "n2"]
    with pytest.raises(ChannelClosed, match="no living node has the labels"):
        first_node(part["nowhere"], 0, NODES)


def test_sources_are_pinned_once_and_follow_their_host() -> None:
    made = record(
        a={"spread": True, "replicas": 3}, b={"node": "red"}, c={}, d={"node": {"disk": "z"}}
    )
    assert pins(keys(made), made, NODES) == {"a/0": "n1", "a/1": "n2", "a/2": "n3", "c/0": "n2"}
    hosts = {"old": "h3", "n3": "h3", "n1": "h1", "lost": "h9"}
    kept = replace(made, pinned={"a/0": "n1", "a/1": "old", "a/2": "lost", "c/0": "x"}, hosts=hosts)
    assert pins(keys(kept), kept, NODES) == {"a/1": "n3"}
