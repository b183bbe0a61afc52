"""Sink groups of a configuration: what is a plan, and every sentence about what is none."""

from __future__ import annotations

import pytest

from rayflume.config import AgentPlan, plan_of
from rayflume.config.groups import leaders
from rayflume.errors import ConfigError


def plan(groups: object, channels: tuple[str, ...] = ("c", "c", "c")) -> AgentPlan:
    names = dict.fromkeys(channels)
    return plan_of(
        {
            "agent": "a",
            "sources": {"s": {"type": "seq", "channels": list(names)}},
            "channels": {name: {"type": "memory"} for name in names},
            "sinks": {
                f"k{place}": {"type": "null", "channel": name}
                for place, name in enumerate(channels, 1)
            },
            "sink_groups": groups,
        }
    )


FAILOVER = {"type": "failover", "priority": {"k1": 5, "k2": 10}, "max_penalty": "10s"}


def test_a_group_is_kept_in_the_plan_and_its_text() -> None:
    found = plan({"g": {"sinks": ["k1", "k2"], "processor": FAILOVER}})
    group = found.groups["g"]
    assert (group.sinks, group.processor.type) == (("k1", "k2"), "failover")
    assert group.processor.where == "sink_groups.g.processor"
    assert AgentPlan.from_json(found.to_json()) == found
    assert plan(None).groups == {}


def test_sinks_may_be_written_as_in_flume_and_a_processor_by_its_name() -> None:
    group = plan({"g": {"sinks": "k1 k3", "processor": "load_balance"}}).groups["g"]
    assert (group.sinks, group.processor.type) == (("k1", "k3"), "load_balance")


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ([], "sink_groups: must be a mapping from names to groups of sinks"),
        ({"g": ["k1"]}, "sink_groups.g: must be a mapping, for example"),
        ({"-": {"sinks": ["k1"]}}, "sink_groups.-: '-' is no name"),
        ({"g": {}}, "sink_groups.g.sinks: must be a list of sinks"),
        ({"g": {"sinks": []}}, "sink_groups.g.sinks: must be a list of sinks"),
        ({"g": {"sinks": ["k1", "k1"]}}, "sink_groups.g.sinks: 'k1' is there twice"),
        ({"g": {"sinks": ["k1"], "procesor": 1}}, "sink_groups.g.procesor: unknown option; did"),
        ({"g": {"sinks": ["k1", "k4"], "processor": FAILOVER}}, "there is no sink 'k4'; known: k1"),
        ({"g": {"sinks": ["k1", "k2"]}}, "`default` leads one sink"),
        ({"g": {"sinks": ["k1"], "processor": "load_balance"}}, "needs at least two sinks"),
        (
            {"g": {"sinks": ["k1"]}, "h": {"sinks": ["k1"]}},
            "sink_groups.h.sinks: the sink 'k1' is in the group 'g' already",
        ),
        (
            {"g": {"sinks": ["k1", "k3"], "processor": FAILOVER}},
            "`priority` names 'k2', which is no sink of this group",
        ),
        (
            {"g": {"sinks": ["k1", "k2"], "processor": FAILOVER | {"priority": {"k1": "x"}}}},
            "sink_groups.g.processor.priority.k1: 'x' is not a whole number",
        ),
        (
            {"g": {"sinks": ["k1", "k2"], "processor": "failovr"}},
            "unknown sink_processor type 'failovr'; did you mean 'failover'?",
        ),
        (
            {
                "g": {
                    "sinks": ["k1", "k2"],
                    "processor": {"type": "load_balance", "selector": "round"},
                }
            },
            "unknown sink_selector type 'round'",
        ),
    ],
)
def test_what_is_no_group_is_said(groups: object, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(groups)
    assert [text for text in caught.value.problems if problem in text], caught.value.problems


def test_sinks_compete_for_the_rows_of_their_own_channel() -> None:
    group = {"g": {"sinks": ["k1", "k2", "k3"], "processor": "load_balance"}}
    assert [members for members, _ in leaders(plan(group), "c")] == [("k1", "k2", "k3")]
    apart = plan(group, ("c", "c", "d"))
    assert [members for members, _ in leaders(apart, "c")] == [("k1", "k2")]
    assert leaders(apart, "d") == [], "one sink takes whenever it wants"
