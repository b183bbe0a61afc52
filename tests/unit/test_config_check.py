"""A file -> a plan, or all its problems."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml
from config_parts import GOOD, parts, written

from rayflume.component import lookup
from rayflume.config import AgentPlan, can_wait, check_host, component_of, load, plan_of
from rayflume.config.host import HostProblem
from rayflume.errors import ConfigError

__all__ = ["parts"]
pytestmark = pytest.mark.usefixtures("parts")


def problems(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    """All problems of the text, without the name of the file."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ or {})
    assert caught.value.problems
    return [text.removeprefix(f"{path}:") for text in caught.value.problems]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_good_file_is_a_plan(tmp_path: Path) -> None:
    plan = load(written(tmp_path))
    assert plan.agent == "clicks"
    assert [part.name for part in plan.parts()] == ["files", "api", "wal", "lake"]
    files, lake = plan.sources["files"], plan.sinks["lake"]
    assert files.options == {"paths": ["logs/*.log"]}
    assert files.channels == ("wal",)
    assert [one.type for one in files.interceptors] == ["static", "host"]
    assert files.interceptors[0].options == {"key": "site", "value": "oslo"}
    assert files.interceptors[1].where == "sources.files.interceptors[1]"
    assert lake.channel == "wal"
    assert lake.placement.replicas == 2
    assert lake.placement.spread
    assert lake.line == 12
    assert plan.directory == tmp_path
    assert plan.state_path() == tmp_path / "state"
    assert plan.orphan_after_ms == 60_000
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_top_level_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_HERE", str(tmp_path / "elsewhere"))
    text = "guarantee: at_least_once\nstate_dir: ${STATE_HERE}/s\norphan_after: 2min\n" + GOOD
    plan = load(written(tmp_path, text))
    assert (plan.guarantee, plan.orphan_after_ms) == ("at_least_once", 120_000)
    assert plan.state_dir == "${STATE_HERE}/s"
    assert plan.state_path() == tmp_path / "elsewhere" / "s"


def test_a_plan_as_json_and_back(tmp_path: Path) -> None:
    text = changed("    channels: [wal]", "    channels: [wal]\n    selector: replicating")
    plan = load(written(tmp_path, text))
    assert AgentPlan.from_json(plan.to_json()) == plan


def test_a_plan_from_python_values(tmp_path: Path) -> None:
    value = yaml.safe_load(GOOD)
    value["sources"]["files"]["paths"] = (tmp_path / "logs/*.log",)
    plan = plan_of(value, tmp_path)
    assert plan.sources["files"].options == {"paths": [str(tmp_path / "logs/*.log")]}
    assert plan.directory == tmp_path
    value["sources"]["api"]["port"] = "x"
    value["sinks"]["lake"]["channel"] = "wla"
    with pytest.raises(ConfigError) as caught:
        plan_of(value)
    assert caught.value.problems == (
        "sources.api.port: 'x' is not a whole number",
        "sinks.lake.channel: there is no channel 'wla'; did you mean 'wal'?",
        "channels.wal: no sink reads from it; name it as the `channel` of a sink, or remove it",
    )
    value["sources"]["api"]["port"] = {8080}
    with pytest.raises(ConfigError, match="not a set"):
        plan_of(value)


def test_a_missing_variable_is_one_problem_and_hides_no_other(tmp_path: Path) -> None:
    text = changed("agent: clicks", "agent: ${A}").replace("type: tail", "type: ${T}")
    text = text.replace("    channels: [wal]", "    channels: ['${C}']")
    text = text.replace("port: 8081,", "port: '${P}', mode: lins,")
    found = [one.split(": ", 2)[:2] for one in problems(tmp_path, text)]
    assert found == [
        ["1", "agent"],
        ["4", "sources.files.type"],
        ["7", "sources.files.channels[0]"],
        ["8", "sources.api.port"],
        ["8", "sources.api.mode"],
    ]


