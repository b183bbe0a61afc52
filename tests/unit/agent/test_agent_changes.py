"""What a new plan changes, and what is refused, as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.agent.changes import Found, adjusted_only, changes, prints, refusals
from rayflume.config import AgentPlan, plan_of

QUIET = Found(rows=0)


def plan(directory: Path, **changed: object) -> AgentPlan:
    """A plan with two sources, two channels, two sinks; `web__id=...` changes an option, None
    leaves it out; a part that is None is not there.
    """
    value: dict[str, dict[str, object]] = {
        "sources": {
            "web": {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"]},
            "api": {"type": "http", "port": 8080, "channels": ["mem"]},
        },
        "channels": {"wal": {"type": "file", "directory": "wal"}, "mem": {"type": "memory"}},
        "sinks": {
            "lake": {"type": "null", "channel": "wal"},
            "near": {"type": "null", "channel": "mem"},
            "far": {"type": "null", "channel": "mem"},
        },
        "sink_groups": {"g": {"sinks": ["near", "far"], "processor": "load_balance"}},
    }
    top: dict[str, object] = {"agent": "clicks"}
    for name, option in changed.items():
        part, _, key = name.partition("__")
        folder = next((f for f in value if part in value[f]), None)
        if folder is None and key:
            top[key] = option
        elif folder is None:
            top[name] = option
        elif not key and option is None:
            del value[folder][part]
        elif not key:
            value[folder][part] = option
        else:
            inside = value[folder][part]
            assert isinstance(inside, dict)
            inside[key] = option
    extra = top.pop("more", {})
    assert isinstance(extra, dict)
    for folder, parts in extra.items():
        value[folder] |= parts
    return plan_of({**top, **{f: parts for f, parts in value.items() if parts}}, directory)


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        ({}, ["nothing changes"]),
        (
            {"web__interceptors": [{"type": "host"}]},
            ["change web (interceptors)", "keep api, wal, mem, lake, near, far"],
        ),
        (
            {"wal__capacity": 5},
            ["change wal (capacity)", "keep web, api, mem, lake, near, far"],
        ),
        (
            {"mem__capacity": 5},
            ["adjust mem (capacity)", "keep web, api, wal, lake, near, far"],
        ),
        (
            {"lake__log_every_n_events": 1},
            ["change lake (log_every_n_events)", "keep web, api, wal, mem, near, far"],
        ),
        (
            {"lake__placement": {"replicas": 3}},
            ["adjust lake (placement)", "keep web, api, wal, mem, near, far"],
        ),
        (
            {"lake__placement": {"num_cpus": 1}},
            ["change lake (placement)", "keep web, api, wal, mem, near, far"],
        ),
        (
            {"g__processor": "failover"},
            ["adjust mem (its neighbours)", "keep web, api, wal, lake, near, far"],
        ),
        (
            {"g": None},
            ["adjust mem (its neighbours)", "keep web, api, wal, lake, near, far"],
        ),
        (
            {"far": None, "g": None},
            [
                "remove far (sink null)",
                "adjust mem (its neighbours)",
                "keep web, api, wal, lake, near",
            ],
        ),
        (
            {"more": {"sinks": {"new": {"type": "logger", "channel": "wal"}}}},
            ["add new (sink logger)", "keep web, api, wal, mem, lake, near, far"],
        ),
        (
            {"lake__channel": "mem", "more": {"sinks": {"k": {"type": "null", "channel": "wal"}}}},
            ["change lake (channels)", "add k (sink null)", "keep web, api, wal, mem, near, far"],
        ),
        ({"orphan_after": "2min"}, ["change web (its neighbours), api"]),
    ],
)  # fmt: skip
def test_each_part_is_kept_changed_added_or_removed(
    tmp_path: Path, changed: dict[str, object], lines: list[str]
) -> None:
    found = changes(plan(tmp_path), plan(tmp_path, **changed))
    if "orphan_after" in changed:
        assert len(found.change) == 7
        return
    assert found.lines() == lines
    assert bool(found) == (lines != ["nothing changes"])


def test_lines_of_the_file_and_the_order_of_parts_change_nothing(tmp_path: Path) -> None:
    first = tmp_path / "a.yaml"
    text = (
        "agent: a\nsources: {s: {type: seq, channels: [c]}}\nchannels: {c: {type: memory}}\n"
        "sinks: {k: {type: null, channel: c}}\n"
    )
    from rayflume.config import load

    first.write_text(text)
    old = load(first)
    first.write_text("# a comment\n\n" + text)
    assert not changes(old, load(first))


def test_a_neighbour_that_must_know_is_made_of_it_too(tmp_path: Path) -> None:
    """A source tells its channels that it is idle only where a sink marks what is complete, and
    that sink counts its sources.
    """
    marking = {
        "type": "parquet", "channel": "wal", "path": "lake", "event_time": "timestamp",
        "format": {"type": "text"}, "partition_by": ["dt=%Y-%m-%d", "hour=%H"], "complete": {},
    }  # fmt: skip
    old = plan(tmp_path, lake=marking)
    assert changes(plan(tmp_path), old).change == ("web", "lake")
    more = {"sources": {"more": {"type": "seq", "channels": ["wal"]}}}
    found = changes(old, plan(tmp_path, lake=marking, more=more))
    assert (found.add, found.change, found.what["lake"]) == (("more",), ("lake",), "its neighbours")


def test_no_value_is_shown(tmp_path: Path) -> None:
    new = plan(tmp_path, web__interceptors=[{"type": "static", "key": "k", "value": "s3cret"}])
    assert "s3cret" not in " ".join(changes(plan(tmp_path), new).lines())


def test_prints_are_the_same_in_every_process(tmp_path: Path) -> None:
    assert prints(plan(tmp_path)) == prints(plan(tmp_path))
    old, new = prints(plan(tmp_path)), prints(plan(tmp_path, mem__capacity=7))
    assert old["mem"] != new["mem"]
    assert adjusted_only(old["mem"], new["mem"])


HASH = {"type": "hash", "headers": ["a"]}
TWO = {
    "channels": {"second": {"type": "memory"}},
    "sinks": {"k": {"type": "null", "channel": "second"}},
}


def divided(directory: Path, **changed: object) -> AgentPlan:
    web = {
        "type": "taildir", "paths": ["in/*.log"], "channels": ["wal", "second"], "selector": HASH,
        "interceptors": [{"type": "static", "key": "a", "value": "1"}],
    }  # fmt: skip
    return plan(directory, web=web | changed, more=TWO)


@pytest.mark.parametrize(
    ("changed", "found", "problem"),
    [
        ({"agent": "other"}, {}, "is of the agent 'other'"),
        ({"far": None, "near": None, "mem": None, "g": None, "api": None},
         {"mem": Found(rows=3)}, "channel mem holds 3 rows and would be dropped"),
        ({"far": None, "near": None, "mem": None, "g": None, "api": None},
         {"mem": Found("waiting", rows=-1)}, "channel mem may hold rows (it is waiting)"),
        ({"far": None, "near": None, "mem": None, "g": None, "api": None}, {}, ""),
        ({"far": None, "g": None}, {"far": Found(deliveries=1)}, "sink far has open deliveries"),
        ({"far": None, "g": None}, {"mem": Found(prepared=("far",))},
         "sink far has open deliveries"),
        ({"far": None, "g": None}, {"mem": Found(prepared=("near",))}, ""),
        ({"wal__directory": "other"}, {}, "channel wal keeps positions and rows in its journal"),
        ({"wal": {"type": "memory"}}, {}, "channel wal keeps positions and rows in its journal"),
        ({"mem": {"type": "file", "directory": "m"}}, {}, "channel mem keeps positions"),
        ({"wal__placement": {"node": "10.0.0.1"}}, {}, "channel wal keeps positions"),
        ({"mem__placement": {"num_cpus": 1}}, {}, "channel mem has its rows in memory"),
        ({"wal__capacity": 9}, {"wal": Found(rows=5)}, ""),
        ({"mem__capacity": 9}, {"mem": Found(rows=5)}, ""),
        ({"web__id": "old"}, {}, "source web has its positions under the id 'web'"),
        ({"web__id": "web"}, {}, ""),
        ({"web__channels": ["mem"], "wal": None, "lake": None}, {},
         "source web has its positions in wal and would lose them"),
        ({"api__channels": ["wal"], "mem": None, "near": None, "far": None, "g": None}, {}, ""),
        ({"web": None, "api__channels": ["wal", "mem"],
          "more": {"sinks": {"web": {"type": "null", "channel": "wal"}}}}, {},
         "web is a source now: give the new sink another name"),
        ({"lake": {"type": "logger", "channel": "wal"}},
         {"lake": Found("failed"), "wal": Found(prepared=("lake",))}, "lake is failed and has"),
        ({"lake__log_every_n_events": 3},
         {"lake": Found("failed"), "wal": Found(prepared=("lake",))}, ""),
        ({"lake": {"type": "logger", "channel": "wal"}}, {"wal": Found(prepared=("lake",))}, ""),
        ({"state_dir": "elsewhere"}, {}, "state_dir: positions of mem are kept there"),
        ({"monitoring": {"port": 41414}}, {}, "monitoring: its listener opens at the start"),
    ],
)  # fmt: skip
def test_what_would_lose_or_double_rows_is_refused(
    tmp_path: Path, changed: dict[str, object], found: dict[str, Found], problem: str
) -> None:
    old = plan(tmp_path)
    state = {part.name: QUIET for part in old.parts()} | found
    problems = refusals(old, plan(tmp_path, **changed), state)
    if problem:
        assert [text for text in problems if problem in text], problems
    else:
        assert problems == []


@pytest.mark.parametrize(
    ("changed", "rows", "refused"),
    [
        ({"selector": {"type": "hash", "headers": ["b"]}}, 1, "selector"),
        ({"selector": {"type": "hash", "headers": ["b"]}}, 0, ""),
        ({"interceptors": []}, 1, "interceptors"),
        ({"channels": ["wal", "second", "mem"]}, 1, "channels"),
        ({"selector": {"type": "replicating"}}, 1, "selector"),
        ({"batch_bytes": "1MiB"}, 1, ""),
    ],
)
def test_rows_are_divided_as_before_while_there_are_any(
    tmp_path: Path, changed: dict[str, object], rows: int, refused: str
) -> None:
    old = divided(tmp_path)
    state = {part.name: QUIET for part in old.parts()} | {"second": Found(rows=rows)}
    problems = refusals(old, divided(tmp_path, **changed), state)
    assert bool(problems) == bool(refused), problems
    if refused:
        assert f"{refused} can change only when they are empty" in problems[0]
        assert "second holds 1 rows" in problems[0]


@pytest.mark.parametrize(("rows", "refused"), [(1, True), (0, False)])
def test_a_key_stays_until_its_rows_are_gone(tmp_path: Path, rows: int, refused: bool) -> None:
    keys = {"k1": "keys/1", "k2": "keys/2"}
    old = plan(tmp_path, wal__encryption={"active_key": "k1", "key_files": keys})
    new = plan(tmp_path, wal__encryption={"active_key": "k2", "key_files": {"k2": "keys/2"}})
    state = {part.name: QUIET for part in old.parts()} | {"wal": Found(rows=rows)}
    problems = refusals(old, new, state)
    assert bool(problems) == refused
    assert not refused or "sealed with the keys k1" in problems[0]
    assert refusals(new, old, state) == [], "a key more harms nobody"


def test_relative_paths_start_where_they_did(tmp_path: Path) -> None:
    other = tmp_path / "copy"
    other.mkdir()
    [problem] = refusals(plan(tmp_path), plan(other), {})
    assert f"relative paths start in {tmp_path} now" in problem


def test_replicas_count_together() -> None:
    found = Found("running", 3, ("a",), 1).and_(Found("held", -1, ("b",), 2))
    assert found == Found("held", -1, ("a", "b"), 3)
