"""Every decision of a channel, as functions of (state, input, now): streams, row ranges, leases,
deliveries.

No file, no clock, no thread in here. Rows are named only by position. Invariants:

- `unfinished` = `waiting` + suspects + leased + prepared, and these four are disjoint.
- `next` of a stream never goes back; positions are given out in order, without gaps.
- A delivery is leased, then prepared, then gone (committed); or leased, then gone (released,
  revoked).
- What changes the durable state is a record first: `apply` is the one way in, live and after a
  crash.
"""

from __future__ import annotations

import base64
from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rayflume.batch import Extent
from rayflume.errors import LeaseRevoked
from rayflume.interfaces import Manifest, RowRange, StreamPosition, Taken
from rayflume.journal.age import CLOSED_SHARE, Stamp, later
from rayflume.journal.holders import Holders
from rayflume.journal.intervals import Intervals
from rayflume.journal.judging import Judgement, PutRule, judge
from rayflume.journal.keys import Keys
from rayflume.journal.prepared import Prepared, PreparedDeliveries
from rayflume.journal.rows import RowIndex, SizedRows
from rayflume.journal.segment import (
    Kind,
    Meta,
    extents_from_json,
    manifest_from_json,
    manifest_to_json,
    ranges_from_json,
)
from rayflume.journal.streams import Streams
from rayflume.journal.watermark import Completeness

DEATHS_MAX = 3
"""A single row whose holder died so often goes to the dead letters undecoded."""


@dataclass(frozen=True)
class LedgerLimits:
    """Bounds of a channel: rows, bytes; times in milliseconds."""

    events: int = 10_000_000
    bytes: int = 8 * 2**30
    lease_timeout_ms: int = 30_000
    stream_retention_ms: int = 7 * 86_400_000
    keys: int = 1_000_000
    key_retention_ms: int = 86_400_000

    @property
    def closed_max_ms(self) -> int:
        """What the time in which a journal was closed can count for."""
        return min(self.stream_retention_ms, self.key_retention_ms) // CLOSED_SHARE


@dataclass
class _Lease:
    rows: Intervals
    deaths: int = 0


@dataclass
class _Suspect:
    """Rows whose holder died `deaths` times; they are delivered alone."""

    rows: Intervals
    deaths: int


