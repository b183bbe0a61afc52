"""Values that Flume cannot use: which drop the part, as in Flume, and which mean something else
there. Only what rayflume alone cannot do refuses the agent.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from flume_tables import BEGIN, flume_file, told

from rayflume.flume import names

STRESS = "org.apache.flume.source.StressSource"
BLOB = "org.apache.flume.sink.solr.morphline.BlobHandler"
SECOND = BEGIN.replace("= r1", "= r1 r2").replace("= k1", "= k1 k2")
SOURCE = "a1.sources.r2.channels = c1\na1.sources.r2.type = "
SINK = "a1.sinks.k2.channel = c1\na1.sinks.k2.type = "
GROUP = (
    f"{SECOND.replace(' r2', '')}{SINK}null\na1.sinkgroups = g\na1.sinkgroups.g.sinks = k1 k2\n"
    "a1.sinkgroups.g.processor.type = "
)


@pytest.mark.parametrize(
    ("type_name", "lines", "sentence"),
    [
        ("netcat", "bind = localhost\nport = 70000", "'70000' is no port: ports are 0 to 65535"),
        ("netcat", "bind = localhost\nport = -1", "is no port"),
        ("netcat", "bind = localhost\nport = 1\nmax-line-length = 1", "no line fits"),
        ("netcat", "bind = localhost\nport = 1\nencoding = x", "unknown character set"),
        ("netcatudp", "port = 65536", "is no port"),
        ("http", "port = 99999999999999999999", "is not a whole number"),
        ("http", f"port = 1\nhandler = {BLOB}\nhandler.maxBlobLength = 0", "is not positive"),
        ("syslogtcp", "host = h\nport = 65536", "is no port"),
        ("syslogtcp", "host = h\nport = 1\neventSize = -1", "'-1' is negative"),
        ("syslogudp", "port = 1\nformat.regex = (", "is not a regular expression"),
        ("multiport_syslogtcp", "ports = 514 70000", "'70000' is no port"),
        ("multiport_syslogtcp", "ports = 514\ncharset.port.514 = x", "unknown character set"),
        (STRESS, "size = 3000000000", "is too large"),
        ("seq", "interceptors = i\ninterceptors.i.type = regex_filter\n"
         "interceptors.i.regex = (", "is not a regular expression"),
        ("seq", "interceptors = i\ninterceptors.i.type = search_replace\n"
         "interceptors.i.searchPattern = [", "is not a regular expression"),
    ],
)  # fmt: skip
def test_a_source_with_a_value_that_nobody_can_use_is_dropped_and_the_rest_runs(
    type_name: str, lines: str, sentence: str, tmp_path: Path
) -> None:
    own = "".join(f"a1.sources.r2.{line}\n" for line in lines.splitlines())
    dropped_alone(f"{SECOND.replace(' k2', '')}{SOURCE}{type_name}\n{own}", "sources.r2", sentence,
                  tmp_path)  # fmt: skip


@pytest.mark.parametrize(
    ("type_name", "lines", "sentence"),
    [
        ("http", "endpoint = host:8080", "'host:8080' is no URL"),
        ("http", "endpoint = http://h/\nconnectTimeout = 0", "is not positive"),
        ("file_roll", "sink.directory = /tmp\nsink.serializer = avro_event\n"
         "sink.serializer.syncIntervalBytes = 31", "Avro takes 32 to"),
    ],
)  # fmt: skip
def test_a_sink_with_a_value_that_nobody_can_use_is_dropped_and_the_rest_runs(
    type_name: str, lines: str, sentence: str, tmp_path: Path
) -> None:
    own = "".join(f"a1.sinks.k2.{line}\n" for line in lines.splitlines())
    dropped_alone(f"{SECOND.replace(' r2', '')}{SINK}{type_name}\n{own}", "sinks.k2", sentence,
                  tmp_path)  # fmt: skip


def dropped_alone(text: str, part: str, sentence: str, directory: Path) -> None:
    file = flume_file(directory, text)
    reading = file.agents["a1"]
    assert {one.dropped for one in reading.dropped} == {part}, told(file)
    assert any(sentence in one.text for one in reading.dropped), told(file)
    assert reading.plan is not None, told(file)
    assert {"r1", "k1"} <= {one.name for one in reading.plan.parts()}


@pytest.mark.parametrize(
    ("kind", "type_name", "prop", "text", "value"),
    [
        ("source", STRESS, "maxEventsPerSecond", "-1", 0),
        ("source", "syslogtcp", "eventSize", "3", 10),
        ("source", "http", "ServerConnector.idleTimeout", "0", None),
        ("sink", "hdfs", "hdfs.maxOpenFiles", "0", 1),
        ("sink", "hdfs", "hdfs.callTimeout", "-1", None),
        ("sink", "logger", "maxBytesToLog", "100000", 65_536),
        ("channel", "file", "minimumRequiredSpace", "-1", "1MiB"),
        ("channel", "file", "maxFileSize", "70000", "1MiB"),
        ("sink_selector", "random", "maxTimeOut", "-1", "0ms"),
    ],
)
def test_a_value_that_flume_takes_otherwise_means_the_same_here(
    kind: str, type_name: str, prop: str, text: str, value: object
) -> None:
    part = names.lookup(kind, type_name)
    assert part is not None
    found = part.find(prop)
    assert found is not None and found.read(text) == value


def test_a_bad_priority_or_penalty_is_the_default_and_drops_nothing(tmp_path: Path) -> None:
    group = "a1.sinkgroups.g.processor."
    file = flume_file(tmp_path, f"{GROUP}failover\n{group}priority.k1 = x\n{group}priority.k2 = 5\n"
                      f"{group}maxpenalty = long")  # fmt: skip
    plan = file.agents["a1"].plan
    assert plan is not None and not file.agents["a1"].dropped, told(file)
    assert plan.groups["g"].processor.options == {"priority": {"k2": 5}}
    assert sum("applies, as in Flume" in line for line in told(file)) == 2


def test_a_time_out_of_zero_is_told_to_be_the_default(tmp_path: Path) -> None:
    lines = "a1.sources.r1.port = 1\na1.sources.r1.ServerConnector.idleTimeout = 0\n"
    file = flume_file(tmp_path, BEGIN.replace("= seq", "= http") + lines)
    assert any("idleTimeout: a connection without end" in line for line in told(file))


def test_s12_an_endpoint_keeps_its_reference_to_the_environment(tmp_path: Path) -> None:
    lines = f"{SINK.replace('k2', 'k1')}http\na1.sinks.k1.endpoint = http://h/${{env:TOKEN}}\n"
    file = flume_file(tmp_path, BEGIN + lines, {"TOKEN": "canary"})
    plan = file.agents["a1"].plan
    assert plan is not None, told(file)
    assert plan.sinks["k1"].options["endpoint"] == "http://h/${TOKEN}"


# -- lists -----------------------------------------------------------------------------------------

BOTH = BEGIN.replace("a1.channels = c1", "a1.channels = c1 c2").replace(
    "r1.channels = c1", "r1.channels = c1  c2") + "a1.channels.c2.type = memory\n"  # fmt: skip
SELECTOR = "a1.sources.r1.selector.type = multiplexing\na1.sources.r1.selector."


@pytest.mark.parametrize("names_", ["c1  c2", "c1\tc2"])
def test_names_of_a_mapping_are_parted_by_one_blank_as_in_flume(
    names_: str, tmp_path: Path
) -> None:
    file = flume_file(tmp_path, f"{BOTH}{SELECTOR}mapping.a = {names_}\n")
    assert [one.dropped for one in file.agents["a1"].dropped] == ["sources.r1"], told(file)
    assert any("parted by exactly one blank" in line for line in told(file))


def test_other_lists_may_have_several_blanks(tmp_path: Path) -> None:
    lines = (
        f"{SELECTOR}mapping.a = c1 c2\na1.sources.r1.interceptors = i  \t j\n"
        "a1.sources.r1.interceptors.i.type = host\na1.sources.r1.interceptors.j.type = timestamp\n"
        "a1.sinks = k1   k2\na1.sinks.k2.type = null\na1.sinks.k2.channel = c2\n"
        "a1.sinkgroups = g\na1.sinkgroups.g.sinks = k1  \t k2\n"
        "a1.sinkgroups.g.processor.type = load_balance\n"
    )
    plan = flume_file(tmp_path, BOTH + lines).agents["a1"].plan
    assert plan is not None
    source = plan.sources["r1"]
    assert source.channels == ("c1", "c2") and plan.groups["g"].sinks == ("k1", "k2")
    assert [one.type for one in source.interceptors] == ["host", "timestamp"]


def test_sink_groups_are_parted_by_blanks_and_not_by_tabs_as_in_flume(tmp_path: Path) -> None:
    file = flume_file(tmp_path, f"{GROUP}load_balance\n".replace("groups = g", "groups = g\th"))
    assert [one.dropped for one in file.agents["a1"].dropped] == ["sinkgroups.g\th"], told(file)


def test_an_interceptor_that_is_listed_twice_acts_twice(tmp_path: Path) -> None:
    lines = (
        "a1.sources.r1.interceptors = i i\na1.sources.r1.interceptors.i.type = search_replace\n"
        "a1.sources.r1.interceptors.i.searchPattern = ^\n"
        "a1.sources.r1.interceptors.i.replaceString = >\n"
    )
    plan = flume_file(tmp_path, BEGIN + lines).agents["a1"].plan
    assert plan is not None
    assert [one.type for one in plan.sources["r1"].interceptors] == ["search_replace"] * 2
