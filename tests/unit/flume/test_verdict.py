"""What Flume makes of a file: what it drops and why, what is fatal, what it says nothing of."""

from __future__ import annotations

from pathlib import Path

import pytest
from flume_tables import BEGIN, flume_file, tables, told

from rayflume.clock import SystemClock
from rayflume.errors import ConfigError

__all__ = ["tables"]
pytestmark = pytest.mark.usefixtures("tables")
SECOND = BEGIN.replace("= r1", "= r1 r2").replace("= k1", "= k1 k2") + (
    "a1.sources.r2.type = seq\na1.sources.r2.channels = c1\n"
    "a1.sinks.k2.type = null\na1.sinks.k2.channel = c1\n"
)


@pytest.mark.parametrize(
    ("change", "dropped", "sentence"),
    [
        ("a1.sources = r1 r2 r9", "sources.r9", "'r9' is described nowhere"),
        ("a1.sources.r2.type =", "sources.r2", "has no type"),
        (
            "-a1.sources.r2.type\na1.sources.r2.tpye = seq",
            "sources.r2",
            "did you mean it with 'tpye'",
        ),
        ("-a1.sources.r2.channels", "sources.r2", "has no `channels`"),
        ("-a1.sources.r2.channels\na1.sources.r2.channel = c1", "sources.r2", "with 'channel'?"),
        ("a1.sources.r2.channels = c7", "sources.r2", "none of its channels is there"),
        ("a1.sources.r2.batchSize = many", "sources.r2", "'many' is not a whole number"),
        ("a1.sources.r2.batchSize = 7 # x", "sources.r2", "did you mean '7'?"),
        ("a1.sources.r2.batchSize = 101", "sources.r2", "a batch of 101 does not fit"),
        ("a1.sources.r2.totalEvents = 13", "sources.r2", "13 brings bad luck"),
        ("a1.sources.r2.interceptors = i1", "sources.r2", "'i1' is described nowhere"),
        (
            "a1.sources.r2.interceptors = i1\na1.sources.r2.interceptors.i1.type = statik",
            "sources.r2",
            "there is no interceptor 'statik'; did you mean 'static'?",
        ),
        ("a1.sources.r2.selector.type = replicate", "sources.r2", "did you mean 'replicating'?"),
        ("a1.sources.r2.selector.optional = c7", "sources.r2", "`optional` names 'c7'"),
        ("a1.sinks.k2.channel = c7", "sinks.k2", "its channel 'c7' is not there"),
        ("a1.sinks.k2.channel = c1 c1", "sinks.k2", "its channel 'c1 c1' is not there"),
        ("-a1.sinks.k2.channel\na1.sinks.k2.channels = c1", "sinks.k2", "with 'channels'?"),
        ("a1.sinks.k2.batchSize = 1000", "sinks.k2", "a batch of 1000 does not fit"),
        ("-a1.sinks.k2.type\n-a1.sinks.k2.channel", "sinks.k2", "'k2' is described nowhere"),
    ],
)
def test_one_bad_part_is_dropped_and_the_rest_runs(
    change: str, dropped: str, sentence: str, tmp_path: Path
) -> None:
    lines = SECOND.splitlines()
    for line in change.splitlines():
        key = line.removeprefix("-").partition(" ")[0].rstrip("=")
        lines = [one for one in lines if not one.startswith(f"{key} ")]
        lines += [] if line.startswith("-") else [line]
    file = flume_file(tmp_path, "\n".join(lines))
    reading = file.agents["a1"]
    assert {one.dropped for one in reading.dropped} == {dropped}, told(file)
    assert any(sentence in one.text for one in reading.dropped), told(file)
    assert reading.plan is not None
    kind, _, name = dropped.partition(".")
    assert name not in getattr(reading.plan, kind)
    assert {"r1", "k1"} <= {part.name for part in reading.plan.parts()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("a1.sources.r1.type = sec", "there is no source 'sec'; did you mean 'seq'?"),
        ("a1.sinks.k1.type = com.example.MySink", "--map 'com.example.MySink=my_module.MyPart'"),
        ("a1.channels.c1.type = org.apache.flume.channel.MemoryChanel", "did you mean"),
        ("a1.sources.r1.type = kafka\na1.sources.r1.kafka.topics=t", "is not yet in rayflume: it"),
        ("a1.sinks.k1.type = irc", "the sink irc is not in rayflume: write to a file instead"),
        ("a1.sources.r1.keytab = /k", "a keytab is not read; say `kinit`"),
        ("a1.sources.r1.batchSize = 0", "0 is out of range: it must be at least 1"),
        ("a1.channels = c9", "no channel of the agent 'a1' is left"),
        ("a1.sources = r9\na1.sinks = k9", "no source and no sink of the agent 'a1' is left"),
        ("a1.sinkgroups = g1\na1.sinkgroups.g1.x = y", "a sink group needs `sinks`"),
        ("a1.sources.r1.streamName = ${a1.sources.r1.streamName}", "leads back to itself"),
        (
            "a1.sources.r1.interceptors = i\na1.sources.r1.interceptors.i.type = com.example.I$B",
            "com.example.I$B is a Java class of your own",
        ),
    ],
)
def test_what_keeps_an_agent_from_running(change: str, sentence: str, tmp_path: Path) -> None:
    file = flume_file(tmp_path, BEGIN + change)
    assert file.agents["a1"].plan is None
    assert any(one.fatal and sentence in one.text for one in file.findings), told(file)


