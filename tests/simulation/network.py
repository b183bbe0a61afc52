"""Calls between actors as Ray makes them: a handle to one life of a named actor, one task per call.

A request or its answer may take long or get lost; then the caller sees a time-out although the work
was done, or will be. A call to a dead actor fails; the next looks for the name again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rayflume.agent.remote import RemoteChannel
from rayflume.errors import ChannelClosed, RayflumeError
from simulation.kernel import Kernel, Process, SimEvent

CALL_TIMEOUT_MS = 120_000
LATE_MS = 150_000


@dataclass
class Actor:
    """One life of a named actor. `serve` makes a call inside it."""

    process: Process
    serve: Any


@dataclass
class Network:
    """Who is where, and how bad it is: shares of calls that are late or lose their answer, and of
    those that arrive once more, later.
    """

    kernel: Kernel
    actors: dict[str, Actor] = field(default_factory=dict)
    trouble: float = 0.0
    replays: float = 0.0

    def find(self, name: str) -> Actor | None:
        """The actor of that name, None when there is none."""
        actor = self.actors.get(name)
        return actor if actor is not None and actor.process.alive else None

    def call(self, actor: Actor, method: str, args: tuple[Any, ...], timeout_ms: float) -> Any:
        """What `method` returns in the other process, or raise what it raises there.

        Raises ChannelClosed when no answer comes.
        """
        kernel, answered = self.kernel, SimEvent(self.kernel)
        answer: list[tuple[bool, object]] = []
        delay = [kernel.random.random() * LATE_MS if self._bad() else 0.0 for _ in range(2)]
        lost = self._bad() and kernel.random.random() < 0.5

        def handle() -> None:
            try:
                result: tuple[bool, object] = True, actor.serve(method, *args)
            except RayflumeError as error:
                result = False, error
            kernel.sleep(delay[1])
            answer.append(result)
            if not lost:
                answered.set()

        def again() -> None:
            with suppress(RayflumeError):
                actor.serve(method, *args)

        def late() -> float:
            return kernel.random.random() * LATE_MS

        if not actor.process.alive:
            raise ChannelClosed("the actor is dead")
        kernel.note(
            f"{method} of {actor.process} is called{' (no answer will come)' if lost else ''}"
        )
        kernel.spawn(f"{actor.process}.{method}", handle, actor.process, delay[0])
        if kernel.random.random() < self.replays:
            kernel.spawn(f"{actor.process}.{method} again", again, actor.process, late())
        actor.process.at_end.append(answered.set)
        answered.wait(timeout_ms / 1000)
        actor.process.at_end.remove(answered.set)
        if not answer or lost:
            kernel.note(f"{method} of {actor.process} does not answer")
            raise ChannelClosed(f"{actor.process} does not answer")
        good, value = answer[0]
        if not good:
            assert isinstance(value, RayflumeError)
            raise value
        return value

    def _bad(self) -> bool:
        return self.kernel.random.random() < self.trouble


class SimChannel(RemoteChannel):
    """A channel in another process; see actors.ChannelProxy."""

    def __init__(self, network: Network, name: str) -> None:
        self._network = network
        self._name = name
        self._actor: Actor | None = None

    def _call(self, method: str, *args: Any, wait_ms: int = 0) -> Any:
        if self._actor is None:
            self._actor = self._network.find(self._name)
        if self._actor is None:
            self._network.kernel.step()
            raise ChannelClosed(f"channel {self._name} has no actor yet")
        try:
            return self._network.call(self._actor, method, args, CALL_TIMEOUT_MS + wait_ms)
        except ChannelClosed:
            self._actor = None
            raise
