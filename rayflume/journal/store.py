"""The journal: ledger, row index and segments over a disk, with group commit.

Not thread-safe by itself: every method but `sync` is called with the channel's lock held. `sync`
is called with the lock held too, and lets go of it while it writes: one caller writes and syncs
what all have appended so far, the others wait for it. After a failed write or sync nothing more is
written: the journal must be opened anew, which abandons the segment at the last byte that is known
to be durable.

Order of removal: Committed durable, Snapshot durable, unlink, directory synced. Each segment
begins with a Snapshot, so once its successor is begun a segment is needed only for its unfinished
rows.
"""

from __future__ import annotations

import json
import secrets
import threading
import zlib
from dataclasses import dataclass, field

import pyarrow as pa

from rayflume.clock import Clock
from rayflume.errors import JournalDamaged, JournalFailed
from rayflume.interfaces import AppendFile, Disk, RowRef
from rayflume.journal import recovery
from rayflume.journal.ledger import Ledger, LedgerLimits
from rayflume.journal.recovery import Bad, Found, Recovered, Scan
from rayflume.journal.rows import RowIndex
from rayflume.journal.segment import (
    ALIGN,
    HEAD,
    MAGIC,
    Head,
    Kind,
    Meta,
    body_of,
    decode_head,
    encode,
    encoded_length,
    peek,
)

_SCAN_BYTES = 4096
_SEARCH_BYTES = 2**20
SET_ASIDE_BYTES_MAX = 64 * 2**20


@dataclass(frozen=True)
class JournalOptions:
    """How a journal is kept. Sizes in bytes."""

    limits: LedgerLimits = field(default_factory=LedgerLimits)
    segment_bytes: int = 256 * 2**20
    strict: bool = False


