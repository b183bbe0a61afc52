"""Sink groups where they meet: at the channel, which one process owns, wherever its sinks run.

A sink takes as ever; whether it is given rows now is asked of its group's processor here. So no
sink knows of the others, members may run on other nodes, and a turn cannot be lost with the
process that had it: it is over when the take returns.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, runtime_checkable

from rayflume.component import Context
from rayflume.interfaces import Channel, Manifest, Taken
from rayflume.sink_group import SinkProcessor, Turn

log = logging.getLogger(__name__)

Leaders = Sequence[tuple[tuple[str, ...], SinkProcessor]]
"""The members of each group, and who leads them."""
SILENT_MS = 30_000
"""A sink that was not heard of for so long is taken for dead, as the channel takes it."""


@runtime_checkable
class Gated(Protocol):
    """What a channel's owner does for sinks beside interfaces.Channel. Blocks for a call.

    `near`: it is in this process, so a call never waits for another one.
    """

    near: bool

    def sink_failed(self, sink: str) -> bool:
        """The store of a sink failed; whether others of its group may take its rows."""
        ...

    def wake(self, holder: str) -> None:
        """Let a take of `holder` that waits for rows return now."""
        ...


class Gates:
    """The groups of one channel. Thread-safe. `calls`: the channel's methods that pass here."""

    calls = frozenset(
        {"take", "prepare", "commit", "heartbeat", "holder_gone", "sink_failed", "wake"}
    )

    def __init__(self, leaders: Leaders, context: Context) -> None:
        self._context = context
        self._gates: dict[str, _Gate] = {}
        self.lead(leaders)

    def lead(self, leaders: Leaders) -> None:
        """Other groups from now on; what was known of their sinks is forgotten."""
        before = set(self._gates.values())
        found = [(members, _Gate(members, leader, self._context)) for members, leader in leaders]
        self._gates = {name: gate for members, gate in found for name in members}
        for gate in before:
            gate.wake("")

    def call(self, channel: Channel, method: str, *args: object) -> object:
        """What a method of the channel returns, with the groups' say in it."""
        if method in ("sink_failed", "wake", "take"):
            return getattr(self, method)(channel, *args)
        result = getattr(channel, method)(*args)
        if method == "prepare" and isinstance(manifest := args[0], Manifest):
            gate = self._gates.get(manifest.sink)
            if gate is not None:
                gate.prepared(manifest)
        elif method == "commit":
            for gate in set(self._gates.values()):
                gate.committed(str(args[0]))
        else:
            gate = self._gates.get(_sink_of(str(args[0])))
            if gate is not None:
                gate.heard(_sink_of(str(args[0])), alive=method == "heartbeat")
        return result

    def take(
        self, channel: Channel, holder: str, delivery: str, bytes_max: int, *rest: int
    ) -> Taken:
        """See interfaces.Channel C3; a sink whose turn it is not gets no rows, and the time passes
        for it as if there were none.
        """
        gate = self._gates.get(_sink_of(holder))
        if gate is None:
            return channel.take(holder, delivery, bytes_max, *rest)
        return gate.take(channel, (holder, delivery, bytes_max), *rest)

    def sink_failed(self, channel: Channel, sink: str) -> bool:
        """See Gated."""
        gate = self._gates.get(sink)
        if gate is None:
            return False
        gate.failed(sink)
        return True

    def wake(self, channel: Channel, holder: str) -> None:
        """See Gated."""
        gate = self._gates.get(_sink_of(holder))
        if gate is not None:
            gate.wake(holder)
        if isinstance(channel, _Journaled):
            channel.wake(holder)


@runtime_checkable
class _Journaled(Protocol):
    """See channels._journaled.JournaledChannel."""

    def wake(self, holder: str) -> None: ...
    def has_orphans(self, sink: str) -> bool: ...


def _sink_of(holder: str) -> str:
    return holder.partition("/")[0]


def _replica_of(holder: str) -> str:
    """`<sink>/<replica>` of `<sink>/<replica>/<life>`."""
    return holder.rpartition("/")[0]


