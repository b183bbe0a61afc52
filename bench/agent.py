"""An agent that the bench runs, as seen from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from bench.usage import cpu_seconds
from rayflume.errors import Retry
from rayflume.interfaces import Json


class Agent(Protocol):
    """What `cluster.RayAgent` promises, as far as the bench uses it."""

    def status(self) -> dict[str, Json]: ...
    def drain(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout_s: float | None = None) -> bool: ...
    def pid(self) -> int: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Part:
    """One part as the status shows it."""

    name: str
    kind: str
    replica: int
    pid: int
    state: str
    restarts: int
    last_error: str | None
    metrics: Mapping[str, int]
    detail: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.name}/{self.replica}"


class Running:
    """An agent that runs. `begun`: when it was asked for, by time.perf_counter."""

    def __init__(self, agent: Agent, begun: float) -> None:
        self._agent = agent
        self.begun = begun

    def parts(self, kind: str = "") -> list[Part]:
        """All parts, or those of one kind. Raises Retry while the supervisor does not answer."""
        components: Any = self._agent.status()["components"]
        wanted = (
            "name", "kind", "replica", "pid", "state", "restarts", "last_error", "metrics",
            "detail",
        )  # fmt: skip
        found = [Part(**{name: part[name] for name in wanted}) for part in components]
        return [part for part in found if kind in ("", part.kind)]

    def state(self) -> str:
        """running, draining, drained, stopped or failed."""
        return str(self._agent.status()["state"])

    def wait_running(self, deadline_s: float = 180) -> None:
        self.wait(
            lambda: all(part.state == "running" and part.pid for part in self.parts()),
            "all parts run",
            deadline_s,
        )

    def wait(
        self, condition: Callable[[], bool], what: str, deadline_s: float, every_s: float = 0.05
    ) -> None:
        """Until it holds. Raises TimeoutError with the state of all parts after `deadline_s`."""
        deadline = time.perf_counter() + deadline_s
        pause = threading.Event()
        while True:
            with suppress(Retry):
                if condition():
                    return
            if time.perf_counter() > deadline:
                raise TimeoutError(f"not within {deadline_s:.0f} s: {what}; {self._told()}")
            pause.wait(every_s)

    def _told(self) -> str:
        try:
            parts = self.parts()
        except Retry as error:
            return error.message
        return "; ".join(f"{part.label} {part.state}: {part.last_error}" for part in parts)

    def metric(self, kind: str, name: str) -> int:
        """The sum of a metric over all parts of a kind."""
        return sum(part.metrics.get(name, 0) for part in self.parts(kind))

    def pids(self) -> dict[str, int]:
        """Its own processes: the part actors and the supervisor."""
        return {part.label: part.pid for part in self.parts()} | {"supervisor": self._agent.pid()}

    def cpu(self) -> dict[int, float]:
        """Seconds of CPU of each of its own processes."""
        return cpu_seconds(self.pids().values())

    def drain(self) -> None:
        """Read to the present end of the input and empty the channel; it stops by itself then."""
        self._agent.drain()

    def end(self) -> None:
        """Stop it and forget it; what does not stop in time is reported by an exception."""
        self._agent.stop()
        ended = self._agent.join(90)
        told = "" if ended else self._told()
        self._agent.close()
        if not ended:
            raise TimeoutError(f"the agent did not stop within 90 s; {told}")
