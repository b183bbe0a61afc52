"""Decisions of one channel: the real channel and journal, on a disk in memory.

All sources of the cluster on one channel is the worst there is: with 100 channels each has a
hundredth of them.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.scale.measure import Case, Decide
from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import ChannelSetup, JournaledChannel
from rayflume.channels.memory import Memory, MemoryChannel
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.interfaces import Manifest, PutOutcome, PutRequest
from rayflume.journal.disk import MemoryDisk
from rayflume.journal.ledger import LedgerLimits
from rayflume.journal.options import JournalOptions
from rayflume.metrics import Metrics

PAYLOAD = EventBatch.from_events([b"x" * 200]).encode()
CRC = zlib.crc32(PAYLOAD)
LEASE_MS = 30_000
STREAMS = 3
"""Files that each source reads."""
CALLS = 500
"""Decisions on a state that they do not change."""


@dataclass
class Rig:
    """An open channel and its clock."""

    channel: JournaledChannel
    clock: ManualClock

    def put(self, stream: str, start: int) -> None:
        """One row, and the stream is one further."""
        request = PutRequest("source", (Extent(stream, start, start + 1, 1),), PAYLOAD, CRC, 1)
        if self.channel.put(request).outcome is not PutOutcome.STORED:
            raise RuntimeError("the put was not stored")

    def take(self, holder: str, delivery: str = "") -> str:
        """One record more; the delivery it is in."""
        taken = self.channel.take(holder, delivery, 1, 0)
        if taken.rows != 1:
            raise RuntimeError("the take brought no row")
        return taken.delivery

    def deliveries(self, n: int) -> dict[str, str]:
        """Holder -> its delivery of one row; `unfinished` is one range of n rows."""
        for i in range(n):
            self.put("s", i)
        return {holder(i): self.take(holder(i)) for i in range(n)}


def rig(segment_bytes: int = 256 * 2**20) -> Rig:
    clock = ManualClock()
    limits = LedgerLimits(lease_timeout_ms=LEASE_MS)
    context = Context("scale", "wal", clock, Metrics(), Path("/nowhere"))
    options = JournalOptions(limits, segment_bytes)
    channel = JournaledChannel(MemoryDisk(), options, context, ChannelSetup(durable=True))
    channel.open()
    return Rig(channel, clock)


def holder(i: int) -> str:
    return f"lake/{i}/{i:08x}"


def stream(i: int, file: int = 0) -> str:
    return f"host-{i // 10}/source-{i % 10}/{file}/0"


def manifest(delivery: str, rows: int = 1) -> Manifest:
    return Manifest(delivery, "lake", rows=rows, written=rows)


def _each(n: int, decide: Callable[[int], object]) -> Decide:
    def run() -> int:
        for i in range(n):
            decide(i)
        return n

    return run


# -- sources --------------------------------------------------------------------------------------


def put_first(n: int) -> Decide:
    made = rig()
    return _each(n, lambda i: made.put(stream(i), 0))


def put(n: int) -> Decide:
    made = rig()
    for i in range(n):
        made.put(stream(i), 0)
    return _each(n, lambda i: made.put(stream(i), 1))


def positions(n: int) -> Decide:
    made = rig()
    for i in range(n):
        for file in range(STREAMS):
            made.put(stream(i, file), 0)

    def ask(i: int) -> None:
        if len(made.channel.positions(f"host-{i // 10}/source-{i % 10}/")) != STREAMS:
            raise RuntimeError("positions of another source")

    return _each(n, ask)


def retire(n: int) -> Decide:
    made = rig()
    for i in range(n):
        made.put(stream(i), 0)
    return _each(n, lambda i: made.channel.retire([stream(i)]))


# -- sinks ----------------------------------------------------------------------------------------


def take(n: int) -> Decide:
    made = rig()
    opened = made.deliveries(n)
    for i in range(n):
        made.put("t", i)
    return _each(n, lambda i: made.take(holder(i), opened[holder(i)]))


def take_nothing(n: int) -> Decide:
    made = rig()
    opened = made.deliveries(n)
    return _each(n, lambda i: made.channel.take(holder(i), opened[holder(i)], 1, 0))


def heartbeat(n: int) -> Decide:
    made = rig()
    made.deliveries(n)
    return _each(n, lambda i: made.channel.heartbeat(holder(i)))


def prepare(n: int) -> Decide:
    made = rig()
    opened = made.deliveries(n)
    return _each(n, lambda i: made.channel.prepare(manifest(opened[holder(i)]), holder(i)))


def commit(n: int) -> Decide:
    """Every second one first: each commit leaves a hole."""
    made, opened = _prepared(n)
    order = [*range(0, n, 2), *range(1, n, 2)]
    return _each(n, lambda i: made.channel.commit(opened[holder(order[i])]))


def _prepared(n: int) -> tuple[Rig, dict[str, str]]:
    made = rig()
    opened = made.deliveries(n)
    for name, delivery in opened.items():
        made.channel.prepare(manifest(delivery), name)
    return made, opened


def release(n: int) -> Decide:
    made = rig()
    opened = made.deliveries(n)
    return _each(n, lambda i: made.channel.release(opened[holder(i)]))


# -- holes ----------------------------------------------------------------------------------------


def _holes(n: int) -> Rig:
    """`n` deliveries prepared, n leased, and a committed row between each two of them."""
    made = rig()
    opened = made.deliveries(4 * n)
    for i in range(0, 4 * n, 2):
        made.channel.prepare(manifest(opened[holder(i)]), holder(i))
    for i in range(0, 4 * n, 4):
        made.channel.commit(opened[holder(i)])
    for i in range(3, 4 * n, 4):
        made.channel.prepare(manifest(opened[holder(i)]), holder(i))
        made.channel.commit(opened[holder(i)])
    return made


def put_among_holes(n: int) -> Decide:
    made = _holes(n)
    return _each(CALLS, lambda i: made.put("more", i))


def credit(n: int) -> Decide:
    made = _holes(n)
    return _each(CALLS, lambda i: made.channel.credit())


def state(n: int) -> Decide:
    made = _holes(n)
    return _each(CALLS, lambda i: made.channel.state())


# -- deaths ---------------------------------------------------------------------------------------


def expire(n: int) -> Decide:
    """All holders fall silent at once."""
    made = rig()
    made.deliveries(n)
    made.clock.advance(LEASE_MS + 1)

    def run() -> int:
        made.channel.heartbeat("other/0/1")
        if made.channel.state().waiting != n:
            raise RuntimeError("not all that was leased is waiting again")
        return n

    return run


def take_again(n: int) -> Decide:
    """What silent holders had, one delivery after the other."""
    made = rig()
    made.deliveries(n)
    made.clock.advance(LEASE_MS + 1)
    made.channel.heartbeat("other/0/1")
    return _each(n, lambda i: made.take(f"again/{i}/1"))


def adopt(n: int) -> Decide:
    """Each sink replica has died with a lease, and starts anew."""
    made = rig()
    made.deliveries(n)
    return _each(n, lambda i: made.channel.adopt("lake", f"lake/{i}/anew"))


def heartbeat_prepared(n: int) -> Decide:
    made, _ = _prepared(n)
    return _each(n, lambda i: made.channel.heartbeat(holder(i)))


# -- a backlog ------------------------------------------------------------------------------------


def _segments(n: int) -> Rig:
    """A backlog of n segments with one record each."""
    made = rig(segment_bytes=1)
    journal = made.channel._journal
    for i in count():
        # Else a segment is at least twice as large as the Snapshot at its beginning.
        journal._roll_at = 1
        if len(journal._segments) > n:
            break
        made.put("s", i)
    journal._roll_at = 2**40
    return made


def commit_in_memory(n: int) -> Decide:
    """The memory channel: each commit moves its source's position on, and retires the stream."""
    clock, folder = ManualClock(), tempfile.TemporaryDirectory()
    context = Context("scale", "wal", clock, Metrics(), Path(folder.name))
    channel = MemoryChannel(Memory(), context)
    channel.open()
    made = Rig(channel, clock)
    for i in range(n):
        made.put(stream(i), 0)
        channel.retire([stream(i)])
    opened = {holder(i): made.take(holder(i)) for i in range(n)}
    for name, delivery in opened.items():
        channel.prepare(manifest(delivery), name)

    def run() -> int:
        for i in range(n):
            channel.commit(opened[holder(i)])
        if not all(position.retired for position in channel._table.positions("").values()):
            raise RuntimeError("a stream is not retired")
        channel.close()
        folder.cleanup()
        return n

    return run


