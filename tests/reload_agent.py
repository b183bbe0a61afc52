"""An agent in this process whose plan changes while rows come, and the count of its rows."""

from __future__ import annotations

import collections
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rayflume.agent.changes import Changes
from rayflume.agent.inline import InlineAgent
from rayflume.clock import SystemClock
from rayflume.config import AgentPlan, plan_of


def sink(channel: str = "wal", **options: object) -> dict[str, object]:
    """A Parquet sink of short deliveries."""
    usual = {"path": "lake", "format": {"type": "text"}, "roll": {"age": "200ms"}}
    return {"type": "parquet", "channel": channel, **usual, **options}


def plan(directory: Path, **parts: object) -> AgentPlan:
    """taildir -> file channel -> Parquet; `web`, `wal`, `sinks`, `sink_groups`: instead of the
    usual ones.
    """
    web = {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"]}
    wal = {"type": "file", "directory": "wal"}
    value = {
        "agent": "clicks",
        "sources": {"web": web | dict(parts.get("web", {}))},  # type: ignore[call-overload]
        "channels": {"wal": wal | dict(parts.get("wal", {}))},  # type: ignore[call-overload]
        "sinks": parts.get("sinks", {"lake": sink()}),
    }
    if "sink_groups" in parts:
        value["sink_groups"] = parts["sink_groups"]
    return plan_of(value, directory)


class Changing:
    """A running agent and its input."""

    def __init__(self, directory: Path, first: AgentPlan) -> None:
        self.directory = directory
        (directory / "in").mkdir(exist_ok=True)
        self.written = 0
        self.agent = InlineAgent(first).start()

    def write(self, count: int) -> None:
        """More lines, each a number."""
        with (self.directory / "in" / "a.log").open("a") as file:
            file.writelines(f"{n}\n" for n in range(self.written, self.written + count))
        self.written += count

    def apply(self, new: AgentPlan) -> Changes:
        """Change to a plan and wait until all parts are as it wants them."""
        what = self.agent.apply(new)
        try:
            until(lambda: not self.agent.renewing())
        except AssertionError:
            raise AssertionError(self.agent.renewing(), self.agent.status()) from None
        return what

    def part(self, name: str) -> dict[str, Any]:
        components = self.agent.status()["components"]
        assert isinstance(components, list)
        return next(c for c in components if isinstance(c, dict) and c["name"] == name)

    def end(self) -> None:
        """Deliver all and end."""
        self.agent.drain()
        assert self.agent.join(60), self.agent.status()
        assert self.agent.status()["state"] == "drained"

    def rows(self, *lakes: str) -> collections.Counter[int]:
        """How often each number is in the lakes."""
        return rows(self.directory, *lakes)

    def judge(self, *lakes: str) -> None:
        """Lost 0, doubled 0."""
        assert self.rows(*lakes) == collections.Counter(range(self.written))


def rows(directory: Path, *lakes: str) -> collections.Counter[int]:
    """How often each number is in the lakes."""
    seen: collections.Counter[int] = collections.Counter()
    for lake in lakes or ("lake",):
        for path in (directory / lake).glob("part-*.parquet"):
            seen.update(int(v) for v in pq.read_table(path).column(0).to_pylist())
    return seen


def until(found: Any, seconds: float = 30.0) -> None:
    """Wait for a condition; AssertionError when it does not come."""
    clock, pause = SystemClock(), threading.Event()
    deadline = clock.monotonic_ms() + seconds * 1000
    while not found():
        assert clock.monotonic_ms() < deadline, "it did not come true"
        pause.wait(0.005)
