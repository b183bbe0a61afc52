"""A journal looked at from outside: what it holds, what is whole, torn, damaged. Reads only.

Works beside the running owner: what it is writing at that moment is told apart from a torn tail,
and a look that meets a segment being removed is repeated.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from isal.isal_zlib import crc32

from rayflume.interfaces import Manifest, RowRange, RowRef
from rayflume.journal import recovery
from rayflume.journal.disk import LOCK_NAME, LocalDisk
from rayflume.journal.intervals import Intervals
from rayflume.journal.ledger import Ledger, LedgerLimits
from rayflume.journal.rebuilding import replay
from rayflume.journal.recovery import Bad, Found, Recovered
from rayflume.journal.rows import RowIndex
from rayflume.journal.scan import many_heads, read_snapshot, recover
from rayflume.journal.seam import Disk
from rayflume.journal.segment import Kind
from rayflume.naming import parse_delivery

_LOOKS = 5
_PIECE_BYTES = 2**20
_EVER = 2**59
KEEP_ALL = LedgerLimits(keys=_EVER, key_retention_ms=_EVER, stream_retention_ms=_EVER)
"""Nothing is forgotten for its age or number."""


@dataclass
class Survey:
    """What a journal holds. `holder`: who has it open now, "" when nobody has.

    `torn`: never acknowledged, the next opening cuts it. `writing`: the owner is at it.
    """

    holder: str
    found: Recovered
    ledger: Ledger
    index: RowIndex
    sizes: dict[str, int]
    torn: list[Bad] = field(default_factory=list)
    writing: list[Bad] = field(default_factory=list)
    damaged: list[Bad] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is wrong that has no place in a file."""
    doubled: list[Found] = field(default_factory=list)
    """Put records whose positions an earlier one has."""
    lost: Intervals = field(default_factory=Intervals)
    """Rows that are not delivered, nor prepared, and that no readable record holds."""

    @property
    def state(self) -> str:
        """`whole`, `torn` (harmless) or `damaged`."""
        if self.damaged or self.notes or self.lost:
            return "damaged"
        return "torn" if self.torn else "whole"

    def records(self) -> dict[str, int]:
        """Kind -> how many whole records there are."""
        return dict(Counter(f.head.kind.name.lower() for f in self.found.records))

    def rows_put(self) -> int:
        """Rows of all Put records that are still there."""
        puts = [f.head.meta["rows"] for f in self.found.records if f.head.kind is Kind.PUT]
        return sum(stop - start for start, stop in puts)

    def unfinished(self) -> Iterator[tuple[str, RowRef]]:
        """(delivery or "", rows) of everything that is not committed, oldest first."""
        owners = sorted((a, b, m.delivery) for m, spans in self.prepared() for a, b in spans)
        for start, stop in self.ledger.unfinished:
            at = start
            for first, last, delivery in [o for o in owners if start <= o[0] < stop]:
                yield from self._refs("", at, first)
                yield from self._refs(delivery, first, last)
                at = last
            yield from self._refs("", at, stop)

    def _refs(self, delivery: str, start: int, stop: int) -> Iterator[tuple[str, RowRef]]:
        if start < stop:
            yield from ((delivery, ref) for ref in self.index.refs(start, stop))

    def garbage(self, deliveries: Iterable[str], *, running: bool) -> list[str]:
        """Those of `deliveries` whose staged bytes surely nobody will publish.

        While the journal is open, one of its present epoch may be on its way to be prepared, unless
        a record says that it has ended. Those of another journal are not for this one to judge.
        """
        prepared = {manifest.delivery for manifest, _ in self.prepared()}
        ends = (Kind.REVOKED, Kind.COMMITTED)
        records = self.found.records
        ended = {f.head.meta["delivery"] for f in records if f.head.kind in ends}
        found = []
        for delivery in deliveries:
            journal, epoch, _ = parse_delivery(delivery)
            own = journal == self.ledger.journal and epoch <= self.ledger.epoch
            over = not running or epoch < self.ledger.epoch or delivery in ended
            if own and over and delivery not in prepared:
                found.append(delivery)
        return found

    def prepared(self) -> list[tuple[Manifest, tuple[RowRange, ...]]]:
        """Deliveries past the point of no return, not committed."""
        return self.ledger.prepared()


Seen = Callable[[int, int], None]
"""Told how many bytes of how many were looked at."""


