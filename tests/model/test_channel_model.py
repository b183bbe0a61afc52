"""The file channel against lists and dictionaries, with faults and power failures anywhere.

The model holds what was acknowledged. A call that ended with ChannelClosed has an unknown outcome:
it is asked again, as sources and sinks do, and the answer is then binding.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeVar

from disks import FaultyDisk
from fakes import bodies_of, journaled, manifest_of, manual, request
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rayflume.batch import Extent
from rayflume.channels._journaled import REOPEN_AFTER_MS, JournaledChannel
from rayflume.errors import ChannelClosed, LeaseRevoked
from rayflume.interfaces import PutOutcome
from rayflume.journal.ledger import LedgerLimits
from rayflume.journal.options import JournalOptions

STREAMS = st.sampled_from(["a", "b", "c"])
KEYS = st.integers(0, 3).map(lambda n: f"{n:032x}")
DIGESTS = st.sampled_from([bytes(16), bytes(range(16))])
HOLDERS = st.sampled_from(["lake/0/x", "lake/1/x"])
FAULTS = st.sampled_from(["write", "sync", "create", "unlink", "sync_directory"])
TRIES = 12
T = TypeVar("T")
Row = bytes


class ChannelModel(RuleBasedStateMachine):
    @initialize(segment=st.sampled_from([1500, 6000, 10**6]))
    def begin(self, segment: int) -> None:
        self.context, self.clock = manual(Path("/nowhere"))
        limits = LedgerLimits(events=60, bytes=2**20, lease_timeout_ms=10**9, keys=1000)
        self.options = JournalOptions(limits, segment)
        self.disk = FaultyDisk()
        self.next: dict[str, int] = {}
        self.keys: dict[str, bytes] = {}
        self.waiting: set[Row] = set()
        self.leased: dict[str, tuple[str, list[Row]]] = {}
        self.prepared: dict[str, list[Row]] = {}
        self.committed: list[Row] = []
        self.failure = "wait"
        self.chance = Random(0)
        self.channel = self.reopen()

    # -- calls that may have to be asked again ------------------------------------------------

    def reopen(self) -> JournaledChannel:
        for _ in range(TRIES):
            try:
                channel = journaled(self.disk, self.context, self.options)
            except OSError:
                continue
            self.life = channel._journal.ledger.epoch
            self.drop_leases()
            return channel
        raise AssertionError("the journal can't be opened")

    def ask(self, call: Callable[[], T]) -> T:
        for _ in range(TRIES):
            try:
                return call()
            except ChannelClosed:
                self.after_failure()
            finally:
                self.notice_reopening()
        raise AssertionError("the channel does not come back")

    def after_failure(self) -> None:
        if self.failure == "power":
            self.disk.power_failure(lambda count: self.chance.randint(0, count))
        if self.failure == "wait":
            self.clock.advance(REOPEN_AFTER_MS)
        else:
            self.channel = self.reopen()

    def notice_reopening(self) -> None:
        journal = self.channel._journal
        if not journal.failed and journal.ledger.epoch != self.life:
            self.life = journal.ledger.epoch
            self.drop_leases()

    def drop_leases(self) -> None:
        for _, rows in self.leased.values():
            self.waiting |= set(rows)
        self.leased.clear()

    # -- sources --------------------------------------------------------------------------------

    @rule(stream=STREAMS, count=st.integers(1, 4), filtered=st.booleans(), second=STREAMS)
    def put(self, stream: str, count: int, filtered: bool, second: str) -> None:
        extents, rows = [], []
        ahead = dict(self.next)
        for name in (stream, second):
            start = ahead.get(name, 0)
            bodies = (
                [] if filtered else [f"{name}{i}".encode() for i in range(start, start + count)]
            )
            extents.append(Extent(name, start, start + count, len(bodies)))
            ahead[name] = start + count
            rows += bodies
        reply = self.ask(lambda: self.channel.put(request(rows, extents)))
        if reply.outcome is PutOutcome.STORED:
            self.next = ahead
            self.waiting |= set(rows)
        else:
            assert reply.outcome is PutOutcome.FULL
            assert self.open_rows() + len(rows) > 0

    @rule(stream=STREAMS, back=st.integers(1, 5))
    def put_again(self, stream: str, back: int) -> None:
        end = self.next.get(stream, 0)
        start = max(0, end - back)
        bodies = [b"never"] * (end - start)
        extent = Extent(stream, start, end, end - start)
        assert self.ask(lambda: self.channel.put(request(bodies, [extent]))).outcome == "stored"
        self.next.setdefault(stream, 0)  # an empty extent makes a stream known

    @rule(stream=STREAMS, ahead=st.integers(1, 5))
    def put_behind_a_gap(self, stream: str, ahead: int) -> None:
        end = self.next.get(stream, 0)
        extent = Extent(stream, end + ahead, end + ahead + 1, 1)
        reply = self.ask(lambda: self.channel.put(request([b"never"], [extent])))
        assert (reply.outcome, reply.stream, reply.next) == ("refused", stream, end)

    @rule(key=KEYS, digest=DIGESTS)
    def put_keyed(self, key: str, digest: bytes) -> None:
        body = key.encode()
        extent = Extent(key, 0, 1, 1, digest, keyed=True)
        reply = self.ask(lambda: self.channel.put(request([body], [extent])))
        if reply.outcome is PutOutcome.FULL:
            assert key not in self.keys
            return
        if key not in self.keys:
            self.keys[key] = digest
            self.waiting.add(body)
        assert reply.conflicts == ((key,) if self.keys[key] != digest else ())

    # -- sinks ----------------------------------------------------------------------------------

    @rule(holder=HOLDERS, bytes_max=st.sampled_from([1, 1000, 10**6]), more=st.booleans())
    def take(self, holder: str, bytes_max: int, more: bool) -> None:
        own = [d for d, (who, _) in self.leased.items() if who == holder]
        delivery = own[-1] if own and more else ""
        try:
            taken = self.ask(lambda: self.channel.take(holder, delivery, bytes_max, 0))
        except LeaseRevoked:
            assert delivery not in self.leased
            return
        rows = bodies_of(self.channel, taken.refs)
        assert set(rows) <= self.waiting
        assert len(set(rows)) == len(rows)
        if rows:
            self.leased.setdefault(taken.delivery, (holder, []))[1].extend(rows)
        elif not delivery:
            assert not self.waiting
        self.waiting -= set(rows)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), dies=st.booleans())
    def give_back(self, data: st.DataObject, dies: bool) -> None:
        delivery = data.draw(st.sampled_from(sorted(self.leased)))
        holder = self.leased[delivery][0]
        if dies:
            self.ask(lambda: self.channel.holder_gone(holder))
        else:
            self.ask(lambda: self.channel.release(delivery))
        for name in [d for d in self.leased if d == delivery or (dies and self.holds(d, holder))]:
            self.waiting |= set(self.leased.pop(name)[1])

    def holds(self, delivery: str, holder: str) -> bool:
        return self.leased[delivery][0] == holder

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def prepare(self, data: st.DataObject) -> None:
        delivery = data.draw(st.sampled_from(sorted(self.leased)))
        holder, rows = self.leased[delivery]
        manifest = manifest_of(delivery, len(rows))
        try:
            self.ask(lambda: self.channel.prepare(manifest, holder))
        except LeaseRevoked:
            assert delivery not in self.leased, "only an opening in between takes a lease away"
            return
        self.waiting -= set(rows)
        self.leased.pop(delivery, None)
        self.prepared[delivery] = rows

    @precondition(lambda self: self.prepared)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        delivery = data.draw(st.sampled_from(sorted(self.prepared)))
        self.ask(lambda: self.channel.commit(delivery))
        self.committed += self.prepared.pop(delivery)

    # -- what goes wrong ------------------------------------------------------------------------

    @rule(
        what=FAULTS,
        number=st.sampled_from([errno.EIO, errno.ENOSPC]),
        part=st.integers(0, 900),
        failure=st.sampled_from(["wait", "process", "power"]),
        seed=st.integers(0, 99),
    )
    def fail_next(self, what: str, number: int, part: int, failure: str, seed: int) -> None:
        self.disk.fail[what] = number
        self.disk.partial = part
        self.failure = failure
        self.chance = Random(seed)

    @rule(seconds=st.integers(0, 5))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds * 1000)

    @rule()
    def close(self) -> None:
        self.channel.close()
        self.channel = self.reopen()

    @rule()
    def process_dies(self) -> None:
        self.channel = self.reopen()

    @rule(data=st.data())
    def power_fails(self, data: st.DataObject) -> None:
        self.disk.power_failure(lambda count: data.draw(st.integers(0, count)))
        self.channel = self.reopen()

    # -- what must hold -------------------------------------------------------------------------

    def open_rows(self) -> int:
        held = [rows for _, rows in self.leased.values()] + list(self.prepared.values())
        return len(self.waiting) + sum(map(len, held))

    @rule()
    def look(self) -> None:
        """Everything acknowledged is there once, and nothing else."""
        positions = self.ask(lambda: self.channel.positions(""))
        assert {name: p.next for name, p in positions.items()} == self.next
        state = self.ask(self.channel.state)
        assert state.degraded == ()
        leased = sum(len(rows) for _, rows in self.leased.values())
        prepared = sum(map(len, self.prepared.values()))
        assert (state.waiting, state.leased, state.prepared) == (
            len(self.waiting),
            leased,
            prepared,
        )
        known = {m.delivery for m, _ in self.channel._journal.ledger.prepared()}
        assert known == set(self.prepared)

    def teardown(self) -> None:
        if not hasattr(self, "channel"):
            return
        self.disk.fail.clear()
        self.power_failure_at_the_end()
        self.look()
        rows: list[Row] = []
        while (taken := self.channel.take("lake/0/x", "", 10**6, 0)).refs:
            rows += bodies_of(self.channel, taken.refs)
        ranges = [s for _, spans in self.channel._journal.ledger.prepared() for s in spans]
        rows += bodies_of(self.channel, self.channel.refs(ranges)) + self.committed
        wanted = [key.encode() for key in self.keys]
        wanted += [row for row in self.every_row() if row not in wanted]
        assert sorted(rows) == sorted(wanted)

    def power_failure_at_the_end(self) -> None:
        self.disk.power_failure(lambda count: 0)
        self.channel = self.reopen()

    def every_row(self) -> list[Row]:
        held = [rows for _, rows in self.leased.values()] + list(self.prepared.values())
        return [*self.waiting, *(r for rows in held for r in rows), *self.committed]

    @invariant()
    def no_file_is_left_behind(self) -> None:
        """However often an opening failed, its files do not pile up."""
        if hasattr(self, "disk"):
            assert len(self.disk.files) < 60


TestChannelModel = ChannelModel.TestCase
TestChannelModel.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
