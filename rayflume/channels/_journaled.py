"""A channel over a journal: the lock, the waiting, and the order of durable steps.

Rules: one lock guards all state; nothing waits for a disk with it held but the beginning of a
segment; an acknowledgement is given only after `sync` of the newest record it depends on; a failed
journal is opened anew from what is known durable, and whoever waited gets ChannelClosed.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from isal.isal_zlib import crc32

from rayflume.batch import EventBatch, Extent
from rayflume.channels._room import DiskRoom, PutTimes
from rayflume.channels._tended import Tended
from rayflume.completeness import Counted, Sealed, Watermark, WatermarkQuery
from rayflume.component import Context
from rayflume.errors import ChannelClosed, JournalFailed, JournalLocked, LeaseRevoked
from rayflume.interfaces import (
    ChannelInfo,
    ChannelState,
    Manifest,
    PutOutcome,
    PutReply,
    PutRequest,
    RowRange,
    RowRef,
    StreamPosition,
    Taken,
)
from rayflume.journal.judging import Judgement
from rayflume.journal.ledger import Ledger
from rayflume.journal.options import JournalOptions
from rayflume.journal.seam import Disk
from rayflume.journal.segment import Kind, Meta, extents_to_json
from rayflume.journal.store import Journal

_ROWLESS_PUTS_MAX = 256
"""So many puts without a row, one behind the other, are kept at most before what is used is given
back.
"""

log = logging.getLogger(__name__)

DRAINING_WAIT_MS = 50
REOPEN_AFTER_MS = 500
ANY_BYTES = 2**62


@dataclass(frozen=True)
class ChannelSetup:
    """What makes one kind of journaled channel differ from another."""

    durable: bool
    direct: bool = False
    minimum_required_space: int = 0
    on_open: Callable[[Ledger], None] | None = None
    on_put: Callable[[int, tuple[Extent, ...]], None] | None = None
    on_commit: Callable[[Ledger], None] | None = None


class JournaledChannel(Tended):
    """The channel. See interfaces.Channel for the contract; thread-safe."""

    def __init__(
        self, disk: Disk, options: JournalOptions, context: Context, setup: ChannelSetup
    ) -> None:
        self._disk = disk
        self._context = context
        self._setup = setup
        self._clock = context.clock
        self._metrics = context.metrics
        self._condition = context.threads.condition()
        self._journal = Journal(disk, options, context.clock, self._condition)
        self._limits = options.limits
        self._sealing = options.sealing
        self._closed = True
        self._draining = False
        self._failed_ms: int | None = None
        self._room = DiskRoom(disk, context.clock, setup.minimum_required_space)
        self._put_times = PutTimes()
        self._rowless = 0
        self._woken: set[str] = set()  # replicas whose next take must not wait

    @property
    def journal_directory(self) -> Path | None:
        """Where the journal lies that outlives this process; None when there is none."""
        return self._disk.path()

    # -- life -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the directory, open the journal. Raises JournalLocked, JournalDamaged, OSError."""
        self._lock()
        try:
            with self._condition:
                self._open_journal()
        except BaseException:
            self._disk.close()
            raise

    def _lock(self) -> None:
        where = f"{socket.gethostname()}, pid {os.getpid()}"
        self._disk.lock(f"{self._context.agent}/{self._context.part} on {where}")

    def _open_journal(self) -> None:
        self._journal.open()
        self._journal.ledger.limits = self._limits
        self._journal.ledger.draining = self._draining
        if self._setup.on_open is not None:
            self._setup.on_open(self._journal.ledger)
        self._closed = False
        self._failed_ms = None
        for note in self._journal.torn:
            log.warning("channel %s: cut %s", self._context.part, note)
        for note in self._journal.damage:
            log.error("channel %s is degraded: %s", self._context.part, note)
        if self._journal.damaged_rows:
            self._metrics.add("EventDamagedCount", self._journal.damaged_rows)

    @contextmanager
    def _open_ledger(self) -> Iterator[Ledger]:
        """Hold the lock; re-open a failed journal when its pause is over."""
        with self._condition:
            self._refuse_closed()
            if self._journal.failed:
                self._reopen()
            try:
                self._journal.make_room()
                self._refuse_closed()  # `make_room` may have let go of the lock
                yield self._journal.ledger
            except JournalFailed as error:
                self._note_failure(error)
                raise ChannelClosed(f"channel {self._context.part}: {error.message}") from error

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ChannelClosed(f"channel {self._context.part} is closed")

    def _note_failure(self, error: JournalFailed) -> None:
        if self._failed_ms is None:
            log.error("channel %s: %s", self._context.part, error.message)
            self._failed_ms = self._clock.monotonic_ms()
        self._condition.notify_all()

    def _reopen(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if self._failed_ms is not None and now_ms - self._failed_ms < REOPEN_AFTER_MS:
            raise ChannelClosed(f"channel {self._context.part} waits to open its journal anew")
        try:
            if self._journal.taken_over:
                # Only who gets the lock back may open it again.
                self._disk.close()
                self._lock()
            self._open_journal()
        except (OSError, JournalLocked) as error:
            self._failed_ms = now_ms
            raise ChannelClosed(
                f"channel {self._context.part} can't open its journal: {error}"
            ) from error

    def close(self) -> None:
        """Make all durable and let go of the directory. May be called again."""
        with self._condition:
            if not self._closed:
                self._closed = True
                self._condition.notify_all()
                try:
                    self._journal.close()
                except (JournalFailed, OSError) as error:
                    log.error("channel %s: closing: %s", self._context.part, error)
                finally:
                    self._disk.close()

    def info(self) -> ChannelInfo:
        with self._open_ledger() as ledger:
            journal = ledger.journal
        return ChannelInfo(
            journal,
            self._context.host_id,
            self._disk.path() if self._sealing is None else None,
            self._setup.durable,
            self._limits.lease_timeout_ms,
            self._setup.direct,
        )

    # -- put ------------------------------------------------------------------------------------

    def put(self, request: PutRequest) -> PutReply:
        rows = sum(extent.rows for extent in request.extents)
        if rows != request.rows:
            raise ValueError(f"the extents of a put say {rows} rows, the put {request.rows}")
        with self._open_ledger() as ledger:
            self._metrics.add("EventPutAttemptCount", request.rows)
            judged = ledger.judge(request.extents, request.begins, request.skip)
            if judged.refused is not None:
                stream, following = judged.refused
                return PutReply(PutOutcome.REFUSED, ledger.credit(), stream, following)
            if any(judged.keep) and len(request.payload) > self._credit(ledger):
                return PutReply(PutOutcome.FULL, self._credit(ledger))
            seq, stop = self._journal.last_seq, 0
            ledger.complete.heard(request.source, self._clock.monotonic_ms())
            if any(judged.keep):
                seq, stop = self._store(request, judged)
                self._rowless = 0 if judged.rows else self._rowless + 1
                self._room.took(len(request.payload))
            self._journal.sync(seq)
            self._metrics.add("EventPutSuccessCount", judged.rows)
            self._metrics.add("EventSkippedCount", judged.skipped)
            ledger.visible = max(ledger.visible, stop)
            if judged.rows:
                self._put_times.put(stop, self._clock.monotonic_ms())
            if stop:
                self._condition.notify_all()
            if self._rowless >= _ROWLESS_PUTS_MAX:
                # No commit may come for long that would give back what these take.
                self._rowless = 0
                self._after_commit(ledger)
            return PutReply(PutOutcome.STORED, self._credit(ledger), conflicts=judged.conflicts)

    def _store(self, request: PutRequest, judged: Judgement) -> tuple[int, int]:
        payload, crc, extents = request.payload, request.crc, request.extents
        if not all(judged.keep):
            batch = EventBatch.decode(payload, extents).select_extents(judged.keep)
            payload, extents = batch.encode(), batch.extents
            crc = crc32(payload)
        start = self._journal.ledger.next_position
        stop = start + judged.rows
        meta: Meta = {
            "rows": [start, stop],
            "extents": extents_to_json(extents),
            "source": request.source,
            **self._journal.stamp().to_meta(),
        }
        if request.skip:
            meta["skip"] = request.skip
        if self._sealing is not None:
            payload, meta = self._sealing.seal(payload, meta)
            crc = crc32(payload)
        seq = self._journal.append(Kind.PUT, meta, payload, crc)
        if self._setup.on_put is not None:
            self._setup.on_put(stop, extents)
        return seq, stop

    def _credit(self, ledger: Ledger) -> int:
        # An empty channel takes any batch, or one larger than the channel would wait for ever.
        credit = ledger.credit() if ledger.unfinished else ANY_BYTES
        return min(credit, self._room.bytes)

    def credit(self) -> int:
        with self._open_ledger() as ledger:
            return self._credit(ledger)

    def positions(self, prefix: str) -> dict[str, StreamPosition]:
        with self._open_ledger() as ledger:
            found = {name: ledger.streams[name] for name in ledger.streams.beginning(prefix)}
            # A put in flight counts in there already; a source must not hear of it and be wrong.
            self._journal.sync(self._journal.last_seq)
            return found

    def retire(self, streams: Sequence[str]) -> None:
        with self._open_ledger() as ledger:
            known = [name for name in streams if name in ledger.streams]
            if known:
                meta = {"streams": known, **self._journal.stamp().to_meta()}
                self._journal.append(Kind.RETIRED, meta)

    # -- take -----------------------------------------------------------------------------------

    def take(
        self, holder: str, delivery: str, bytes_max: int, wait_ms: int, turn: int = 0
    ) -> Taken:
        deadline_ms = self._clock.monotonic_ms() + wait_ms
        while True:
            with self._open_ledger() as ledger:
                now_ms = self._clock.monotonic_ms()
                if (replica := holder.rpartition("/")[0]) in self._woken:
                    self._woken.discard(replica)
                    deadline_ms = now_ms
                self._expire(ledger, now_ms)
                taken = ledger.take(holder, delivery, bytes_max, now_ms, turn)
                if ledger.draining:
                    # The sinks are told soon that all is done, and then they must not wait here.
                    deadline_ms = min(deadline_ms, now_ms + DRAINING_WAIT_MS)
                if taken.refs or taken.close or taken.orphans or now_ms >= deadline_ms:
                    self._metrics.add("EventTakeAttemptCount")
                    ledger.note_taken(holder, turn, taken)
                    return taken
                self._condition.wait((deadline_ms - now_ms) / 1000)

    def fetch(self, refs: Sequence[RowRef]) -> list[pa.Buffer]:
        with self._condition:
            self._refuse_closed()
        # Without the lock: what was leased is durable, and its segment is not removed.
        return [self._fetch(ref) for ref in refs]

    def _fetch(self, ref: RowRef) -> pa.Buffer:
        try:
            return self._journal.record(ref)
        except FileNotFoundError as error:
            raise LeaseRevoked(f"rows of {self._context.part} are gone: {error}") from error
        except OSError as error:
            if error.errno == errno.EIO:
                return pa.py_buffer(b"")  # the reader finds no record and reports the damage
            raise ChannelClosed(f"channel {self._context.part} can't be read: {error}") from error

    def refs(self, ranges: Sequence[RowRange]) -> tuple[RowRef, ...]:
        with self._open_ledger():
            return tuple(ref for span in ranges for ref in self._journal.index.refs(*span))

    def damaged(self, ref: RowRef, reason: str) -> None:
        with self._open_ledger():
            lost = self._journal.set_aside(ref, reason)
            self._metrics.add("EventDamagedCount", lost)
            self._condition.notify_all()
            log.error("channel %s: %d rows lost: %s", self._context.part, lost, reason)

    def heartbeat(self, holder: str) -> None:
        with self._open_ledger() as ledger:
            now_ms = self._clock.monotonic_ms()
            ledger.hear(holder, now_ms)
            self._expire(ledger, now_ms)

    def holder_gone(self, holder: str) -> None:
        with self._open_ledger() as ledger:
            self._take_back(ledger, holder)

    def _expire(self, ledger: Ledger, now_ms: int) -> None:
        for holder in ledger.lost_holders(now_ms):
            log.warning("channel %s: %s was not heard of", self._context.part, holder)
            self._take_back(ledger, holder)

    def _take_back(self, ledger: Ledger, holder: str) -> None:
        for delivery in ledger.holder_gone(holder):
            self._journal.append(Kind.REVOKED, {"delivery": delivery})
        self._condition.notify_all()

    # -- deliver --------------------------------------------------------------------------------

    def prepare(self, manifest: Manifest, holder: str) -> None:
        with self._open_ledger() as ledger:
            meta = ledger.check_prepare(manifest, holder)
            seq = self._journal.last_seq
            if meta is not None:
                seq = self._journal.append(Kind.PREPARED, meta)
                ledger.note_prepared(manifest.delivery, holder)
            self._journal.sync(seq)

    def commit(self, delivery: str) -> None:
        with self._open_ledger() as ledger:
            meta = ledger.committed_meta(delivery)
            if meta is None:
                self._journal.sync(self._journal.last_seq)
                return
            seq = self._journal.append(Kind.COMMITTED, meta)
            self._journal.sync(seq)
            rows = sum(stop - start for start, stop in meta["ranges"])
            self._metrics.add("EventTakeSuccessCount", rows)
            self._after_commit(ledger)

    def _after_commit(self, ledger: Ledger) -> None:
        self._put_times.done(ledger.unfinished.first)
        if self._setup.on_commit is not None:
            self._setup.on_commit(ledger)
        self._room.look_again()
        self._journal.prune()
        self._condition.notify_all()

    def release(self, delivery: str) -> None:
        with self._open_ledger() as ledger:
            if ledger.release(delivery):
                self._journal.append(Kind.REVOKED, {"delivery": delivery})
                self._condition.notify_all()

    def adopt(self, sink: str, holder: str) -> tuple[Manifest, ...]:
        with self._open_ledger() as ledger:
            for earlier in ledger.predecessors(holder):
                self._take_back(ledger, earlier)
                ledger.forget_turns(earlier)
            ledger.hear(holder, self._clock.monotonic_ms())
            found = ledger.adopt(sink, holder)
            # One whose Prepared record is still being written must not be published by another.
            self._journal.sync(self._journal.last_seq)
            return found

    def garbage(self, deliveries: Sequence[str]) -> list[str]:
        with self._open_ledger() as ledger:
            # A Revoked record must be durable before staged bytes are deleted on its word.
            self._journal.sync(self._journal.last_seq)
            return ledger.garbage(deliveries)

    # -- event time -----------------------------------------------------------------------------

    def idle(self, source: str) -> None:
        with self._open_ledger() as ledger:
            ledger.complete.idle(source, self._clock.monotonic_ms())

    def watermark(self, query: WatermarkQuery) -> Watermark:
        with self._open_ledger() as ledger:
            ledger.complete.advance(ledger.finished)
            now_ms = self._clock.monotonic_ms()
            return ledger.complete.watermark(query, ledger.journal, now_ms)

    def seal(self, sink: str, until_ms: int | None) -> Sealed:
        with self._open_ledger() as ledger:
            self._note(ledger.complete.seal_record(sink, until_ms))
            return ledger.complete.sealed(sink, ledger.journal)

    def marked(self, sink: str, done: Sequence[Counted]) -> None:
        with self._open_ledger() as ledger:
            self._note(ledger.complete.marked_record(sink, done))

    def _note(self, meta: Meta | None) -> None:
        if meta is not None:
            self._journal.append(Kind.COMPLETE, meta)
        self._journal.sync(self._journal.last_seq)

    # -- watch ----------------------------------------------------------------------------------

    def drain(self, on: bool) -> None:
        with self._open_ledger() as ledger:
            self._draining = ledger.draining = on
            self._condition.notify_all()

    def tap(self, rows_max: int) -> list[pa.Buffer]:
        with self._open_ledger() as ledger:
            newest = ledger.visible
            refs = list(self._journal.index.refs(max(0, newest - rows_max), newest))
        try:
            return self.fetch(refs)
        except LeaseRevoked:
            return []  # committed and removed meanwhile

    def state(self) -> ChannelState:
        with self._open_ledger() as ledger:
            self._expire(ledger, self._clock.monotonic_ms())
            used = ledger.unfinished.bytes
            rows = len(ledger.unfinished)
            fill = max(
                100 * rows // max(1, self._limits.events),
                100 * used // max(1, self._limits.bytes),
            )
            self._gauges(rows, used, fill)
            return ChannelState(
                ledger.waiting_rows,
                ledger.leased_rows,
                ledger.prepared_rows,
                used,
                fill,
                self._credit(ledger),
                tuple(filter(None, (self._room.trouble, *self._journal.damage))),
            )

    def _gauges(self, rows: int, used: int, fill: int) -> None:
        age = self._put_times.oldest_age(self._clock.monotonic_ms()) if rows else 0
        self._metrics.set("ChannelSize", rows)
        self._metrics.set("ChannelBytes", used)
        self._metrics.set("ChannelCapacity", self._limits.events)
        self._metrics.set("ChannelFillPercentage", fill)
        self._metrics.set("OldestEventAgeMs", age)
