"""What a person wants to know of a running agent, from its status: rows, bytes, rates, backlog.

Pure: a status and the time go in. Counters of a part begin anew when it is restarted; a Meter adds
up all lives that it saw.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rayflume.agent.watched import KIND_ORDER, Key
from rayflume.interfaces import Json
from rayflume.metrics import METRICS

RATE_WINDOW_MS = 5_000
FINAL = ("drained", "stopped", "failed")
_ROWS_IN = {
    "source": "EventReceivedCount",
    "channel": "EventPutSuccessCount",
    "sink": "EventDrainAttemptCount",
}
_ROWS_OUT = {
    "source": "EventAcceptedCount",
    "channel": "EventTakeSuccessCount",
    "sink": "EventDrainSuccessCount",
}
_BYTES_IN = {"source": "BytesReceivedCount", "sink": "BytesDrainedCount"}
_BYTES_OUT = {"sink": "BytesCommittedCount"}
_ERRORS = ("EventReadFail", "DeliveryRetryCount", "EventDamagedCount")
_FLOW = ("source", "channel", "sink")
_Point = tuple[int, int, int]
"""Time, rows, bytes."""


@dataclass(frozen=True)
class PartFigures:
    """One part. Rates are per second over the last few seconds; `errors`: restarts included."""

    name: str
    kind: str
    type: str
    replica: int
    node: str
    pid: int
    state: str
    restarts: int
    last_error: str | None
    metrics: Mapping[str, int]
    told_dead: Mapping[str, Json] = field(default_factory=dict)
    """What a sink says of its dead letters: `path`, `first_reason`. Empty if it says nothing."""
    rows_rate: float = 0.0
    bytes_rate: float = 0.0

    @property
    def key(self) -> Key:
        return self.name, self.replica

    @property
    def rows_in(self) -> int:
        return self.metrics.get(_ROWS_IN[self.kind], 0)

    @property
    def rows_out(self) -> int:
        return self.metrics.get(_ROWS_OUT[self.kind], 0)

    @property
    def bytes_in(self) -> int:
        return self.metrics.get(_BYTES_IN.get(self.kind, ""), 0)

    @property
    def bytes_out(self) -> int:
        return self.metrics.get(_BYTES_OUT.get(self.kind, ""), 0)

    @property
    def backlog(self) -> int:
        """Rows of a channel that are not committed."""
        return self.metrics.get("ChannelSize", 0)

    @property
    def errors(self) -> int:
        return self.restarts + sum(self.metrics.get(name, 0) for name in _ERRORS)


@dataclass(frozen=True)
class DeadLetters:
    """The rows that one sink could not write, in all its replicas: where they are, and why the
    first of them is there; "" where the sink does not say.
    """

    sink: str
    rows: int = 0
    path: str = ""
    first_reason: str = ""

    def and_of(self, rows: int, told: Mapping[str, Json]) -> DeadLetters:
        """These and those of a further replica."""
        path = self.path or str(told.get("path") or "")
        reason = self.first_reason or str(told.get("first_reason") or "")
        return DeadLetters(self.sink, self.rows + rows, path, reason)


def told_dead(component: Mapping[str, Json]) -> Mapping[str, Json]:
    """What a component of a status says of its dead letters, as `PartFigures.told_dead`."""
    detail = component.get("detail")
    told = detail.get("dead_letters") if isinstance(detail, dict) else None
    return told if isinstance(told, dict) else {}


@dataclass(frozen=True)
class AgentFigures:
    """An agent: its parts in the order of the flow, and the sums over them."""

    agent: str
    state: str
    elapsed_ms: int
    parts: tuple[PartFigures, ...]
    status: Mapping[str, Json] = field(default_factory=dict)

    def total(self, kind: str, metric: str) -> int:
        """Sum of a metric over all parts of a kind."""
        return sum(part.metrics.get(metric, 0) for part in self.parts if part.kind == kind)

    @property
    def rows_in(self) -> int:
        """Rows that are durable in their channels, and those that interceptors dropped."""
        return self.total("source", "EventAcceptedCount") + self.filtered

    @property
    def filtered(self) -> int:
        return self.total("source", "EventFilteredCount")

    @property
    def bytes_in(self) -> int:
        return self.total("source", "BytesReceivedCount")

    @property
    def dead(self) -> int:
        return self.total("sink", "EventDeadLetterCount")

    def dead_letters(self) -> list[DeadLetters]:
        """Those of each sink that has any."""
        found: dict[str, DeadLetters] = {}
        for part in self.parts:
            rows = part.metrics.get("EventDeadLetterCount", 0) if part.kind == "sink" else 0
            if rows:
                known = found.setdefault(part.name, DeadLetters(part.name))
                found[part.name] = known.and_of(rows, part.told_dead)
        return list(found.values())

    @property
    def all_dead(self) -> bool:
        """Whether rows came to the sinks, and not one was delivered."""
        return self.dead > 0 and self.rows_delivered == 0

    @property
    def rows_delivered(self) -> int:
        """Rows committed by the sinks, dead letters not counted."""
        return self.total("sink", "EventDrainSuccessCount") - self.dead

    @property
    def backlog(self) -> int:
        return self.total("channel", "ChannelSize")

    @property
    def errors(self) -> int:
        return sum(part.errors for part in self.parts)

    def rate(self, kind: str) -> tuple[float, float]:
        """Rows and bytes per second of all parts of a kind."""
        parts = [part for part in self.parts if part.kind == kind]
        return sum(p.rows_rate for p in parts), sum(p.bytes_rate for p in parts)

    def failed(self) -> list[PartFigures]:
        """The parts that have failed for good."""
        return [part for part in self.parts if part.state == "failed"]

    def blocked(self) -> list[PartFigures]:
        """The failed parts without which nothing goes on: all sources, all of a channel or sink."""
        groups: dict[str, list[PartFigures]] = {}
        for part in self.parts:
            groups.setdefault(part.name if part.kind != "source" else "", []).append(part)
        stuck = (g for g in groups.values() if all(part.state == "failed" for part in g))
        return [part for group in stuck for part in group]


class Meter:
    """Turns one status after the other into figures."""

    def __init__(self, started_ms: int) -> None:
        self._started_ms = started_ms
        self._last: dict[Key, Mapping[str, int]] = {}
        self._before: dict[Key, dict[str, int]] = {}
        self._points: dict[Key, deque[_Point]] = {}

    def read(self, status: Mapping[str, Json], now_ms: int) -> AgentFigures:
        """The figures of a status that was asked for at `now_ms` (monotonic)."""
        components = status["components"]
        assert isinstance(components, list)
        parts = [self._part(part, now_ms) for part in components if isinstance(part, dict)]
        parts.sort(key=lambda part: _FLOW.index(part.kind))
        elapsed_ms = now_ms - self._started_ms
        return AgentFigures(
            str(status["agent"]), str(status["state"]), elapsed_ms, tuple(parts), status
        )

    def _part(self, shown: Mapping[str, Json], now_ms: int) -> PartFigures:
        key = str(shown["name"]), int(str(shown["replica"]))
        part = PartFigures(
            key[0],
            str(shown["kind"]),
            str(shown["type"]),
            key[1],
            str(shown["node"]),
            int(str(shown["pid"])),
            str(shown["state"]),
            int(str(shown["restarts"])),
            None if shown["last_error"] is None else str(shown["last_error"]),
            self._all_lives(key, shown["metrics"]),
            told_dead(shown),
        )
        points = self._points.setdefault(key, deque())
        points.append((now_ms, part.rows_out, part.bytes_in))
        while len(points) > 2 and now_ms - points[1][0] >= RATE_WINDOW_MS:
            points.popleft()
        seconds = (now_ms - points[0][0]) / 1000
        if seconds <= 0:
            return part
        rates = [
            (last - first) / seconds for first, last in zip(points[0], points[-1], strict=True)
        ]
        return PartFigures(**vars(part) | {"rows_rate": rates[1], "bytes_rate": rates[2]})

    def _all_lives(self, key: Key, metrics: Json) -> dict[str, int]:
        assert isinstance(metrics, dict)
        now = {name: int(str(value)) for name, value in metrics.items()}
        last, before = self._last.get(key, {}), self._before.setdefault(key, {})
        counters = {n: v for n, v in last.items() if METRICS[n].kind == "counter"}  # type: ignore[index]
        if any(now.get(name, 0) < value for name, value in counters.items()):
            for name, value in counters.items():
                before[name] = before.get(name, 0) + value
        self._last[key] = now
        return now | {name: now.get(name, 0) + value for name, value in before.items()}


assert set(KIND_ORDER) == set(_FLOW)