class Journal:
    """One journal in one directory. `condition` wraps the lock of the channel that owns it."""

    def __init__(
        self, disk: Disk, options: JournalOptions, clock: Clock, condition: threading.Condition
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
        self._life = 0
        self._known_ends: dict[str, int] = {}
        self.identity: tuple[str, int] | None = None
        """Journal id and epoch, where another journal gives them."""
        self.damage: list[str] = []
        self.damaged_rows = 0

    # -- open -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Read what is there, begin a new segment. The disk must be locked. Blocks.

        Raises JournalDamaged for an unknown version, or for damage when `strict`; OSError when the
        disk fails. May be called again after a failure.
        """
        self._close_file()
        names = [n for n in self._disk.names() if recovery.segment_number(n) is not None]
        if names:
            self._disk.sync(names[-1])
        found = recover(self._disk, names, self._known_ends)
        self._report(found)
        self.index = RowIndex()
        self.ledger = self._replay(found)
        self._segments = [name for name in names if name not in found.empty]
        self._seq = self._synced = found.last_seq
        self._pending: list[pa.Buffer | bytes] = []
        self._failed = None
        self._life += 1
        number = max([0, *(recovery.segment_number(n) or 0 for n in names)]) + 1
        ends = {n: found.ends[n] for n in self._segments} | dict.fromkeys(found.empty, 0)
        self._begin_segment(number, ends)
        for name in found.empty:
            self._disk.unlink(name)
        self.prune()

    def _report(self, found: Recovered) -> None:
        self.damage = [f"{b.segment}:{b.start}-{b.stop}: {b.reason}" for b in found.damaged]
        self.damaged_rows = 0
        if found.prefix_lost:
            self.damage.append("no whole snapshot: positions of idle streams may be forgotten")
        if self._options.strict and self.damage:
            raise JournalDamaged(
                f"the journal is damaged and strict is set: {'; '.join(self.damage)}. "
                "Look at it with `rayflume fsck`; without strict the rest is served"
            )
        for bad in found.damaged:
            self._set_aside(bad)

    def _set_aside(self, bad: Bad) -> None:
        name = f"damaged-{bad.segment}-{bad.start}.bin"
        if name not in self._disk.names():
            length = min(bad.stop - bad.start, SET_ASIDE_BYTES_MAX)
            file = self._disk.create(name)
            file.write([self._disk.read(bad.segment, bad.start, length)])
            file.close()

    def _replay(self, found: Recovered) -> Ledger:
        journal, epoch = found.journal or secrets.token_hex(8), found.epoch + 1
        if self.identity is not None:
            journal, epoch = self.identity
        ledger = Ledger(journal, epoch, self._options.limits, self.index)
        after = 0
        if found.snapshot is not None:
            state = read_snapshot(self._disk, found.snapshot)
            ledger.load(state)
            after = found.snapshot.head.seq
        for record in found.records:
            head = record.head
            if head.kind is Kind.PUT:
                start, stop = head.meta["rows"]
                self.index.add(record.segment, record.offset, head.length, (start, stop))
            if head.seq > after:
                ledger.apply(head.kind, head.meta)
        ledger.visible = ledger.next_position
        gone = self.index.missing(ledger.unfinished)
        for start, stop in gone:
            self.damaged_rows += ledger.lost(start, stop)
        return ledger

    # -- write ----------------------------------------------------------------------------------

    def make_room(self) -> None:
        """Begin a new segment if one is due; lets go of the lock while others write. Blocks.

        To be called before a decision is made that `append` is to record: between the two the lock
        must not be let go of.
        """
        self._raise_failure()
        while self._offset >= self._options.segment_bytes:
            self._await_writer()
            if self._offset >= self._options.segment_bytes:
                self._roll()

    def append(self, kind: Kind, meta: Meta, body: pa.Buffer | bytes = b"", crc: int = 0) -> int:
        """Add one record and apply it; returns the number to `sync` for. Does not touch the disk.

        Raises JournalFailed after an earlier failure.
        """
        self._raise_failure()
        return self._append(kind, meta, body, crc)

    def _append(self, kind: Kind, meta: Meta, body: pa.Buffer | bytes, crc: int) -> int:
        self._seq += 1
        head = Head(kind, self.ledger.epoch, self._seq, self._synced, 0, len(body), crc, meta)
        buffers = encode(head, body)
        length = encoded_length(buffers)
        if kind is Kind.PUT:
            start, stop = meta["rows"]
            self.index.add(self._active, self._offset, length, (start, stop))
        self.ledger.apply(kind, meta)
        self._pending.extend(buffers)
        self._offset += length
        return self._seq

    def sync(self, seq: int) -> None:
        """Return once record `seq` is durable (group commit). Blocks; raises JournalFailed."""
        life = self._life
        while self._synced < seq:
            self._raise_failure()
            if life != self._life:
                raise JournalFailed("the journal failed and was opened anew meanwhile")
            if self._syncing:
                self._condition.wait()
            else:
                self._write_pending()

    def _write_pending(self) -> None:
        """Write and sync what is pending; the lock is free meanwhile."""
        buffers, top, size = self._pending, self._seq, self._offset
        self._pending = []
        self._syncing = True
        failure: JournalFailed | None = None
        self._condition.release()
        try:
            assert self._file is not None
            self._file.write(buffers)
            self._file.sync()
        except OSError as error:
            failure = _failure(error)
        finally:
            self._condition.acquire()
            self._syncing = False
            self._condition.notify_all()
        if failure is not None:
            self._failed = failure
            raise failure
        self._synced = top
        self._known_ends[self._active] = size
        if not self._pending:
            self._mark()

    def _mark(self) -> None:
        """Say in the file that all so far is durable, so that damage is not taken for a torn tail.

        The mark itself is not synced: it costs one small write, and only when no record is waiting.
        """
        head = Head(Kind.MARK, self.ledger.epoch, self._seq + 1, self._synced, 0, 0, 0)
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
        self._raise_failure()
        self.sync(self._seq)
        if self._offset < self._options.segment_bytes:
            return
        assert self._file is not None
        number = (recovery.segment_number(self._active) or 0) + 1
        self.ledger.forget(self._clock.now_ms())
        try:
            self._file.sync()
            self._close_file()
            self._begin_segment(number, {self._active: self._offset})
        except OSError as error:
            self._failed = _failure(error)
            raise self._failed from error

    def _begin_segment(self, number: int, ends: dict[str, int]) -> None:
        """Create a segment with its opening record and a Snapshot, durable when this returns."""
        name = recovery.segment_name(number)
        file = self._disk.create(name)
        meta: Meta = {"journal": self.ledger.journal, "number": number, "ends": ends}
        state = json.dumps(self.ledger.to_json(), separators=(",", ":")).encode()
        self._file, self._active, self._offset = file, name, 0
        self._append(Kind.SEGMENT, meta, b"", 0)
        seq = self._append(Kind.SNAPSHOT, {}, state, zlib.crc32(state))
        file.write(self._pending)
        self._pending = []
        file.sync()
        self._disk.sync_directory()
        self._segments.append(name)
        self._synced = seq
        self._known_ends[name] = self._offset

    def prune(self) -> None:
        """Remove the segments that hold no unfinished row. Call after a commit is durable."""
        needed = self.index.needed(self.ledger.unfinished)
        gone = [name for name in self._segments if name != self._active and name not in needed]
        for name in gone:
            self._disk.unlink(name)
            self.index.drop(name)
            self._known_ends.pop(name, None)
        if gone:
            self._segments = [name for name in self._segments if name not in gone]
            self._disk.sync_directory()

    # -- read -----------------------------------------------------------------------------------

    def read(self, ref: RowRef) -> pa.Buffer:
        """The whole Put record a reference points to, also when it is not written yet. Blocks."""
        end = ref.offset + ref.length
        if ref.segment == self._active and end > self._known_ends.get(ref.segment, 0):
            self.sync(self._seq)
        return self._disk.read(ref.segment, ref.offset, ref.length)

    def set_aside(self, ref: RowRef, reason: str) -> int:
        """A record proved unreadable: keep its bytes, count its rows as lost; returns how many."""
        stop = ref.offset + ref.length
        bad = Bad(ref.segment, ref.offset, stop, reason)
        note = f"{bad.segment}:{bad.start}-{bad.stop}: {reason}"
        if note not in self.damage:
            self.damage.append(note)
            self._set_aside(bad)
        first = ref.position - ref.start
        whole = next((r for r in self.index.refs(first, first + 1)), ref)
        lost = self.ledger.lost(first, first + self.index.rows_at(whole))
        self.damaged_rows += lost
        return lost

    @property
    def last_seq(self) -> int:
        """Number of the newest record."""
        return self._seq

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
            self.sync(self._seq)
        finally:
            self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def recover(disk: Disk, names: list[str], known_ends: dict[str, int]) -> Recovered:
    """Read all segments and decide what they say (see recovery). Reads only; used by fsck too."""
    scans = [scan_segment(disk, name) for name in names]
    ends = recovery.trim(scans, known_ends)
    torn = [f for f in recovery.unproven(scans, ends) if not _body_whole(disk, f)]
    found = recovery.classify(scans, ends, torn)
    snapshots = [f for f in reversed(found.records) if f.head.kind is Kind.SNAPSHOT]
    whole = next((f for f in snapshots if _body_whole(disk, f)), None)
    for bad in snapshots[: snapshots.index(whole) if whole else None]:
        stop = bad.offset + bad.head.length
        found.damaged.append(Bad(bad.segment, bad.offset, stop, "a snapshot with a wrong checksum"))
    found.snapshot = whole
    found.prefix_lost = whole is None and bool(found.records) and found.records[0].head.seq > 1
    return found


def read_snapshot(disk: Disk, found: Found) -> Meta:
    """The state that a whole Snapshot record holds."""
    body = body_of(found.head, disk.read(found.segment, found.offset, found.head.length))
    assert body is not None, "checked by recover"
    state: Meta = json.loads(body.to_pybytes())
    return state


def scan_segment(disk: Disk, name: str) -> Scan:
    """All record heads of a segment, and the stretches between them that are none. Blocks."""
    scan = Scan(name, disk.size(name))
    offset = 0
    while offset < scan.size:
        head = _head_at(disk, name, offset)
        if head is not None and offset + head.body_offset + head.body_length <= scan.size:
            scan.found.append(Found(name, offset, head))
            offset += head.length
            continue
        following = _next_head(disk, name, offset + ALIGN, scan.size)
        scan.bad.append(Bad(name, offset, following, "no readable record"))
        offset = following
    return scan


def _head_at(disk: Disk, name: str, offset: int) -> Head | None:
    data = disk.read(name, offset, _SCAN_BYTES)
    sizes = peek(data)
    if sizes is not None and sizes[0] > len(data):
        data = disk.read(name, offset, sizes[0])
    return decode_head(data)


def _next_head(disk: Disk, name: str, offset: int, size: int) -> int:
    """Where the next whole head begins at or behind `offset`; `size` if there is none."""
    while offset < size:
        chunk: bytes = disk.read(name, offset, _SEARCH_BYTES).to_pybytes()
        at = chunk.find(MAGIC)
        while at >= 0:
            aligned = (offset + at) % ALIGN == 0
            if aligned and _head_at(disk, name, offset + at) is not None:
                return offset + at
            at = chunk.find(MAGIC, at + 1)
        offset += len(chunk) if len(chunk) < HEAD.size else len(chunk) // ALIGN * ALIGN
    return size


def _body_whole(disk: Disk, found: Found) -> bool:
    data = disk.read(found.segment, found.offset, found.head.length)
    return body_of(found.head, data) is not None


def _failure(error: OSError) -> JournalFailed:
    return JournalFailed(
        f"the journal could not be written: {error.strerror or error}; "
        "nothing that was acknowledged is lost, the channel opens it anew"
    )
