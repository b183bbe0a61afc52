"""The journal: ledger, row index and segments over a disk, with group commit.

Not thread-safe by itself: every method but `sync` is called with the channel's lock held. `sync`
is called with the lock held too, and lets go of it while it writes: one caller writes and syncs
what all have appended so far, the others wait for it. After a failed write or sync nothing more is
written: the journal must be opened anew, which abandons the segment at the last byte that is known
to be durable.

Whoever opens the journal first creates the next segment, and only then reads the older ones. So an
owner that finds no later segment after a sync knows that its successor, if there will be one, reads
what was synced; one that finds any has been replaced, and acknowledges nothing.

Order of removal: Committed durable, Snapshot durable, unlink, directory synced. Each segment
begins with a Snapshot, so once its successor is begun a segment is needed only for its unfinished
rows.
"""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import replace

import pyarrow as pa
from isal.isal_zlib import crc32

from rayflume.batch import EventBatch
from rayflume.clock import Clock
from rayflume.errors import NO_ROOM, JournalDamaged, JournalFailed, Retry
from rayflume.interfaces import RowRef
from rayflume.journal import damage, recovery
from rayflume.journal.age import JournalTime, Stamp, later
from rayflume.journal.ledger import Ledger
from rayflume.journal.options import JournalOptions
from rayflume.journal.pruning import Pruning
from rayflume.journal.reader import RowsUnreadable, decode_rows
from rayflume.journal.rebuilding import replay, settle
from rayflume.journal.recovery import Bad, Recovered
from rayflume.journal.rows import RowIndex
from rayflume.journal.scan import many_heads, read_snapshot, recover
from rayflume.journal.seam import AppendFile, Disk
from rayflume.journal.segment import Head, Kind, Meta, encode, encoded_length
from rayflume.threads import Condition

log = logging.getLogger(__name__)

READ_TRIES = 5
"""A record that the disk failed to read so often is damaged."""