def put_behind_backlog(n: int) -> Decide:
    made = _segments(n)
    return _each(CALLS, lambda i: made.put("more", i))


def take_from_backlog(n: int) -> Decide:
    made = _segments(n)
    names = count()
    return _each(min(n, CALLS), lambda i: made.take(f"lake/{next(names)}/1"))


def commit_from_backlog(n: int) -> Decide:
    made = _segments(n)
    opened = {holder(i): made.take(holder(i)) for i in range(min(n, CALLS))}
    for name, delivery in opened.items():
        made.channel.prepare(manifest(delivery), name)
    return _each(len(opened), lambda i: made.channel.commit(opened[holder(i)]))


def cases(nodes: tuple[int, ...]) -> list[Case]:
    """`nodes`: sizes of the cluster; ten sources on each. As many sinks, open deliveries, and holes
    that commits have left between them; and a backlog of 1 GiB for each ten nodes, in segments.
    """
    sources = tuple(10 * n for n in nodes)
    segments = tuple(max(1, 4 * n // 10) for n in nodes)
    return [
        Case("put, first of a source", "sources", sources, put_first),
        Case("put", "sources", sources, put),
        Case("positions", "sources", sources, positions),
        Case("retire", "sources", sources, retire),
        Case("take, into an open delivery", "sinks", nodes, take),
        Case("take, nothing waits", "sinks", nodes, take_nothing),
        Case("heartbeat, leased", "sinks", nodes, heartbeat),
        Case("heartbeat, prepared", "sinks", nodes, heartbeat_prepared),
        Case("prepare", "open deliveries", nodes, prepare),
        Case("commit", "open deliveries", nodes, commit),
        Case("release", "open deliveries", nodes, release),
        Case("put among open deliveries", "holes", nodes, put_among_holes),
        Case("credit", "holes", nodes, credit),
        Case("state", "holes", nodes, state),
        Case("expiry of all", "sinks", nodes, expire),
        Case("take of what died", "deliveries", nodes, take_again),
        Case("adopt", "sinks", nodes, adopt),
        Case("commit, memory channel", "sources", nodes, commit_in_memory, decisions=1),
        Case("put behind a backlog", "segments", segments, put_behind_backlog),
        Case("take from a backlog", "segments", segments, take_from_backlog),
        Case("commit from a backlog", "segments", segments, commit_from_backlog),
    ]
