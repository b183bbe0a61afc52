"""A whole agent in this process that tails a file into a lake, for tests of stores that fail."""

from __future__ import annotations

import collections
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from lakes import Place

from rayflume.agent.inline import InlineAgent
from rayflume.clock import SystemClock
from rayflume.config import plan_of
from rayflume.interfaces import Json


class LakeAgent:
    """A tailing agent that writes to a lake; lines are put in by hand."""

    def __init__(self, directory: Path, place: Place) -> None:
        self.inputs = directory / "in"
        self.inputs.mkdir()
        self.place = place
        self.written = 0
        sink = {
            "type": "parquet", "channel": "wal", "path": place.path, "storage": place.storage,
            "format": {"type": "text"}, "roll": {"age": "200ms"},
        }  # fmt: skip
        source = {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"]}
        plan = {
            "agent": "clicks", "sources": {"web": source}, "sinks": {"lake": sink},
            "channels": {"wal": {"type": "file", "directory": "wal"}},
        }  # fmt: skip
        self.agent = InlineAgent(plan_of(plan, directory)).start()

    def write(self, count: int) -> None:
        with (self.inputs / "a.log").open("a") as file:
            file.writelines(f"{n}\n" for n in range(self.written, self.written + count))
        self.written += count

    def part(self, name: str) -> dict[str, Any]:
        components = self.agent.status()["components"]
        assert isinstance(components, list)
        [found] = [c for c in components if isinstance(c, dict) and c["name"] == name]
        return found

    def metric(self, part: str, name: str) -> int:
        found: Json = self.part(part)["metrics"].get(name, 0)
        assert isinstance(found, int)
        return found

    @property
    def delivered(self) -> int:
        return self.metric("lake", "EventDrainSuccessCount")

    def end(self) -> None:
        self.agent.drain()
        assert self.agent.join(90), self.agent.status()

    def judge(self) -> None:
        seen: collections.Counter[int] = collections.Counter()
        for path, data in self.place.files().items():
            if path.endswith(".parquet"):
                seen.update(int(v) for v in pq.read_table(io.BytesIO(data)).column(0).to_pylist())
        assert seen == collections.Counter(range(self.written))
        assert not [path for path in self.place.files() if path.endswith(".dead")]


def until(found: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition; AssertionError when it does not come."""
    clock, pause = SystemClock(), threading.Event()
    deadline = clock.monotonic_ms() + seconds * 1000
    while not found():
        assert clock.monotonic_ms() < deadline, "it did not come true"
        pause.wait(0.05)
