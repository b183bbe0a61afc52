"""A whole agent in this process that multiplexes by a header, to HTTP servers that fail."""

from __future__ import annotations

from pathlib import Path

from http_target import HttpTarget, serving

from rayflume.agent.inline import InlineAgent
from rayflume.config import AgentPlan, plan_of

LINES = [f"line {i} of kind {i % 3}" for i in range(600)]


def plan(directory: Path, one: str, rest: str, selector: dict[str, object]) -> AgentPlan:
    extract = {
        "type": "regex_extractor",
        "regex": r"kind (\d)$",
        "serializers": [{"name": "kind"}],
    }
    return plan_of(
        {
            "agent": "routes",
            "sources": {
                "web": {
                    "type": "taildir",
                    "paths": ["*.log"],
                    "channels": ["a", "b"],
                    "interceptors": [extract],
                    "selector": selector,
                }
            },
            "channels": {
                "a": {"type": "file", "directory": "a"},
                "b": {"type": "memory"},
            },
            "sinks": {
                "one": {"type": "http", "channel": "a", "endpoint": one, "connections": 2},
                "rest": {"type": "http", "channel": "b", "endpoint": rest, "connections": 1},
            },
        },
        directory,
    )


def run(directory: Path, selector: dict[str, object]) -> tuple[HttpTarget, HttpTarget]:
    (directory / "in.log").write_text("\n".join(LINES) + "\n")
    told = iter([200] * 20 + [503, 0, 500])
    flaky = HttpTarget(answer=lambda body: next(told, 200))
    with serving(flaky) as one, serving() as rest:
        agent = InlineAgent(
            plan(directory, one.url, rest.url, selector), until_drained=True
        ).start()
        assert agent.join(60)
        assert agent.status()["state"] == "drained"
    return one, rest


def test_rows_go_by_header_and_each_is_taken_once_though_its_server_fails(tmp_path: Path) -> None:
    selector: dict[str, object] = {
        "type": "multiplexing", "header": "kind", "mapping": {"1": ["a"]}, "default": ["b"],
    }  # fmt: skip
    one, rest = run(tmp_path, selector)
    got = [body.decode() for body in one.bodies]
    assert set(got) == set(LINES[1::3]) and len(got) == 200 + 3  # what was refused came again
    assert [body.decode() for body in rest.bodies] == [line for line in LINES if line[-1] != "1"]


def test_rows_are_shared_out_and_each_goes_one_way(tmp_path: Path) -> None:
    one, rest = run(tmp_path, {"type": "load_balancing"})
    first, second = set(one.bodies), set(rest.bodies)
    assert not first & second and {body.decode() for body in first | second} == set(LINES)
    assert len(rest.bodies) == len(second) and 200 < len(first) < 400
