"""An agent in this one process: one thread per part, the same parts, the same guarantees, no
Ray.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping

import pyarrow as pa

from rayflume.agent.control import Control, Watch
from rayflume.agent.parts import ChannelPart, Part, Place, Status, build_part
from rayflume.agent.supervisor import Key
from rayflume.clock import Clock, SystemClock
from rayflume.config import AgentPlan, PartPlan
from rayflume.errors import ConfigError
from rayflume.interfaces import Channel, Json


def parts_inline(plan: AgentPlan) -> dict[Key, PartPlan]:
    """All parts of a plan on one host; `per_node` is one here."""
    return {
        (part.name, replica): part
        for part in plan.parts()
        for replica in range(part.placement.replicas)
    }


class InlineHost:
    """Parts as objects of this process. See control.Host."""

    def __init__(self, plan: AgentPlan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._plans = parts_inline(plan)
        self._parts: dict[Key, Part] = {}
        self.channels: dict[str, Channel] = {}

    def start(self, key: Key) -> None:
        part = build_part(Place(self._plan, self._plans[key], key[1]), self.channels, self._clock)
        if isinstance(part, ChannelPart):
            self.channels[key[0]] = part.channel
        self._parts[key] = part
        part.start()

    def kill(self, key: Key) -> None:
        part = self._parts.pop(key, None)
        if part is not None:
            part.stop()

    def drain(self, key: Key, unterminated: bool) -> None:
        self._parts[key].drain(unterminated)

    def stop(self, key: Key) -> Status | None:
        part = self._parts.get(key)
        if part is None:
            return None
        part.stop()
        return part.status()

    def statuses(self, keys: list[Key]) -> Mapping[Key, Status | None]:
        return {key: self._parts[key].status() if key in self._parts else None for key in keys}

    def place(self, key: Key) -> tuple[int, str]:
        return (os.getpid(), socket.gethostname()) if key in self._parts else (0, "")


class InlineAgent:
    """A running agent in this process. Use it from one thread."""

    def __init__(
        self, plan: AgentPlan, *, until_drained: bool = False, clock: Clock | None = None
    ) -> None:
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

    def tap(self, channel: str, rows_max: int) -> list[pa.Buffer]:
        """Up to the newest rows of a channel, as Put records, without taking them."""
        found = self._host.channels.get(channel)
        if found is None:
            raise ConfigError(f"the agent has no channel {channel!r}")
        return found.tap(rows_max)