def test_channels_may_be_words_in_one_text(tmp_path: Path) -> None:
    plan = load(written(tmp_path, changed("    channels: [wal]", "    channels: wal")))
    assert plan.sources["files"].channels == ("wal",)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "type: tail",
            "type: tial",
            "4: sources.files.type: unknown source type 'tial'; did you mean 'tail'?",
        ),
        (
            "    type: tail\n",
            "",
            "3: sources.files: has no `type`; `rayflume components` lists every source type",
        ),
        ("port:", "prot:", "8: sources.api.prot: unknown option; did you mean 'port'?"),
        ("8081", "80 81", "8: sources.api.port: '80 81' is not a whole number"),
        ("8081", "0", "8: sources.api.port: 0 is out of range: it must be at least 1"),
        (
            "port: 8081",
            "mode: lins",
            "8: sources.api.mode: 'lins' is not known; did you mean 'lines'?",
        ),
        (
            "    paths: [logs/*.log]\n",
            "",
            "3: sources.files.paths: is missing: files to read, for example "
            "`paths: ['/var/log/*.log']`",
        ),
        ("[logs/*.log]", "logs", "5: sources.files.paths: 'logs' is not a list"),
        ("[logs/*.log]", "[5]", "5: sources.files.paths[0]: 5 is not text; put it in quotes"),
        (
            "1MiB",
            "1MB/s",
            "17: sinks.lake.roll.bytes: '1MB/s' is not a size; write a number with one of b, kb, "
            "mb, gb, tb, kib, mib, gib, tib: 8MiB",
        ),
        (
            "bytes: 1MiB",
            "byte: 1",
            "17: sinks.lake.roll.byte: unknown option; did you mean 'bytes'?",
        ),
        ("{bytes: 1MiB}", "big", "17: sinks.lake.roll: 'big' is not a mapping"),
        (
            "int64",
            "int65",
            "16: sinks.lake.format.schema.user: 'int65' is not known; did you mean 'int64'?",
        ),
        (
            "schema:",
            "shcema:",
            "16: sinks.lake.format.shcema: unknown option; did you mean 'schema'?",
        ),
        (
            "type: rows",
            "type: rosw",
            "16: sinks.lake.format.type: unknown format type 'rosw'; did you mean 'rows'?",
        ),
        (
            "    path: out\n",
            "    path: out\n    partition_by: ['dt=%Y']\n",
            "12: sinks.lake: `partition_by` has time escapes; name the `event_time`",
        ),
        (
            "    channels: [wal]",
            "    channels: [wla]",
            "7: sources.files.channels: there is no channel 'wla'; did you mean 'wal'?",
        ),
        (
            "    channels: [wal]",
            "    channels: {wal: 1}",
            "7: sources.files.channels: must be a list of channel names",
        ),
        (
            "    channels: [wal]\n",
            "",
            "3: sources.files: has no `channels`; every source needs a list of channel names",
        ),
        (
            "    channels: [wal]",
            "    channels: [wal, wal]",
            "7: sources.files.channels: 'wal' is there twice; remove one",
        ),
        (
            "wal: {type: wal}",
            "wal: {type: wal}\n  api: {type: ram}",
            "11: channels.api: the name is taken by sources.api; give every part its own",
        ),
        (
            "wal: {type: wal}",
            "wal: {type: wal}\n  lone: {type: ram}",
            "11: channels.lone: no source writes to it; name it in the `channels` of a source, or "
            "remove it",
        ),
        (
            "wal: {type: wal}",
            "wal: {type: wal}\n  lone: {type: ram}",
            "11: channels.lone: no sink reads from it; name it as the `channel` of a sink, or "
            "remove it",
        ),
        (
            "agent: clicks",
            "agent: a/b",
            "1: agent: 'a/b' is no name; use up to 100 letters, digits, `_`, `-` and `.`, not `-` "
            "or `.` first",
        ),
        ("agent: clicks", "agnet: clicks", "1: agnet: unknown key; did you mean 'agent'?"),
        (
            "agent: clicks",
            "state_dir: s",
            "1: agent: is missing; give the agent a name, for example `agent: clicks`",
        ),
        (
            "host]",
            "hots]",
            "6: sources.files.interceptors[1].type: unknown interceptor type 'hots'; did you mean "
            "'host'?",
        ),
        ("key: site", "kye: site", "6: sources.files.interceptors[0].kye: unknown option; did you "
         "mean 'key'?"),
        (
            "{replicas: 2, spread: true}",
            "{replica: 2}",
            "18: sinks.lake.placement.replica: unknown option; did you mean 'replicas'?",
        ),
        (
            "{replicas: 2, spread: true}",
            "{replicas: 2, per_node: true}",
            "18: sinks.lake.placement: `per_node` already says how many there are: remove "
            "`replicas`",
        ),
        (
            "wal: {type: wal}",
            "wal: {type: wal, placement: {replicas: 2}}",
            "10: channels.wal.placement.replicas: a channel cannot be split over replicas; use "
            "`per_node: true` here and in its sources",
        ),
        (
            "wal: {type: wal}",
            "wal: {type: wal, placement: {per_node: true}}",
            "10: channels.wal.placement.per_node: the source 'files' writes to it and needs "
            "`per_node: true` as well",
        ),
        (
            "    path: out",
            "    path: ${LAKE}",
            "15: sinks.lake.path: the environment variable LAKE is not set; set it, or write "
            "$${LAKE} for the literal text",
        ),
    ],
)  # fmt: skip
def test_one_problem_is_one_sentence(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in problems(tmp_path, changed(old, new))


def test_all_problems_come_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = changed("type: tail", "type: tial").replace("8081", "x").replace("1MiB", "1XB")
    text = text.replace("agent: clicks", "agent: clicks\nguarantee: twice")
    found = problems(tmp_path, text)
    assert [int(one.split(":")[0]) for one in found] == [2, 5, 9, 18]


def test_a_file_that_is_empty_or_of_another_shape(tmp_path: Path) -> None:
    for text, expected in [
        ("", "is empty"),
        ("---\n---\n", "is empty"),
        ("- 1\n", "must be a mapping"),
        ("agent.sources = web\n", "must be a mapping"),
    ]:
        with pytest.raises(ConfigError, match=expected):
            load(written(tmp_path, text))
    assert problems(tmp_path, "agent: a\n") == [
        "1: sources: is missing or empty; name at least one source",
        "1: channels: is missing or empty; name at least one channel",
        "1: sinks: is missing or empty; name at least one sink",
    ]
    assert "2: sources: must be a mapping from names to parts" in problems(
        tmp_path, "agent: a\nsources: [x]\n"
    )
    assert any("sources.x: must be a mapping with `type`" in one for one in problems(
        tmp_path, "agent: a\nsources: {x: tail}\n"
    ))  # fmt: skip


def test_several_agents_in_one_file(tmp_path: Path) -> None:
    both = GOOD + "---\n" + changed("agent: clicks", "agent: other")
    path = written(tmp_path, both)
    assert load(path, "other").agent == "other"
    assert load(path, "other").sources["files"].line == 22
    with pytest.raises(ConfigError, match="choose one with --agent: clicks, other"):
        load(path)
    with pytest.raises(ConfigError, match=r"has no agent 'othr'; did you mean 'other'\?"):
        load(path, "othr")
    with pytest.raises(ConfigError, match="has no agent 'x'"):
        load(written(tmp_path), "x")
    with pytest.raises(ConfigError, match="the agent 'clicks' is there 2 times"):
        load(written(tmp_path, GOOD + "---\n" + GOOD), "clicks")


def test_s12_secrets_never_show(tmp_path: Path) -> None:
    canary = "hunter2-canary"
    for new in (
        f"tokne: {canary}",
        f"token: [{canary}]",
        "token: {a: '${CANARY}'}",
        "port: '${CANARY}'",
        "mode: '${CANARY}'",
        f"secret_port: {canary}",
    ):
        found = "\n".join(problems(tmp_path, changed("port: 8081", new), {"CANARY": canary}))
        assert "sources.api" in found
        assert canary not in found
    text = changed("schema: {user: int64}", f"password: [{canary}]")
    assert problems(tmp_path, text) == ["16: sinks.lake.format.password: *** is not text"]
    text = changed("1MiB", "'${CANARY}'")
    assert "'${CANARY}' is not a size" in problems(tmp_path, text, {"CANARY": canary})[0]


def test_s12_a_plan_holds_the_name_of_a_secret_not_the_secret(tmp_path: Path) -> None:
    text = changed("port: 8081", "token: '${TOKEN}'")
    plan = load(written(tmp_path, text), environ={"TOKEN": "hunter2-canary"})
    assert b"hunter2-canary" not in pickle.dumps(plan)
    built = component_of(plan.sources["api"], {"TOKEN": "hunter2-canary"})
    assert built.token.get_secret_value() == "hunter2-canary"  # type: ignore[attr-defined]
    assert "hunter2-canary" not in repr(built)


def test_variables_become_what_the_option_needs(tmp_path: Path) -> None:
    plan = load(written(tmp_path, changed("8081", "'${PORT}'")), environ={"PORT": "9000"})
    assert component_of(plan.sources["api"], {"PORT": "9000"}).port == 9000  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="PORT is not set"):
        component_of(plan.sources["api"], {})
    with pytest.raises(ConfigError) as caught:
        component_of(plan.sources["api"], {"PORT": "x"})
    assert caught.value.problems == ("sources.api.port: '${PORT}' is not a whole number",)