def test_what_flume_drops_is_no_fault_of_rayflume(tmp_path: Path) -> None:
    """A batch of 1000 (Kafka's default) never fitted into a memory channel of 100."""
    text = SECOND + "a1.sources.r2.type = kafka\na1.sources.r2.kafka.topics = t\n"
    file = flume_file(tmp_path, text)
    reading = file.agents["a1"]
    assert [one.dropped for one in reading.dropped] == ["sources.r2"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("a1.sources.r1.batchSise = 3", "is no property of a seq source and is ignored, as in "
         "Flume; did you mean 'batchSize'?"),
        ("a1.sources.r1.threads = 3", "is not used: one loop counts"),
        ("a1.source.r1.type = seq", "'source' is no section of an agent and is ignored, as in "
         "Flume; did you mean 'sources'?"),
        ("a1.sources.r1 = seq", "has no property after the name and is ignored"),
        ("al.sources.r1.type = seq", "the agent 'al' lists no sources, channels or sinks, so "
         "nothing of it is used; did you mean 'a1'?"),
        ("loose = 1", "belongs to no agent and is ignored"),
        ("a1.sinks.k7.type = null", "sinks.k7 is described, but not named in `a1.sinks`"),
        ("a1.sources.r1.channels = c1 c2", "the channel 'c2' is described nowhere"),
        ("a1.sources.r1.streamName = a # b", "`# b` is part of the value"),
        ("a1.sources.r1.streamName =", "is empty and ignored"),
        ("a1.sources.r1.streamName = a\na1.sources.r1.streamName = b",
         "is given twice, first in line 9"),
        ("a1.sources.r1.totalEvents = 7\na1.sources.r1.total-events = 8",
         "is another name of 'totalEvents', which is given as well and counts"),
        ("a1.channels = c1 c2\na1.channels.c2.type = memory",
         "channels.c2 has neither source nor sink"),
        ("a1.channels.c1.capacity = big", "'big' is not a whole number; the default 100 applies"),
        ("a1.sources.r1.interceptors = i\na1.sources.r1.interceptors.i.type = host\n"
         "a1.sources.r1.interceptors.j.type = host", "'j' is described, but not named in "
         "`interceptors`"),
        ("a1.sources.r1.streamName = ${env:NOPE}", "the environment variable NOPE is not set"),
        ("a1.sources.r1.streamName = \u00fc", "the file is UTF-8"),
    ],
)  # fmt: skip
def test_what_is_ignored_or_other_is_told_and_the_agent_runs(
    lines: str, sentence: str, tmp_path: Path
) -> None:
    file = flume_file(tmp_path, BEGIN + lines)
    assert file.agents["a1"].plan is not None, told(file)
    found = [one for one in file.findings if sentence in one.text]
    assert len(found) == 1, told(file)
    assert found[0].severity != "error" and found[0].place.line >= 3


def test_a_comment_behind_a_list_is_told_once(tmp_path: Path) -> None:
    file = flume_file(tmp_path, BEGIN.replace("a1.sinks = k1", "a1.sinks = k1 # to the lake"))
    found = [line for line in told(file) if " a1.sinks: " in line]
    assert found == [
        "3 warning a1.sinks: `# to the lake` is part of the value, as in Flume; a comment stands "
        "on a line of its own"
    ]