class _Gate:
    """One group on one channel."""

    def __init__(self, members: Sequence[str], leader: SinkProcessor, context: Context) -> None:
        self._leader = leader
        self._clock = context.clock
        self._changed = context.threads.condition()
        self._asking: Counter[str] = Counter()
        self._given: dict[str, tuple[str, int]] = {}
        """Replica -> its holder, and the number of its newest take that may have leased rows."""
        self._delivering: dict[str, str] = {}
        """Delivery -> its sink, from Prepared to Committed."""
        self._stuck: set[str] = set()
        """Sinks whose store failed while they had prepared deliveries: what they take on trial they
        might prepare and not publish either. They have shown that they work when those have landed.
        """
        self._woken: set[str] = set()
        self._heard = dict.fromkeys(members, self._clock.monotonic_ms())

    def take(
        self, channel: Channel, asked: tuple[str, str, int], wait_ms: int, turn: int = 0
    ) -> Taken:
        holder, delivery, bytes_max = asked
        if turn > 0 and self._given.get(_replica_of(holder)) == (holder, turn):
            # Asked again, for the answer was lost: those rows are leased to it.
            return channel.take(holder, delivery, bytes_max, wait_ms, turn)
        deadline_ms = self._clock.monotonic_ms() + wait_ms
        sink = _sink_of(holder)
        with self._asked_by(sink):
            turn_now = self._await_turn(sink, holder, deadline_ms, delivery)
            if turn_now in (Turn.WAIT, Turn.OUT):
                orphans = _orphans(channel, sink)
                close = turn_now is Turn.OUT and bool(delivery)
                return Taken(delivery, close=close, orphans=orphans)
            self._given[_replica_of(holder)] = holder, turn
            left_ms = max(0, deadline_ms - self._clock.monotonic_ms())
            taken: Taken | None = None
            try:
                taken = channel.take(holder, delivery, bytes_max, left_ms, turn)
            finally:
                self._over(sink, taken is not None and bool(taken.refs))
        if turn_now is Turn.TRIAL and taken.refs:
            return replace(taken, close=True)
        return taken

    @contextmanager
    def _asked_by(self, sink: str) -> Iterator[None]:
        with self._changed:
            self._asking[sink] += 1
            self._heard[sink] = self._clock.monotonic_ms()
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._asking[sink] -= 1
                self._changed.notify_all()

    def _await_turn(self, sink: str, holder: str, deadline_ms: int, delivery: str) -> Turn:
        with self._changed:
            while True:
                now_ms = self._clock.monotonic_ms()
                self._miss(now_ms)
                asking = [n for n, count in self._asking.items() if count and n not in self._stuck]
                turn = self._leader.turn(sink, asking, now_ms)
                out = turn is Turn.OUT and delivery
                if turn in (Turn.TAKE, Turn.TRIAL) or out or now_ms >= deadline_ms:
                    return turn
                if _replica_of(holder) in self._woken:
                    self._woken.discard(_replica_of(holder))
                    return turn
                wait_ms = min(deadline_ms - now_ms, self._leader.wait_ms(now_ms))
                self._changed.wait(max(1, wait_ms) / 1000)

    def _miss(self, now_ms: int) -> None:
        """A sink that is not heard of holds up nobody."""
        for name, heard_ms in self._heard.items():
            if now_ms - heard_ms > SILENT_MS and not self._asking[name]:
                self._heard[name] = now_ms
                log.warning("sink %s was not heard of: others of its group go on", name)
                self._leader.failed(name, now_ms)

    def _over(self, sink: str, rows: bool) -> None:
        with self._changed:
            self._leader.took(sink, rows, self._clock.monotonic_ms())
            self._changed.notify_all()

    def prepared(self, manifest: Manifest) -> None:
        with self._changed:
            self._delivering[manifest.delivery] = manifest.sink

    def committed(self, delivery: str) -> None:
        with self._changed:
            sink = self._delivering.pop(delivery, None)
            if sink is not None:
                if sink not in self._delivering.values():
                    self._stuck.discard(sink)
                self._leader.delivered(sink)
                self._changed.notify_all()

    def failed(self, sink: str) -> None:
        with self._changed:
            if sink in self._delivering.values():
                self._stuck.add(sink)
            self._leader.failed(sink, self._clock.monotonic_ms())
            self._changed.notify_all()

    def heard(self, sink: str, alive: bool) -> None:
        if not alive:
            self.failed(sink)
            return
        with self._changed:
            self._heard[sink] = self._clock.monotonic_ms()

    def wake(self, holder: str) -> None:
        with self._changed:
            if holder:
                self._woken.add(_replica_of(holder))
            self._changed.notify_all()


def _orphans(channel: Channel, sink: str) -> bool:
    return isinstance(channel, _Journaled) and channel.has_orphans(sink)
