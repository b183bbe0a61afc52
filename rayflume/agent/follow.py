"""Staying with an agent until it has ended: its figures again and again, and what signals ask for.

First Ctrl-C or SIGTERM: the sources stop reading and what the channels hold is delivered, for at
most `grace`. Second: stop; the channels keep the rest. Third: leave without waiting.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from rayflume.agent.figures import AgentFigures, Meter, PartFigures
from rayflume.clock import Clock
from rayflume.errors import RayflumeError, Retry
from rayflume.interfaces import Json

POLL_S = 0.25
SILENT_MS = 120_000
"""A supervisor that does not answer for so long is given up."""


LASTING_MS = 3_000
"""Errors that may pass by themselves, such as a channel that still opens, are told after that."""


class Agent(Protocol):
    """What a running agent can be asked, in this process or on a cluster."""

    def status(self) -> dict[str, Json]: ...
    def drain(self) -> None: ...
    def drain_channels(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout_s: float | None = None) -> bool: ...


class Signals:
    """How often the user asked to end. The handler only counts: it must not take a lock."""

    def __init__(self) -> None:
        self.count = 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    @contextmanager
    def caught(self) -> Iterator[Signals]:
        """Count SIGINT and SIGTERM within the block. In another than the main thread: nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._note) for number in numbers]
        try:
            yield self
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler or signal.SIG_DFL)


@dataclass(frozen=True)
class Follow:
    """How to stay with an agent.

    `show` gets the figures a few times a second, `say` sentences for the user. With `owner` signals
    end the agent, and so does a part without which it can't go on; otherwise signals only end the
    watching.
    """

    show: Callable[[AgentFigures], None]
    say: Callable[[str], None]
    grace_ms: int = 60_000
    owner: bool = True
    look: Callable[[], None] = lambda: None
    """Called each time the agent was asked how it is, for what else is to be watched."""


class Abandoned(RayflumeError):
    """The user did not want to wait for the end."""


class Follower:
    """Stays with one agent. Used by one thread."""

    def __init__(self, agent: Agent, options: Follow, clock: Clock) -> None:
        self._agent = agent
        self._options = options
        self._clock = clock
        self._meter = Meter(clock.monotonic_ms())
        self._heeded = 0
        self._deadline_ms: int | None = None
        self._stopping = False
        self._silent_ms: int | None = None
        self._errors_ms: dict[tuple[str, int, str], int] = {}
        self._told: set[tuple[str, int, str]] = set()
        self._dead: set[str] = set()

    def run(self, signals: Signals) -> AgentFigures:
        """The last figures, once the agent has ended. Blocks.

        Raises Abandoned (third signal, or the first one if not the owner), Retry when a supervisor
        is silent for long, and RayflumeError when the agent ended without saying so.
        """
        while True:
            try:
                ended = self._agent.join(POLL_S)
                figures = self._meter.read(self._agent.status(), self._clock.monotonic_ms())
                self._options.show(figures)
                self._tell_errors(figures)
                self._tell_dead_letters(figures)
                if ended:
                    return figures
                self._heed(figures, signals.count)
                self._options.look()
                self._silent_ms = None
            except Retry as error:
                self._wait_out(error, signals.count)

    def _wait_out(self, error: Retry, signals: int) -> None:
        now_ms = self._clock.monotonic_ms()
        if self._silent_ms is None:
            self._silent_ms = now_ms
            self._options.say(error.message)
        if now_ms - self._silent_ms > SILENT_MS or signals > max(1, self._heeded):
            raise error
        threading.Event().wait(POLL_S)

    def _heed(self, figures: AgentFigures, asked: int) -> None:
        if asked > self._heeded:
            self._heeded += 1
            self._asked(figures)
        elif self._stopping or not self._options.owner:
            return
        elif self._deadline_ms is not None and self._clock.monotonic_ms() >= self._deadline_ms:
            seconds = self._options.grace_ms // 1000
            self._stop(f"not drained within {seconds} s: stopping; the channels keep the rest")
        elif figures.blocked():
            self._stop("stopping: nothing can go on; the channels keep what they hold")

    def _asked(self, figures: AgentFigures) -> None:
        if not self._options.owner or self._heeded > 2:
            raise Abandoned("left before the agent had ended")
        if self._stopping:
            self._options.say("stopping already; once more leaves without waiting")
        elif self._heeded == 1:
            seconds = self._options.grace_ms // 1000
            self._options.say(
                f"draining: no more is read, {figures.backlog:,} rows are delivered within "
                f"{seconds} s; Ctrl-C again stops at once"
            )
            self._deadline_ms = self._clock.monotonic_ms() + self._options.grace_ms
            self._agent.drain_channels()
        else:
            self._stop("stopping at once; the channels keep what is not delivered")

    def _stop(self, reason: str) -> None:
        self._options.say(reason)
        self._stopping = True
        self._agent.stop()

    def _tell_errors(self, figures: AgentFigures) -> None:
        """Each error of a part once, for as long as it has this one.

        One that may pass by itself is told when it has lasted a while.
        """
        now_ms, since = figures.elapsed_ms, dict(self._errors_ms)
        self._errors_ms = {}
        for part in figures.parts:
            if part.last_error is None or part.state == "stopped" or _of_channel(part, figures):
                continue
            error = (part.name, part.replica, part.last_error)
            first_ms = self._errors_ms[error] = since.get(error, now_ms)
            grave = part.state in ("failed", "dead", "crashed")
            if error not in self._told and (grave or now_ms - first_ms >= LASTING_MS):
                self._told.add(error)
                self._options.say(sentence(part))
        self._told &= self._errors_ms.keys()

    def _tell_dead_letters(self, figures: AgentFigures) -> None:
        """Once for each sink: a schema or a time that does not fit is seen before all rows are
        there, and not when somebody misses them.
        """
        for part in figures.parts:
            reason = part.told_dead.get("first_reason")
            if reason and part.name not in self._dead:
                self._dead.add(part.name)
                self._options.say(
                    f"sink {part.name}: rows become dead letters, the first because {reason}; "
                    "`rayflume replay` delivers them when that is mended"
                )


def _of_channel(part: PartFigures, figures: AgentFigures) -> bool:
    """Whether its error only repeats that of a channel, which is told once."""
    return part.kind != "channel" and any(
        part.last_error == f"channel {one.name} is not open: {one.last_error}"
        for one in figures.parts
        if one.kind == "channel"
    )


def sentence(part: PartFigures) -> str:
    """What is wrong with a part: `sink lake: failed: no permission to write /lake`."""
    name = part.name if part.replica == 0 else f"{part.name}/{part.replica}"
    state = f"{part.state}: " if part.state in ("failed", "dead", "waiting", "crashed") else ""
    return f"{part.kind} {name}: {state}{part.last_error or 'no reason is known'}"


def outcome(status: Mapping[str, Json]) -> str:
    """How the agent ended: drained, stopped or failed, the last also when only one part failed."""
    parts = status["components"]
    assert isinstance(parts, list)
    failed = any(isinstance(part, dict) and part["state"] == "failed" for part in parts)
    return "failed" if failed else str(status["state"])