def test_structural_values_may_be_variables(tmp_path: Path) -> None:
    text = changed("agent: clicks", "agent: ${NAME}").replace("replicas: 2", "replicas: '${N}'")
    text = text.replace("type: web", "type: '${KIND}'")
    plan = load(written(tmp_path, text), environ={"NAME": "x", "N": "3", "KIND": "web"})
    assert (plan.agent, plan.sinks["lake"].placement.replicas) == ("x", 3)
    assert plan.sources["api"].type == "web"


def test_the_selector_names_channels_of_its_source(tmp_path: Path) -> None:
    more = changed("wal: {type: wal}", "wal: {type: wal}\n  ram: {type: ram}")
    more += "  log: {type: log, channel: ram}\n"
    good = more.replace(
        "    channels: [wal]", "    channels: [wal, ram]\n    selector: {optional: [ram]}"
    )
    selector = load(written(tmp_path, good)).sources["files"].selector
    assert selector is not None
    assert (selector.type, selector.options) == ("replicating", {"optional": ["ram"]})
    assert problems(tmp_path, good.replace("[ram]}", "[rma]}"))[0] == (
        "8: sources.files.selector: `optional` names 'rma', which is no channel of this source; "
        "did you mean 'ram'?"
    )
    assert problems(tmp_path, good.replace("[ram]}", "[ram, wal]}")) == [
        "8: sources.files.selector: all channels are `optional`; leave at least one out, it is "
        "required"
    ]


