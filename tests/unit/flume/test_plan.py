"""A Flume file -> a plan, and -> YAML that gives the same plan."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from flume_tables import BEGIN, as_yaml, bare, flume_file, tables, told
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayflume.config import load as load_yaml
from rayflume.errors import ConfigError
from rayflume.flume.read import load

__all__ = ["tables"]
pytestmark = pytest.mark.usefixtures("tables")


EVERYTHING = """\
# an agent with all that can be in one
a1.sources = r1 web
a1.channels = memory c.2
a1.sinks = k1 memory
a1.sources.r1.type: org.apache.flume.source.SequenceGeneratorSource
a1.sources.r1.channels = memory c2
a1.sources.r1.batchSize = 10
a1.sources.r1.totalEvents = 20
a1.sources.r1.streamName = a $${x} ${env:WHO} #1
a1.sources.r1.selector.optional = c2
a1.sources.r1.interceptors = i1 i2
a1.sources.r1.interceptors.i1.type = static
a1.sources.r1.interceptors.i1.key = no
a1.sources.r1.interceptors.i1.value = 1e5: \\u00fc\\n"x"
a1.sources.r1.interceptors.i2.type = org.apache.flume.interceptor.HostInterceptor$Builder
a1.sources.r1.interceptors.i2.useIP = false
a1.sources.web.type = HTTP
a1.sources.web.port = ${env:PORT}
a1.sources.web.token = ${env:TOKEN}
a1.sources.web.channels = memory
a1.channels.memory.type = memory
a1.channels.memory.capacity = 1000
a1.channels.c2.type = MEMORY
a1.channels.c2.keep-alive = 60
a1.channels = memory c2
a1.sinks.k1.type = logger
a1.sinks.k1.channel = memory
a1.sinks.memory.type = null
a1.sinks.memory.channel = c2
"""
ENVIRON = {"WHO": "me", "PORT": "4141", "TOKEN": "s3cret"}


def test_the_plan_of_a_file_with_everything(tmp_path: Path) -> None:
    file = flume_file(tmp_path, EVERYTHING, ENVIRON)
    plan = file.agents["a1"].plan
    assert plan is not None, told(file)
    r1, web = plan.sources.values()
    assert (r1.type, r1.channels, r1.line) == ("seq", ("memory", "c2"), 5)
    assert r1.options == {"batch_size": 10, "total_events": 20, "id": "a $${x} ${WHO} #1"}
    assert r1.selector is not None
    assert (r1.selector.type, r1.selector.options) == ("replicating", {"optional": ["c2"]})
    static, host = r1.interceptors
    assert static.options == {"key": "no", "value": '1e5: \u00fc\n"x"'}
    assert (host.type, host.options, host.line) == ("host", {"use_ip": False}, 15)
    assert web.options == {"port": 4141, "token": "${TOKEN}"}
    assert "s3cret" not in plan.to_json()
    assert plan.channels["memory"].options == {
        "capacity": {"events": 1000},
        "lease_timeout": "3s",
    }
    assert plan.channels["c2"].options == {"capacity": {"events": 100}, "lease_timeout": "1min"}
    assert {name: sink.channel for name, sink in plan.sinks.items()} == {
        "k1": "memory",
        "memory-sink": "c2",  # the channel keeps the name
    }
    assert any("is called 'memory-sink' here" in line for line in told(file))


def test_the_converted_yaml_gives_the_same_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = flume_file(tmp_path, EVERYTHING, ENVIRON)
    found = load_yaml(as_yaml(file, tmp_path, "a1"), environ=ENVIRON)
    plan = file.agents["a1"].plan
    assert plan is not None
    assert bare(found) == bare(plan)


def test_the_yaml_says_what_was_not_carried_where_it_belongs(tmp_path: Path) -> None:
    text = BEGIN + "a1.sources.r1.threads = 3\na1.sinks = k1 k2\nlate = \\u0007\n"
    file = flume_file(tmp_path, text)
    lines = as_yaml(file, tmp_path, "a1").read_text().splitlines()
    at = lines.index("  r1:")
    assert lines[at - 1] == (
        "  # line 9: a1.sources.r1.threads: warning: is not used: one loop counts"
    )
    assert any(line.startswith("# line 10: a1.sinks: error: 'k2'") for line in lines)


def test_flumes_defaults_are_written_where_ours_differ_and_only_there(tmp_path: Path) -> None:
    plan = flume_file(tmp_path, BEGIN).agents["a1"].plan
    assert plan is not None
    assert plan.sources["r1"].options["batch_size"] == 1  # ours is 1000
    assert plan.channels["c1"].options["capacity"] == {"events": 100}
    assert plan.sinks["k1"].options == {}  # log_every_n_events is 10000 in both


@pytest.mark.parametrize(
    ("name", "fine"), [("a:b", "a_b"), ("-x", "_-x"), ("\u00fc", "_"), ("x" * 200, "x" * 80)]
)
def test_names_that_flume_takes_and_plans_do_not(name: str, fine: str, tmp_path: Path) -> None:
    text = BEGIN.replace("sinks.k1", f"sinks.{name}").replace("= k1", f"= {name}")
    file = flume_file(tmp_path, text.replace(":", "\\:"))
    plan = file.agents["a1"].plan
    assert plan is not None, told(file)
    assert list(plan.sinks) == [fine]


def test_relative_paths_and_state_are_where_flume_has_them(tmp_path: Path) -> None:
    plan = flume_file(tmp_path, BEGIN).agents["a1"].plan
    assert plan is not None
    assert (plan.directory, plan.state_dir) == (Path.cwd(), "~/.rayflume")


def test_two_agents_of_one_name_can_have_their_state_apart(tmp_path: Path) -> None:
    defines = {"rayflume.state_dir": "/var/lib/second$"}
    file = flume_file(tmp_path, BEGIN, defines=defines)
    plan = file.agents["a1"].plan
    assert plan is not None and plan.state_dir == "/var/lib/second$"
    assert load_yaml(as_yaml(file, tmp_path, "a1")).state_dir == plan.state_dir


def test_flumes_monitoring_is_that_of_its_system_properties(tmp_path: Path) -> None:
    defines = {"flume.monitoring.type": "HTTP", "flume.monitoring.port": "34545"}
    file = flume_file(tmp_path, BEGIN, defines=defines)
    plan = file.agents["a1"].plan
    assert plan is not None and plan.monitoring is not None
    assert any("shown on every address" in line for line in told(file))
    assert (plan.monitoring.port, plan.monitoring.bind) == (34545, "0.0.0.0")


def test_a_class_of_ones_own_is_found_by_its_map(tmp_path: Path) -> None:
    text = BEGIN.replace("type = null", "type = com.example.MySink")
    file = flume_file(tmp_path, text, java_classes={"com.example.MySink": "null"})
    plan = file.agents["a1"].plan
    assert plan is not None and plan.sinks["k1"].type == "null"


def test_load_takes_both_kinds_of_files(tmp_path: Path) -> None:
    (tmp_path / "f.conf").write_text(BEGIN)
    plan = load(tmp_path / "f.conf")
    file = flume_file(tmp_path, BEGIN)
    assert bare(load(as_yaml(file, tmp_path, "a1"))).sources == bare(plan).sources


def test_a_channel_named_twice_by_renaming_keeps_its_selector(tmp_path: Path) -> None:
    text = (
        BEGIN.replace("c1", "c\\:1") + "a1.sources.r1.channels = c\\:1 c2\na1.channels = c:1 c2\n"
    )
    text += "a1.channels.c2.type = memory\na1.sources.r1.selector.optional = c:1\n"
    plan = flume_file(tmp_path, text).agents["a1"].plan
    assert plan is not None
    assert plan.sources["r1"].channels == ("c_1", "c2")
    selector = plan.sources["r1"].selector
    assert selector is not None and selector.options == {"optional": ["c_1"]}


_WORDS = [
    "a1", "b", "sources", "channels", "sinks", "sinkgroups", "configfilters", "source", "r1", "k1",
    "c1", "g1", "type", "selector", "optional", "interceptors", "i1", "processor", "priority",
    "batchSize", "totalEvents", "capacity", "port", "key", "<x>", "*", "",
]  # fmt: skip
_VALUES = [
    "r1", "c1", "c1 c2", "k1 k1", "g1", "i1 i1", "seq", "http", "memory", "null", "static", "kafka",
    "failover", "load_balance", "replicating", "com.x.Y", "env", "7", "-1", "9" * 30, "# x",
    "a # b", "${env:X}", "${f1['k']}", "${a1.sources}", "${", "${x", "$${x}", "\\u0000", "",
]  # fmt: skip


_KEYS = st.lists(st.sampled_from(_WORDS), min_size=1, max_size=6).map(".".join)


@given(st.lists(st.tuples(_KEYS, st.sampled_from(_VALUES)), max_size=25))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_file_raises_anything_but_config_error(
    tmp_path: Path, lines: list[tuple[str, str]]
) -> None:
    text = BEGIN + "".join(f"{key} = {value}\n" for key, value in lines)
    try:
        file = flume_file(tmp_path, text, {"X": "1"})
        for agent in file.agents:
            yaml.safe_load(as_yaml(file, tmp_path, agent).read_text())
    except ConfigError as error:
        assert error.message
