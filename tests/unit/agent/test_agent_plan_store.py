from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from rayflume.agent.plan_store import PlanStore, Record, joined
from rayflume.config import plan_of


class Dict:
    """A key-value store."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.values.pop(key, None)

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.values if key.startswith(prefix)]


def record(directory: Path) -> Record:
    plan = plan_of(
        {
            "agent": "clicks",
            "sources": {
                "web": {
                    "type": "seq",
                    "channels": ["wal"],
                    "interceptors": [{"type": "static", "key": "site", "value": "${SITE}"}],
                    "selector": {"type": "replicating"},
                    "placement": {"per_node": True},
                }
            },
            "channels": {
                "wal": {"type": "file", "directory": "wal", "placement": {"per_node": True}}
            },
            "sinks": {"out": {"type": "null", "channel": "wal", "placement": {"replicas": 2}}},
        },
        directory,
        {"SITE": "a secret"},
    )
    return Record(plan, 3, True, True, "drain", ("n1", "n2"), {"wal": "j1"})


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    store, kept = PlanStore(Dict()), record(tmp_path)
    store.save(kept)
    found = store.load("clicks")
    assert found == kept
    assert found is not None
    assert found.plan.sources["web"].interceptors[0].type == "static"
    assert found.plan.sinks["out"].placement.replicas == 2


def test_what_is_kept_is_json_without_secrets(tmp_path: Path) -> None:
    values = Dict()
    PlanStore(values).save(record(tmp_path))
    [data] = values.values.values()
    json.loads(data)
    assert b"${SITE}" in data
    assert b"a secret" not in data


def test_change_delete_and_list(tmp_path: Path) -> None:
    store, kept = PlanStore(Dict()), record(tmp_path)
    store.save(kept)
    assert store.change("clicks", asked="stop") == replace(kept, asked="stop")
    assert store.agents() == ["clicks"]
    store.delete("clicks")
    assert store.load("clicks") is None
    assert store.change("clicks", asked="") is None
    assert store.agents() == []


def test_f14_a_host_that_is_back_gets_the_replica_number_of_its_dead_node(tmp_path: Path) -> None:
    hosts = {"a1": "a", "b1": "b", "b2": "b", "c1": "c"}
    before = replace(record(tmp_path), nodes=("a1", "b1"), hosts=hosts)
    assert joined(before, {"a1", "b2"}, ["b2"]) == ("a1", "b2")
    assert joined(before, {"a1", "c1"}, ["c1"]) == ("a1", "b1", "c1")


def test_f14_a_second_living_node_of_a_host_takes_no_place(tmp_path: Path) -> None:
    hosts = {"a1": "a", "b1": "b", "b2": "b"}
    before = replace(record(tmp_path), nodes=("a1", "b1"), hosts=hosts)
    living = {"a1", "b1", "b2"}
    assert joined(before, living, ["b2"]) == ("a1", "b1"), "b1 may be dead and not noticed yet"
    assert joined(before, living, ["b2"], twins={"b2"}) == ("a1", "b1", "b2")
    first = replace(before, nodes=())
    assert joined(first, living, ["a1", "b1", "b2"]) == ("a1", "b1", "b2")
    unknown = replace(before, hosts={})
    assert joined(unknown, {"a1", "b2"}, ["b2"]) == ("a1", "b1", "b2")


def test_entries_are_added_to_what_others_have_added_meanwhile(tmp_path: Path) -> None:
    store, kept = PlanStore(Dict()), record(tmp_path)
    assert store.add("clicks", pinned={"web/0": "n1"}) is None
    store.save(kept)
    store.add("clicks", pinned={"web/0": "n1"}, hosts={"n1": "h1"})
    store.add("clicks", pinned={"web/1": "n2"}, journals={"wal": "n2"})
    found = store.load("clicks")
    assert found is not None
    assert found.pinned == {"web/0": "n1", "web/1": "n2"}
    assert (found.hosts, found.journals) == ({"n1": "h1"}, {"wal": "n2"})


def test_changes_of_several_threads_are_all_kept(tmp_path: Path) -> None:
    store = PlanStore(Dict())
    store.save(record(tmp_path))
    names = [f"web/{i}" for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.add("clicks", pinned={name: "n"}), names))
        list(pool.map(lambda name: store.change("clicks", asked="stop"), names))
    found = store.load("clicks")
    assert found is not None
    assert (sorted(found.pinned), found.asked) == (sorted(names), "stop")