def test_per_node_channels_with_per_node_sources_are_right(tmp_path: Path) -> None:
    text = changed("wal: {type: wal}", "wal: {type: wal, placement: {per_node: true}}")
    text = text.replace(
        "    channels: [wal]", "    channels: [wal]\n    placement: {per_node: true}"
    ).replace("port: 8081,", "port: 8081, placement: {per_node: true},")
    assert load(written(tmp_path, text)).channels["wal"].placement.per_node


def test_what_this_host_lacks_is_known_beforehand(tmp_path: Path) -> None:
    assert check_host(load(written(tmp_path))) == []
    path = written(tmp_path, changed("logs/*.log", "gone/*.log"))
    expected = f"{path}:3: sources.files: the directory of 'gone/*.log' does not exist; create it"
    assert check_host(load(path)) == [expected]
    placed = changed("logs/*.log]", "gone/*.log]\n    placement: {node: other}")
    path = written(tmp_path, placed)
    assert check_host(load(path)) == []
    assert len(check_host(load(path), node="other")) == 1


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("sink", "s3", "`type: parquet`"),
        ("source", "syslog", "`type: syslogtcp` or `type: syslogudp`"),
        ("sink", "console", "`type: logger`"),
        ("source", "kafka", "not yet in rayflume"),
        ("channel", "Kafka", "not yet in rayflume"),
    ],
)
def test_names_of_other_collectors_lead_to_the_part_here(kind: str, name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"^unknown {kind} type '{name}'; .*{hint}"):
        lookup(kind, name)


@pytest.mark.parametrize(
    ("where", "waits"),
    [
        ((), True),
        (("sources.files",), True),
        (("sources.files", "sources.api"), False),
        (("sinks.lake",), False),
        (("channels.wal",), False),
        (("monitoring",), False),
    ],
)
def test_an_agent_waits_for_parts_only_while_others_of_their_kind_work(
    where: tuple[str, ...], waits: bool, tmp_path: Path
) -> None:
    plan = load(written(tmp_path))
    assert set(plan.sources) == {"files", "api"} and set(plan.sinks) == {"lake"}
    assert can_wait(plan, [HostProblem(one, "", "is not there") for one in where]) is waits
