"""An agent in this one process: one thread per part, the same parts, the same guarantees, no
Ray.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from rayflume.agent.changes import Changes, prints
from rayflume.agent.control import Control, Watch
from rayflume.agent.parts import ChannelPart, Part, Place, Status, build_part
from rayflume.agent.remote import RemoteChannel
from rayflume.agent.watched import Key
from rayflume.clock import Clock, SystemClock
from rayflume.config import AgentPlan, PartPlan
from rayflume.errors import ChannelClosed, ConfigError
from rayflume.interfaces import Channel, Json


def parts_inline(plan: AgentPlan) -> dict[Key, PartPlan]:
    """All parts of a plan on one host; `per_node` is one here."""
    return {
        (part.name, replica): part
        for part in plan.parts()
        for replica in range(part.placement.replicas)
    }


class LocalChannel(RemoteChannel):
    """A channel of this process by its name: what opens it anew is found by who had it before."""

    near = True

    def __init__(self, name: str, parts: Mapping[Key, Part]) -> None:
        self._name = name
        self._parts = parts

    def _call(self, method: str, *args: Any, wait_ms: int = 0) -> Any:  # noqa: ANN401
        part = self._parts.get((self._name, 0))
        if not isinstance(part, ChannelPart):
            raise ChannelClosed(f"channel {self._name} is not there")
        return part.call(method, *args)


class InlineHost:
    """Parts as objects of this process. See control.Host and control.Renews."""

    def __init__(self, plan: AgentPlan, clock: Clock) -> None:
        self._plan = self._former = plan
        self._clock = clock
        self._parts: dict[Key, Part] = {}
        self._made: dict[Key, Place] = {}
        self.channels: dict[str, Channel] = {}

    def start(self, key: Key) -> None:
        self._start(key, self._plan)

    def start_former(self, key: Key) -> None:
        self._start(key, self._former)

    def _start(self, key: Key, plan: AgentPlan) -> None:
        place = self._place(key, plan)
        part = build_part(place, self.channels, self._clock)
        self._parts[key], self._made[key] = part, place
        if isinstance(part, ChannelPart):
            self.channels[key[0]] = LocalChannel(key[0], self._parts)
        part.start()

    def _place(self, key: Key, plan: AgentPlan) -> Place:
        part = parts_inline(plan)[key]
        return Place(plan, part, key[1], print=prints(plan)[part.name])

    def kill(self, key: Key) -> None:
        part = self._parts.pop(key, None)
        if part is not None:
            part.stop()

    def renew(self, plan: AgentPlan) -> Mapping[Key, PartPlan]:
        self._former, self._plan = self._plan, plan
        return parts_inline(plan)

    def settled(self) -> None:
        self._former = self._plan
        self.channels = {n: c for n, c in self.channels.items() if n in self._plan.channels}

    def hold(self, key: Key) -> None:
        self._parts[key].hold()

    def resume(self, key: Key) -> None:
        self._parts[key].resume()

    def adjust(self, key: Key) -> None:
        part, place = self._parts[key], self._place(key, self._plan)
        if isinstance(part, ChannelPart):
            part.adjust(place)
        self._made[key] = place

    def drain(self, key: Key, unterminated: bool) -> None:
        self._parts[key].drain(unterminated)

    def stop(self, key: Key) -> Status | None:
        part = self._parts.get(key)
        if part is None:
            return None
        part.stop()
        return part.status()

    def statuses(self, keys: list[Key]) -> Mapping[Key, Status | None]:
        return {key: self._status(key) for key in keys}

    def _status(self, key: Key) -> Status | None:
        part = self._parts.get(key)
        return None if part is None else part.status() | {"plan": self._made[key].print}

    def place(self, key: Key) -> tuple[int, str]:
        return (os.getpid(), socket.gethostname()) if key in self._parts else (0, "")


class InlineAgent:
    """A running agent in this process. Use it from one thread. Raises ConfigError where it can
    never be drained as asked.
    """

    def __init__(
        self, plan: AgentPlan, *, until_drained: bool = False, clock: Clock | None = None
    ) -> None:
        if until_drained:
            plan.check_drainable()
        clock = clock or SystemClock()
        self._host = InlineHost(plan, clock)
        watch = Watch(plan, until_drained)
        self._control = Control(watch, self._host, parts_inline(plan), clock)
        self._thread = threading.Thread(
            target=self._control.run, name=f"rayflume-{plan.agent}", daemon=True
        )

    def start(self) -> InlineAgent:
        """Start all parts. Returns at once."""
        self._thread.start()
        return self

    def status(self) -> dict[str, Json]:
        """As `rayflume status --json`."""
        return self._control.status()

    def drain(self) -> None:
        """Read to the present end of the input and empty the channels. Returns at once."""
        self._control.drain()

    def drain_channels(self) -> None:
        """Stop reading and empty the channels. Returns at once."""
        self._control.drain_channels()

    def stop(self) -> None:
        """Stop at a batch boundary; what the channels hold stays there. Returns at once."""
        self._control.stop()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; False when `timeout_s` passed before. Blocks."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def apply(self, plan: AgentPlan) -> Changes:
        """Put another plan in force; see control.Control.apply. Raises ConfigError when it is
        refused.
        """
        return self._control.apply(plan, lambda: None)

    def renewing(self) -> list[str]:
        """Parts that are not yet as the newest plan wants them, a sentence each."""
        return self._control.renewing()

    def tap(self, channel: str, rows_max: int) -> list[pa.Buffer]:
        """Up to the newest rows of a channel, as Put records, without taking them."""
        found = self._host.channels.get(channel)
        if found is None:
            raise ConfigError(f"the agent has no channel {channel!r}")
        return found.tap(rows_max)