@dataclass
class Ledger:
    """The state of one journal."""

    journal: str
    epoch: int
    limits: LedgerLimits
    index: RowIndex
    next_position: int = 0
    streams: Streams = field(default_factory=Streams)
    retired_ms: dict[str, int] = field(default_factory=dict)
    draining: bool = False
    time: Stamp | None = None
    """The newest moment in the records."""
    visible: int = 0
    """Rows below this position are durable and may be taken."""

    def __post_init__(self) -> None:
        self.keys = Keys(self.limits.keys, self.limits.key_retention_ms)
        self.unfinished = SizedRows(self.index)
        self._waiting = Intervals()
        self._leased = SizedRows(self.index)
        self._suspects: list[_Suspect] = []
        self._leases: dict[str, _Lease] = {}
        self._holders = Holders()
        self._prepared = PreparedDeliveries(self._holders)
        self._deliveries = 0
        self.complete = Completeness()

    # -- put ------------------------------------------------------------------------------------

    def judge(self, extents: Sequence[Extent], begins: Sequence[str], skip: str) -> Judgement:
        """What a put is worth (see `judging`); changes nothing."""
        return judge(PutRule(self.streams, self.keys, frozenset(begins), bool(skip)), extents)

    def credit(self) -> int:
        """Bytes a put may bring now; 0 when rows or bytes are at their limit."""
        if len(self.unfinished) >= self.limits.events:
            return 0
        return max(0, self.limits.bytes - self.unfinished.bytes)

    # -- take -----------------------------------------------------------------------------------

    def take(self, holder: str, delivery: str, bytes_max: int, now_ms: int, turn: int = 0) -> Taken:
        """Lease rows (interfaces.Channel C3); never waits. Raises LeaseRevoked for a lost
        delivery, and for a take that was overtaken by a later one.
        """
        self.hear(holder, now_ms)
        newest, answer = self._holders.turn(holder)
        if 0 < turn < newest:
            raise LeaseRevoked(f"take {turn} of {holder} comes after take {newest}")
        if 0 < turn == newest and (not answer.refs or answer.delivery in self._leases):
            return answer
        orphans = self.has_orphans(holder.partition("/")[0])
        return replace(self._take(holder, delivery, bytes_max), orphans=orphans)

    def note_taken(self, holder: str, turn: int, taken: Taken) -> None:
        """What a numbered take is answered, also when it is asked again."""
        if turn:
            self._holders.note_turn(holder, turn, taken)

    def forget_turns(self, holder: str) -> None:
        """A holder that is dead for good takes no more."""
        self._holders.forget_turns(holder)

    def _take(self, holder: str, delivery: str, bytes_max: int) -> Taken:
        if delivery and not self._has_lease(holder, delivery):
            raise LeaseRevoked(f"delivery {delivery} is not leased to {holder} any more")
        if not delivery and self._suspects:
            return self._take_suspect(holder)
        if delivery and self._leases[delivery].deaths:
            return Taken(delivery, close=True, draining=self.draining)
        if not self._has_waiting():
            # Also asked again here: the answer with the last rows may have been lost.
            close = bool(delivery) and (self.draining or self._wants_close())
            return Taken(delivery, close=close, draining=self.draining)
        start, stop = next(iter(self._waiting))
        if delivery and start < (self._leases[delivery].rows.last or 0):
            # Rows that came back go first, so into a delivery of their own: files keep the order.
            return Taken(delivery, close=True, draining=self.draining)
        cut = self.index.cut(start, min(stop, self.visible), bytes_max)
        taken = self._waiting.take_first(cut)
        if not delivery:
            delivery = self._lease(holder, Intervals(), 0)
        self._leases[delivery].rows.add(*taken)
        self._leased.add(*taken)
        refs = tuple(self.index.refs(*taken))
        return Taken(delivery, refs, self._wants_close(), draining=self.draining)

    def _has_lease(self, holder: str, delivery: str) -> bool:
        return delivery in self._leases and self._holders.of(delivery) == holder

    def _has_waiting(self) -> bool:
        first = self._waiting.first
        return first is not None and first < self.visible

    def _take_suspect(self, holder: str) -> Taken:
        suspect = self._suspects.pop(0)
        delivery = self._lease(holder, suspect.rows, suspect.deaths)
        refs = tuple(ref for span in suspect.rows for ref in self.index.refs(*span))
        poison = len(suspect.rows) == 1 and suspect.deaths >= DEATHS_MAX
        return Taken(delivery, refs, close=True, poison=poison, draining=self.draining)

    def _lease(self, holder: str, rows: Intervals, deaths: int) -> str:
        self._deliveries += 1
        delivery = f"{self.journal}-{self.epoch}-{self._deliveries}"
        self._leases[delivery] = _Lease(rows, deaths)
        self._holders.give(delivery, holder)
        for span in rows:
            self._leased.add(*span)
        return delivery

    def _end_lease(self, delivery: str) -> _Lease | None:
        lease = self._leases.pop(delivery, None)
        if lease is not None:
            self._holders.end(delivery)
            for span in lease.rows:
                self._leased.remove(*span)
        return lease

    def _wants_close(self) -> bool:
        """Room is short, and closing would make some: a good part of it is in open deliveries."""
        quarter = self.limits.bytes // 4, self.limits.events // 4
        rows = len(self._leased)
        if self.limits.events - len(self.unfinished) < quarter[1] and rows >= quarter[1]:
            return True
        return self.credit() < quarter[0] and self._leased.bytes >= quarter[0]

    # -- holders --------------------------------------------------------------------------------

    def hear(self, holder: str, now_ms: int) -> None:
        """A holder lives. `now_ms` is monotonic."""
        self._holders.hear(holder, now_ms)

    def lost_holders(self, now_ms: int) -> list[str]:
        """Holders of open deliveries that were not heard of for the lease's time."""
        return self._holders.lost(now_ms - self.limits.lease_timeout_ms)

    def holder_gone(self, holder: str) -> list[str]:
        """Take back what a dead holder leased; returns the revoked deliveries."""
        gone = [held for held in self._holders.held(holder) if held in self._leases]
        for delivery in gone:
            lease = self._end_lease(delivery)
            assert lease is not None
            self._add_suspects(lease.rows, lease.deaths + 1, halve=lease.deaths > 0)
        for delivery in self._holders.gone(holder):
            self._prepared.set_holder(delivery, "")
        return gone

    def predecessors(self, holder: str) -> list[str]:
        """Earlier lives of the same sink replica: `<sink>/<replica>/<life>`."""
        return self._holders.predecessors(holder)

    def release(self, delivery: str) -> bool:
        """Rows of an open delivery return first and in order; False if there is no such lease."""
        lease = self._end_lease(delivery)
        if lease is None:
            return False
        if lease.deaths:
            self._add_suspects(lease.rows, lease.deaths, halve=False)
        else:
            for span in lease.rows:
                self._waiting.add(*span)
        return True

    def _add_suspects(self, rows: Intervals, deaths: int, halve: bool) -> None:
        halves = [rows]
        if halve and len(rows) > 1:
            # A half begins anew: a row is poisonous only by deaths that it met alone.
            halves, deaths = rows.halves(), 1
        for half in filter(None, halves):
            insort(self._suspects, _Suspect(half, deaths), key=lambda s: s.rows.first or 0)

    # -- deliver --------------------------------------------------------------------------------

    def check_prepare(self, manifest: Manifest, holder: str) -> Meta | None:
        """The Prepared record to write, or None if this manifest is prepared already.

        Raises LeaseRevoked when the lease is gone, ValueError when rows are missing in the
        manifest.
        """
        prepared = self._prepared.get(manifest.delivery)
        if prepared is not None:
            if prepared.manifest == manifest:
                return None
            if self._holders.of(manifest.delivery) not in ("", holder):
                raise LeaseRevoked(f"delivery {manifest.delivery} is published by another sink")
            ranges = prepared.ranges
        else:
            lease = self._leases.get(manifest.delivery)
            if lease is None or not self._has_lease(holder, manifest.delivery):
                raise LeaseRevoked(f"delivery {manifest.delivery} was taken from {holder}")
            ranges = tuple(lease.rows)
        leased = sum(stop - start for start, stop in ranges)
        accounted = manifest.written + manifest.dead + manifest.filtered
        if not leased == manifest.rows == accounted:
            raise ValueError(
                f"delivery {manifest.delivery}: {leased} rows leased, {manifest.rows} in the "
                f"manifest, {accounted} written, dead or filtered"
            )
        return manifest_to_json(manifest, ranges)

    def note_prepared(self, delivery: str, holder: str) -> None:
        """The Prepared record of `delivery` was applied for `holder`."""
        self._end_lease(delivery)
        self._prepared.set_holder(delivery, holder)

    def committed_meta(self, delivery: str) -> Meta | None:
        """The Committed record to write, or None if the delivery is committed already."""
        prepared = self._prepared.get(delivery)
        if prepared is None:
            return None
        return {"delivery": delivery, "ranges": [list(span) for span in prepared.ranges]}

    def adopt(self, sink: str, holder: str) -> tuple[Manifest, ...]:
        """Prepared deliveries of `sink` without a living holder, now `holder`'s."""
        return self._prepared.adopt(sink, holder)

    def garbage(self, deliveries: Iterable[str]) -> list[str]:
        """Deliveries that are neither open nor prepared: nobody will publish their staged bytes.

        Those of another journal, or of a later owner of this one, are not for us to judge.
        """
        return [
            d
            for d in deliveries
            if self._is_own(d) and d not in self._leases and d not in self._prepared
        ]

    def _is_own(self, delivery: str) -> bool:
        journal, _, number = delivery.partition("-")
        epoch = number.partition("-")[0]
        return journal == self.journal and epoch.isdecimal() and int(epoch) <= self.epoch

    def manifest(self, delivery: str) -> Manifest | None:
        """The manifest of a Prepared delivery."""
        prepared = self._prepared.get(delivery)
        return prepared.manifest if prepared else None

    def prepared(self) -> list[tuple[Manifest, tuple[RowRange, ...]]]:
        """All Prepared deliveries with their rows, oldest first."""
        return [(p.manifest, p.ranges) for p in self._prepared]

    def lost(self, start: int, stop: int, leased: RowRange = (0, 0)) -> int:
        """Rows that can't be read any more count as done; returns how many.

        Nobody will be given any of `[start, stop)`. Of rows that are out already only those of
        `leased` are taken away: another holder may have read its part while it could be read.
        """
        before = len(self.unfinished)
        gone = Intervals()
        for rows in (self._waiting, *(suspect.rows for suspect in self._suspects)):
            for span in rows.clip(start, stop):
                gone.add(*span)
                rows.remove(*span)
        for lease in self._leases.values():
            for span in lease.rows.clip(*leased):
                gone.add(*span)
                lease.rows.remove(*span)
                self._leased.remove(*span)
        for span in gone:
            self.unfinished.remove(*span)
        self._suspects = [suspect for suspect in self._suspects if suspect.rows]
        return before - len(self.unfinished)

    # -- records --------------------------------------------------------------------------------

    def apply(self, kind: Kind, meta: Meta) -> None:
        """Change the state as a record says."""
        self.time = later(self.time, meta)
        if kind is Kind.PUT:
            self._apply_put(meta)
        elif kind is Kind.PREPARED:
            manifest, ranges = manifest_from_json(meta)
            self._prepared.set(Prepared(manifest, ranges))
            for span in ranges:
                self._waiting.remove(*span)
                self._given_out(span[1])
        elif kind is Kind.COMMITTED:
            done = self._prepared.drop(meta["delivery"])
            for start, stop in ranges_from_json(meta["ranges"]):
                self.unfinished.remove(start, stop)
                self._waiting.remove(start, stop)
                self._given_out(stop)
            if done is not None and done.manifest.partitions:
                self.complete.begin(self.streams, self.next_position)
                self.complete.committed(done.manifest, done.stop)
            self.complete.advance(self.finished)
        elif kind is Kind.COMPLETE:
            self.complete.begin(self.streams, self.next_position)
            self.complete.apply(meta, self.journal)
        elif kind is Kind.MARK:
            self._given_out(meta.get("next", 0))
        elif kind is Kind.RETIRED:
            for name in (known for known in meta["streams"] if known in self.streams):
                self.streams[name] = replace(self.streams[name], retired=True)
                self.retired_ms[name] = meta["now"]
            self.complete.retired(meta["streams"], self.next_position)

    @property
    def finished(self) -> int:
        """All rows before this position are finished."""
        return self.next_position if self.unfinished.first is None else self.unfinished.first

    def _apply_put(self, meta: Meta) -> None:
        start, stop = meta["rows"]
        for extent in (extents := extents_from_json(meta["extents"])):
            if extent.keyed:
                self.keys.add(extent.stream, extent.token, meta["now"])
            else:
                self.streams[extent.stream] = StreamPosition(extent.end, extent.token)
                self.retired_ms.pop(extent.stream, None)
        self._given_out(stop)
        self.unfinished.add(start, stop)
        self._waiting.add(start, stop)
        self.complete.put(extents, meta.get("source", ""), stop)

    def _given_out(self, stop: int) -> None:
        """Positions below `stop` are never used again, even if their Put record is damaged."""
        self.next_position = max(self.next_position, stop)

    def forget(self, now_ms: int) -> None:
        """Drop retired streams and keys whose time is over. `now_ms` is the journal's time."""
        limit = now_ms - self.limits.stream_retention_ms
        for name in [n for n, at in self.retired_ms.items() if at <= limit]:
            del self.retired_ms[name], self.streams[name]
        self.keys.expire(now_ms)
        self.complete = self.complete.kept(now_ms, limit)

    def to_json(self) -> Meta:
        """The durable state, for a Snapshot."""
        return {
            "journal": self.journal,
            "time": None if self.time is None else self.time.to_meta(),
            "next_position": self.next_position,
            "streams": {
                name: [s.next, base64.b64encode(s.token).decode(), self.retired_ms.get(name)]
                for name, s in self.streams.items()
            },
            "keys": self.keys.to_json(),
            "unfinished": [list(span) for span in self.unfinished],
            "prepared": [manifest_to_json(p.manifest, p.ranges) for p in self._prepared],
            "complete": self.complete.to_json(),
        }

    def load(self, state: Meta) -> None:
        """Replace the durable state by that of a Snapshot; nothing is leased."""
        self.journal = state["journal"]
        self.time = later(None, state.get("time") or {})
        self.next_position = state["next_position"]
        self.streams = Streams(
            (name, StreamPosition(following, base64.b64decode(token), retired is not None))
            for name, (following, token, retired) in state["streams"].items()
        )
        self.retired_ms = {n: row[2] for n, row in state["streams"].items() if row[2] is not None}
        self.keys.load(state["keys"])
        self.complete = Completeness.from_json(state.get("complete"))
        self.unfinished = SizedRows(self.index, ranges_from_json(state["unfinished"]))
        self._waiting = Intervals(self.unfinished)
        self._holders = Holders()
        self._prepared = PreparedDeliveries(self._holders)
        for meta in state["prepared"]:
            self.apply(Kind.PREPARED, meta)

    def has_orphans(self, sink: str) -> bool:
        return self._prepared.has_orphans(sink)

    @property
    def waiting_rows(self) -> int:
        return len(self._waiting) + sum(len(suspect.rows) for suspect in self._suspects)

    @property
    def leased_rows(self) -> int:
        return len(self._leased)

    @property
    def prepared_rows(self) -> int:
        return self._prepared.rows