def test_several_agents_one_of_them_broken(tmp_path: Path) -> None:
    other = BEGIN.replace("a1.", "b.").replace("= seq", "= sec")
    file = flume_file(tmp_path, BEGIN + other)
    assert list(file.agents) == ["a1", "b"]
    assert file.chosen("a1").plan is not None and file.chosen("b").plan is None
    with pytest.raises(ConfigError, match="has several agents; choose one with --agent: a1, b"):
        file.chosen(None)
    with pytest.raises(ConfigError, match="has no agent 'a'; did you mean 'a1'"):
        file.chosen("a")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("log4j.rootLogger = x", "is a configuration of log4j"),
        ("hosts = h1\nhosts.h1 = a:1", "is a configuration of Flume's RPC client"),
        ("x.y = z", "no agent is described"),
    ],
)
def test_a_file_without_an_agent(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        flume_file(tmp_path, text)


def test_sources_alone_and_sinks_alone_are_agents_as_in_flume(tmp_path: Path) -> None:
    lines = BEGIN.splitlines()
    for left_out in ("sinks", "sources"):
        text = "\n".join(line for line in lines if f".{left_out}" not in line)
        plan = flume_file(tmp_path, text).agents["a1"].plan
        assert plan is not None and not getattr(plan, left_out) and len(list(plan.parts())) == 2


# -- sink groups -----------------------------------------------------------------------------------

GROUP = SECOND + "a1.sinkgroups = g1\na1.sinkgroups.g1.sinks = k1 k2\n"


@pytest.mark.parametrize(
    ("lines", "sentence", "dropped"),
    [
        ("", "a sink group needs `processor.type`", {"sinkgroups.g1", "sinks.k1", "sinks.k2"}),
        (
            "a1.sinkgroups.g1.processor.type = default",
            "has exactly one sink",
            {"sinkgroups.g1", "sinks.k1", "sinks.k2"},
        ),
        (
            "a1.sinkgroups.g1.processor.type = load_balance\na1.sinkgroups.g1.sinks = k2 k9",
            "needs at least two sinks",
            {"sinkgroups.g1", "sinks.k2"},
        ),
        (
            "a1.sinkgroups.g1.processor.type = failover\na1.sinkgroups.g1.sinks = k8 k9",
            "no sink of it is left",
            {"sinkgroups.g1"},
        ),
        (
            "a1.sinkgroups.g1.processor.type = failower",
            "did you mean 'failover'?",
            {"sinkgroups.g1", "sinks.k1", "sinks.k2"},
        ),
    ],
)
def test_groups_that_flume_drops(
    lines: str, sentence: str, dropped: set[str], tmp_path: Path
) -> None:
    reading = flume_file(tmp_path, GROUP + lines).agents["a1"]
    assert {one.dropped for one in reading.dropped} == dropped
    assert any(sentence in one.text for one in reading.findings)


FAILOVER = GROUP + "a1.sinkgroups.g1.processor.type = failover\n"


@pytest.mark.parametrize(
    ("line", "sentence", "priority"),
    [
        ("priority.k1 = ten", "'ten' is not a whole number; the default applies", {"k2": 7}),
        ("priority.k9 = 5", "'k9' is no sink of this group, so it is ignored", {"k2": 7}),
        ("priority.K1 = 5", "did you mean 'k1'?", {"k2": 7}),
        ("priority.k3 = 5", "'k3' is no sink of this group", {"k2": 7}),
        ("maxpenalty = 1s", "'1s' is not a whole number; the default 30000 applies", {"k2": 7}),
    ],
)
def test_a_priority_that_flume_passes_over_costs_no_sink(
    line: str, sentence: str, priority: dict[str, int], tmp_path: Path
) -> None:
    third = "a1.sinks = k1 k2 k3\na1.sinks.k3.type = null\na1.sinks.k3.channel = c1\n"
    lines = f"a1.sinkgroups.g1.processor.priority.k2 = 7\na1.sinkgroups.g1.processor.{line}\n"
    file = flume_file(tmp_path, FAILOVER + third + lines)
    plan = file.agents["a1"].plan
    assert plan is not None, told(file)
    assert any("warning" in one and sentence in one for one in told(file)), told(file)
    assert plan.groups["g1"].processor.options["priority"] == priority
    assert set(plan.sinks) == {"k1", "k2", "k3"}


def test_a_penalty_below_0_is_no_pause_as_in_flume(tmp_path: Path) -> None:
    lines = "a1.sinkgroups.g1.processor.maxpenalty = -5\n"
    plan = flume_file(tmp_path, FAILOVER + lines).agents["a1"].plan
    assert plan is not None
    assert plan.groups["g1"].processor.options["max_penalty"] == "0ms"


def test_a_group_of_one_sink_with_the_default_processor_needs_nothing(tmp_path: Path) -> None:
    text = GROUP.replace("g1.sinks = k1 k2", "g1.sinks = k1")
    reading = flume_file(tmp_path, text + "a1.sinkgroups.g1.processor.type = default").agents["a1"]
    assert reading.plan is not None and "sink_groups" not in reading.value


def test_a_group_has_the_shape_of_the_yaml(tmp_path: Path) -> None:
    text = GROUP + (
        "a1.sinkgroups.g1.processor.type = failover\na1.sinkgroups.g1.processor.priority.k1 = 5\n"
        "a1.sinkgroups.g1.processor.priority.k9 = 7\n"
        "a1.sinkgroups.g1.processor.maxpenalty = 10000\n"
    )
    reading = flume_file(tmp_path, text).agents["a1"]
    processor = {"type": "failover", "priority": {"k1": 5}, "max_penalty": "10s"}
    assert reading.value["sink_groups"] == {"g1": {"sinks": ["k1", "k2"], "processor": processor}}
    assert reading.plan is not None


def test_ten_thousand_lines_take_seconds_and_not_minutes(tmp_path: Path) -> None:
    names = [f"r{number}" for number in range(1_000)]
    lines = [f"a1.sources = {' '.join(names)}", *BEGIN.splitlines()[1:]]
    for name in names:
        lines += [f"a1.sources.{name}.type = seq", f"a1.sources.{name}.channels = c1"]
        lines += [f"a1.sources.{name}.x{number} = y" for number in range(7)]
        lines += [f"a1.sources.un{name}.type = seq"]
    started = SystemClock().monotonic_ms()
    file = flume_file(tmp_path, "\n".join(lines))
    assert len(file.findings) > 8_000 and file.agents["a1"].plan is not None
    assert SystemClock().monotonic_ms() - started < 30_000  # alone 1 s
