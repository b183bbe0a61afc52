"""An agent of a Flume file, running in this process; and what its sinks wrote."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rayflume.agent import inline, sink_runner
from rayflume.agent.control import Watch
from rayflume.agent.inline import InlineAgent
from rayflume.config import AgentPlan
from rayflume.flume.read import plan_of_flume, read_flume
from rayflume.flume.values import Surroundings

WAIT_S = 60.0
"""Kernels are compiled once after an installation, which takes a while."""
POLL_S = 0.01


def at_home(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that agents write goes below `directory`, and they start and end quickly."""
    monkeypatch.chdir(directory)
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    # What only lets time pass: an idle take of a sink, and the rounds of the watching loop.
    monkeypatch.setattr(sink_runner, "TAKE_WAIT_MS", 20)
    monkeypatch.setattr(inline, "Watch", partial(Watch, tick_ms=10))


class FlumeAgent:
    """A started agent; all its parts run. Leaving the context stops it where it stands."""

    def __init__(self, plan: AgentPlan) -> None:
        self.agent = InlineAgent(plan).start()

    def __enter__(self) -> FlumeAgent:
        try:
            self.until(self._all_run)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _all_run(self) -> bool:
        return all(one["state"] in ("running", "drained") for one in self.parts())

    def parts(self, kind: str = "") -> list[dict[str, Any]]:
        """What `status` shows of the parts, of all kinds or of one."""
        components: Any = self.agent.status()["components"]
        return [one for one in components if kind in ("", one["kind"])]

    def part(self, name: str) -> dict[str, Any]:
        (found,) = (one for one in self.parts() if one["name"] == name)
        return found

    def port(self, source: str) -> int:
        return int(self.part(source)["detail"]["port"])

    def count(self, name: str, metric: str) -> int:
        """Of one part, or of all of a kind."""
        found = self.parts(name) or [self.part(name)]
        return sum(one["metrics"].get(metric, 0) for one in found)

    def until(self, is_so: Callable[[], bool]) -> None:
        for _ in range(int(WAIT_S / POLL_S)):
            if is_so():
                return
            if self.agent.join(POLL_S):
                break
        raise AssertionError(json.dumps(self.agent.status(), indent=1))

    def until_counted(self, name: str, metric: str, least: int) -> None:
        self.until(lambda: self.count(name, metric) >= least)

    def drain(self) -> None:
        """Deliver all that is there, and end."""
        self.agent.drain()
        assert self.agent.join(WAIT_S), json.dumps(self.agent.status(), indent=1)
        assert self.agent.status()["state"] == "drained"

    def stop(self) -> None:
        self.agent.stop()
        assert self.agent.join(WAIT_S)


def started(
    directory: Path, text: str, agent: str = "a1", values: Mapping[str, object] | None = None
) -> FlumeAgent:
    """The agent of that name in a file with this text, where `{name}` stands for a value."""
    path = directory / "flume.conf"
    path.write_text(filled(text, values))
    return FlumeAgent(plan_of_flume(read_flume([path], Surroundings({})), agent))


def filled(text: str, values: Mapping[str, object] | None = None) -> str:
    """`<name>` in a text is replaced; a value that nobody uses is a mistake."""
    for name, value in (values or {}).items():
        assert f"<{name}>" in text, name
        text = text.replace(f"<{name}>", str(value))
    return text


def lines_in(directory: Path) -> list[bytes]:
    """What a sink of files wrote, in no order; a file that is not finished does not count."""
    return [
        line
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "_rayflume" not in path.parts
        for line in path.read_bytes().splitlines()
    ]


def send_lines(port: int, lines: list[bytes]) -> bytes:
    """By TCP; what is answered until the source has closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(b"".join(line + b"\n" for line in lines))
        connection.shutdown(socket.SHUT_WR)
        answered = b""
        while piece := connection.recv(65536):
            answered += piece
    return answered