class Journal:
    """One journal in one directory. `condition` wraps the lock of the channel that owns it."""

    def __init__(
        self, disk: Disk, options: JournalOptions, clock: Clock, condition: Condition
    ) -> None:
        self.ledger: Ledger
        self.index: RowIndex
        self._disk = disk
        self._options = options
        self._clock = clock
        self._condition = condition
        self._syncing = False
        self._failed: JournalFailed | None = None
        self._file: AppendFile | None = None
        self._active, self._offset = "", 0
        self._life = 0
        self._claimed = 0
        self._newest = 0
        self._roll_at = 0
        self._known_ends: dict[str, int] = {}
        self.identity: tuple[str, int, Stamp] | None = None
        """Journal id, epoch and time, where another journal gives them."""
        self.taken_over = False
        """Another process has opened the journal: open it anew only with the lock."""
        self.damage: list[str] = []
        self.torn: list[str] = []
        """Tails that were cut at opening; nothing in them was acknowledged."""
        self.damaged_rows = 0
        self._unreadable: dict[tuple[str, int], int] = {}  # record -> how often a read failed

    # -- open -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Read what is there, begin a new segment. The disk must be locked. Blocks.

        Raises JournalDamaged for an unknown version, or for damage when `strict`; OSError when the
        disk fails. May be called again after a failure.
        """
        self._failed = self._failed or JournalFailed("the journal is not open")
        self._close_file()
        names = [n for n in self._disk.names() if recovery.segment_number(n) is not None]
        number = max([0, *(recovery.segment_number(n) or 0 for n in names)]) + 1
        claimed = self._disk.create(recovery.segment_name(number))
        self._claimed = number
        try:
            with many_heads():
                empty = self._read(names)
        except BaseException:
            claimed.close()
            self._unlink(recovery.segment_name(number))
            raise
        for name in empty:
            # First of all: on a full disk each attempt to open would leave one more behind.
            self._unlink(name)
        self._begin_segment(number, claimed, dict.fromkeys(empty, 0))
        self._failed = None
        self._mark()
        self.prune()

    def _read(self, names: list[str]) -> list[str]:
        """Take the state from what is there; returns the segments that hold nothing."""
        found = recover(self._disk, names, self._known_ends)
        for first in found.unproven:
            self._disk.sync(first.segment, first.offset)
        self._report(found)
        self.index = RowIndex()
        self.ledger = self._rebuild(found)
        self._time = JournalTime(self._clock, self.ledger.time, self._options.limits.closed_max_ms)
        self._segments = [name for name in names if name not in found.empty]
        self._seq = self._synced = found.last_seq
        self._pending: list[pa.Buffer | bytes] = []
        self._pruning = Pruning(self.index, self._segments)
        self._life += 1
        self._known_ends = {name: found.ends[name] for name in self._segments}
        return found.empty

    def _report(self, found: Recovered) -> None:
        self.damage = damage.notes(found)
        self.torn = [damage.note(bad) for bad in found.torn]
        self.damaged_rows = 0
        self._refuse_damage()
        for bad in found.damaged:
            damage.keep(self._disk, bad)

    def _refuse_damage(self) -> None:
        if self._options.strict and self.damage:
            raise JournalDamaged(
                f"the journal is damaged and strict is set: {'; '.join(self.damage)}. "
                "Look at it with `rayflume fsck`; without strict the rest is served"
            )

    def _rebuild(self, found: Recovered) -> Ledger:
        ledger = Ledger("", 0, self._options.limits, self.index)
        after = 0
        if found.snapshot is not None:
            ledger.load(read_snapshot(self._disk, found.snapshot))
            after = found.snapshot.head.seq
        ledger.journal = found.journal or ledger.journal or secrets.token_hex(8)
        # Never one that was used before, even where the segments that tell of it can't be read.
        ledger.epoch = max(found.epoch + 1, self._claimed)
        if self.identity is not None:
            ledger.journal, ledger.epoch, stamp = self.identity
            ledger.time = later(ledger.time, stamp.to_meta())
        replayed = replay(ledger, found.records, after)
        loss = settle(ledger, replayed)
        for one in replayed.doubled:
            place = Bad(one.segment, one.offset, one.offset + one.head.length, "")
            self.damage.append(damage.place(place) + "positions of rows that are there already")
        if not self.damage:
            self.damage += loss.absent[:1]
        self.damaged_rows = loss.rows
        self._refuse_damage()
        return ledger

    def stamp(self) -> Stamp:
        """Now, in the journal's time."""
        return self._time.stamp()

    # -- write ----------------------------------------------------------------------------------

    def make_room(self) -> None:
        """Begin a new segment if one is due; lets go of the lock while others write. Blocks.

        To be called before a decision is made that `append` is to record: between the two the lock
        must not be let go of.
        """
        self._raise_failure()
        while self._offset >= self._roll_at:
            self._await_writer()
            if self._offset >= self._roll_at:
                self._roll()

    def append(self, kind: Kind, meta: Meta, body: pa.Buffer | bytes = b"", crc: int = 0) -> int:
        """Add one record and apply it; returns the number to `sync` for. Does not touch the disk.

        Raises JournalFailed after an earlier failure.
        """
        self._raise_failure()
        seq = self._append(kind, meta, body, crc)
        if kind is Kind.COMMITTED:
            self._pruning.commit(seq, [(start, stop) for start, stop in meta["ranges"]])
        return seq

    def _append(self, kind: Kind, meta: Meta, body: pa.Buffer | bytes, crc: int) -> int:
        seq = self._seq + 1
        head = Head(kind, self.ledger.epoch, seq, self._synced, 0, len(body), crc, meta)
        buffers = encode(head, body)
        length = encoded_length(buffers)
        self._seq = self._newest = seq
        if kind is Kind.PUT:
            start, stop = meta["rows"]
            self.index.add(self._active, self._offset, length, (start, stop))
        self.ledger.apply(kind, meta)
        self._pending.extend(buffers)
        self._offset += length
        return seq

    def sync(self, seq: int) -> None:
        """Return once record `seq` is durable (group commit). Blocks; raises JournalFailed."""
        life = self._life
        while self._synced < seq or life != self._life:
            self._raise_failure()
            if life != self._life:
                # The record may be lost although its number is in use again.
                raise JournalFailed("the journal failed and was opened anew meanwhile")
            if self._syncing:
                self._condition.wait()
            else:
                self._write_pending()

    def _write_pending(self) -> None:
        """Write and sync what is pending; the lock is free meanwhile."""
        file = self._file
        if file is None:
            raise JournalFailed("the journal is closed")
        buffers, top, size = self._pending, self._seq, self._offset
        self._pending = []
        self._syncing = True
        failure: JournalFailed | None = JournalFailed("writing the journal was interrupted")
        self._condition.release()
        try:
            file.write(buffers)
            file.sync()
            failure = self._replaced()
        except OSError as error:
            failure = _failure(error)
        finally:
            self._condition.acquire()
            self._syncing = False
            self._failed = failure
            self._condition.notify_all()
        if failure is not None:
            raise failure
        self._synced = top
        self._known_ends[self._active] = size
        if not self._pending:
            self._mark()

    def _replaced(self) -> JournalFailed | None:
        """Why nothing may be acknowledged: another process has opened the journal meanwhile."""
        own = recovery.segment_number(self._active) or 0
        others = [name for name in self._disk.names() if name not in self._known_ends]
        self.taken_over = any((recovery.segment_number(name) or 0) > own for name in others)
        return JournalFailed("another process has opened the journal") if self.taken_over else None

    def _mark(self) -> None:
        """Say in the file that all so far is durable, so that damage is not taken for a torn tail.

        The mark itself is not synced: it costs one small write, and only when no record is waiting.
        """
        meta: Meta = {"next": self.ledger.next_position}
        head = Head(Kind.MARK, self.ledger.epoch, self._seq + 1, self._synced, 0, 0, 0, meta)
        buffers = encode(head)
        assert self._file is not None
        try:
            self._file.write(buffers)
        except OSError as error:
            self._failed = _failure(error)
            return
        self._seq += 1
        self._offset += encoded_length(buffers)

    def _await_writer(self) -> None:
        while self._syncing:
            self._condition.wait()
        self._raise_failure()

    def _roll(self) -> None:
        self.sync(self._newest)
        if self._offset < self._roll_at or self._syncing or self._pending:
            return
        if self._file is None:
            raise JournalFailed("the journal is closed")
        number = (recovery.segment_number(self._active) or 0) + 1
        earlier = self._file, self._active, self._offset, self._seq, self._newest
        created = False
        try:
            # Without this the mark of the last sync would be missing when the next one begins.
            self._file.sync()
        except OSError as error:
            self._failed = _failure(error)
            raise self._failed from error
        try:
            self._known_ends[self._active] = self._offset
            file = self._disk.create(recovery.segment_name(number))
            created = True
            self._begin_segment(number, file, {})
        except OSError as error:
            if error.errno in NO_ROOM and self._undo_roll(number, created):
                if self._file is not earlier[0]:
                    self._file.close()
                self._file, self._active, self._offset, self._seq, self._newest = earlier
                self._roll_at = self._offset + self._options.segment_bytes // 4
                log.warning("no room for another segment: %s grows on", self._active)
                return
            self.taken_over = isinstance(error, FileExistsError)
            self._failed = _failure(error)
            raise self._failed from error
        except JournalFailed as error:
            self._failed = error
            raise
        finally:
            if self._file is not earlier[0]:
                earlier[0].close()
        self._mark()
        self._pruning.suspect(earlier[1])
        self.prune()

    def _undo_roll(self, number: int, created: bool) -> bool:
        """Remove a segment that a full disk let nobody begin; True if it surely can't come back.

        It says where the one before ends, so that one may grow on only when this one is gone.
        """
        name = recovery.segment_name(number)
        self._pending = []
        try:
            if created and name in self._disk.names():
                self._disk.unlink(name)
            self._disk.sync_directory()
        except OSError:
            return False
        return True

    def _begin_segment(self, number: int, file: AppendFile, ends: dict[str, int]) -> None:
        """Begin a new segment with its opening record and a Snapshot, durable when this returns.

        The opening record notes where every older segment ends, for the next one may be removed
        before them.
        """
        self.ledger.time = self.stamp()
        self.ledger.forget(self.ledger.time.now_ms)
        name = recovery.segment_name(number)
        ends = ends | {segment: self._known_ends[segment] for segment in self._segments}
        meta: Meta = {"journal": self.ledger.journal, "number": number, "ends": ends}
        state = json.dumps(self.ledger.to_json(), separators=(",", ":")).encode()
        self._file, self._active, self._offset = file, name, 0
        self._append(Kind.SEGMENT, meta, b"", 0)
        seq = self._append(Kind.SNAPSHOT, {}, state, crc32(state))
        file.write(self._pending)
        self._pending = []
        file.sync()
        self._disk.sync_directory()
        replaced = self._replaced()
        if replaced is not None:
            raise replaced
        self._segments.append(name)
        self._synced = seq
        self._known_ends[name] = self._offset
        # A Snapshot larger than a segment must not be written for every record.
        self._roll_at = max(self._options.segment_bytes, 2 * self._offset)

    def prune(self) -> None:
        """Remove the segments that hold no unfinished row and none whose commit is not durable.

        A segment that can't be removed now stays until the next call.
        """
        if self._file is None:
            return
        gone = self._pruning.free(self.ledger.unfinished, self._synced, self._active)
        for name in gone:
            if self._unlink(name):
                self._segments.remove(name)
                self._pruning.removed(name)
                self.index.drop(name)
                self._known_ends.pop(name, None)
        if gone:
            try:
                self._disk.sync_directory()
            except OSError as error:
                log.warning("removed segments may come back after a power failure: %s", error)

    def _unlink(self, name: str) -> bool:
        try:
            self._disk.unlink(name)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("the used segment %s stays: %s", name, error)
            return False
        return True

    # -- read -----------------------------------------------------------------------------------

    def set_aside(self, ref: RowRef, reason: str) -> int:
        """A record proved unreadable: keep its bytes, count its rows as lost; returns how many."""
        first = ref.position - ref.start
        whole = next(self.index.refs(first, first + 1), None)
        if whole is None or (whole.segment, whole.offset) != (ref.segment, ref.offset):
            return 0
        stop = first + self.index.rows_at(whole)
        if self._reads_well(replace(whole, stop=stop - first)):
            raise Retry(
                f"the record at {ref.segment}:{ref.offset} is whole on its own disk, though a "
                f"reader found {reason}: read it again"
            )
        bad = Bad(ref.segment, ref.offset, ref.offset + whole.length, reason)
        if not any(note.startswith(damage.place(bad)) for note in self.damage):
            self.damage.append(damage.note(bad))
            damage.keep(self._disk, bad)
        lost = self.ledger.lost(first, stop, (ref.position, ref.position + ref.rows))
        self._pruning.suspect(ref.segment)
        self.damaged_rows += lost
        return lost

    def read(self, ref: RowRef) -> EventBatch:
        """The rows of `ref`. Raises RowsUnreadable, OSError. Blocks."""
        return decode_rows(self.record(ref), ref)

    def record(self, ref: RowRef) -> pa.Buffer:
        """The whole Put record of `ref`, not sealed. Raises OSError, ChannelClosed. Blocks."""
        record = self._disk.read(ref.segment, ref.offset, ref.length)
        sealing = self._options.sealing
        return record if sealing is None else sealing.opened(record)

    def _reads_well(self, ref: RowRef) -> bool:
        """Raises Retry for a read error that may pass: it counts when it came READ_TRIES times."""
        place = ref.segment, ref.offset
        try:
            self.read(ref)
        except RowsUnreadable:
            return False
        except OSError as error:
            self._unreadable[place] = self._unreadable.get(place, 0) + 1
            if self._unreadable[place] < READ_TRIES:
                raise Retry(f"{ref.segment}:{ref.offset} can't be read now: {error}") from error
            return False
        return True

    @property
    def last_seq(self) -> int:
        """Number of the newest record that is worth a `sync`."""
        return self._newest

    @property
    def failed(self) -> bool:
        """Whether the journal must be opened anew before it takes another record."""
        return self._failed is not None

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Write and sync what is pending, and let go of the active segment. Raises
        JournalFailed.
        """
        if self._file is None:
            return
        try:
            self._await_writer()
            self.sync(self._newest)
        finally:
            self._close_file()
            self._condition.notify_all()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _failure(error: OSError) -> JournalFailed:
    return JournalFailed(
        f"the journal could not be written: {error.strerror or error}; "
        "nothing that was acknowledged is lost, the channel opens it anew"
    )