def survey(directory: Path, *, bodies: bool = False, seen: Seen = lambda done, all: None) -> Survey:
    """Look at the journal in a directory; with `bodies` every checksum is tried. Blocks.

    Raises FileNotFoundError when there is no journal, JournalDamaged for an unknown version.
    """
    disk = LocalDisk(directory)
    for look in range(_LOOKS):
        try:
            with many_heads():
                return _survey(disk, owner(directory), seen if bodies else None)
        except FileNotFoundError:
            if look == _LOOKS - 1 or not segments(directory):
                raise
    raise AssertionError("unreachable")


def segments(directory: Path) -> list[str]:
    """Names of the segments in a directory, oldest first."""
    return [n for n in LocalDisk(directory).names() if recovery.segment_number(n) is not None]


def owner(directory: Path) -> str:
    """Who has the journal open now; "" when nobody has."""
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    try:
        # A shared lock, for an instant: who opens the journal just then tries again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 256, 0).decode(errors="replace") or "another process"
    finally:
        os.close(descriptor)
    return ""


def _survey(disk: LocalDisk, holder: str, seen: Seen | None) -> Survey:
    names = [name for name in disk.names() if recovery.segment_number(name) is not None]
    if not names:
        raise FileNotFoundError("no segment")
    sizes = {name: disk.size(name) for name in names}
    found = recover(disk, names, {})
    index = RowIndex()
    ledger = Ledger("", 0, KEEP_ALL, index)
    result = Survey(holder, found, ledger, index, sizes, damaged=list(found.damaged))
    for bad in found.torn:
        writing = holder and bad.segment == names[-1]
        (result.writing if writing else result.torn).append(bad)
    _rebuild(disk, result)
    if seen is not None:
        result.damaged += _wrong_bodies(disk, found, seen)
    if found.prefix_lost:
        result.notes.append("no snapshot is whole: positions of idle streams may be forgotten")
    elif found.missing and not found.damaged:
        first, last = found.missing[0][0], found.missing[-1][1] - 1
        result.notes.append(f"the records {first} to {last} are missing")
    result.lost = index.missing(ledger.unfinished)
    for _, ranges in ledger.prepared():
        for start, stop in ranges:
            result.lost.remove(start, stop)
    return result


def _rebuild(disk: Disk, result: Survey) -> None:
    """The state after all whole records, as opening the journal would find it."""
    ledger, after = result.ledger, 0
    if result.found.snapshot is not None:
        ledger.load(read_snapshot(disk, result.found.snapshot))
        after = result.found.snapshot.head.seq
    ledger.journal = result.found.journal or ledger.journal
    ledger.epoch = result.found.epoch
    result.doubled = replay(ledger, result.found.records, after).doubled
    for record in result.doubled:
        place = f"{record.segment}:{record.offset}"
        result.notes.append(f"{place} holds rows whose positions are taken")


class Pieces:
    """A disk read front to back in pieces, so that memory stays small and is used again."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._segment, self._start, self._data = "", 0, memoryview(b"")

    def of(self, segment: str, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes `[start, stop)` of a segment; fewer if it ends before."""
        while start < stop:
            at = start - self._start
            if segment != self._segment or not 0 <= at < len(self._data):
                self._data = memoryview(self._disk.read(segment, start, _PIECE_BYTES))
                self._segment, self._start, at = segment, start, 0
                if not self._data:
                    return
            piece = self._data[at : at + stop - start]
            start += len(piece)
            yield piece


def _wrong_bodies(disk: Disk, found: Recovered, seen: Seen) -> list[Bad]:
    records = [record for record in found.records if record.head.body_length]
    total, done, wrong = sum(record.head.length for record in records), 0, []
    known = {(bad.segment, bad.start) for bad in found.damaged}
    pieces = Pieces(disk)
    for record in records:
        if not _body_whole(pieces, record) and (record.segment, record.offset) not in known:
            stop = record.offset + record.head.length
            what = f"a {record.head.kind.name.lower()} record with a wrong checksum"
            wrong.append(Bad(record.segment, record.offset, stop, what))
        done += record.head.length
        seen(done, total)
    return wrong


def _body_whole(pieces: Pieces, record: Found) -> bool:
    head, crc, length = record.head, 0, 0
    start = record.offset + head.body_offset
    for piece in pieces.of(record.segment, start, start + head.body_length):
        crc = crc32(piece, crc)
        length += len(piece)
    return length == head.body_length and crc == head.body_crc
