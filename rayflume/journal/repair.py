"""A damaged journal made whole: what can be read stays, what is damaged is set aside.

Nothing is deleted. A segment with damage is kept whole under another name and replaced, in one
step, by one that holds its readable records. Then the journal is opened and closed once: a new
segment begins with a Snapshot of the state, so that numbers and rows that no record has are missed
no longer. At any point in between the journal can be opened, and the repair done again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from typing import TYPE_CHECKING

from rayflume.clock import SystemClock
from rayflume.errors import JournalFailed
from rayflume.journal.disk import LocalDisk
from rayflume.journal.options import JournalOptions
from rayflume.journal.recovery import Bad, Found
from rayflume.journal.store import Journal
from rayflume.journal.survey import KEEP_ALL, Pieces, Seen, Survey, survey

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEW_NAME = "repaired.tmp"


@dataclass
class Repaired:
    """What a repair did. `kept`: segment -> the name under which it is kept as it was."""

    kept: dict[str, str] = field(default_factory=dict)
    left_out: list[Bad] = field(default_factory=list)
    lost: int = 0
    notes: list[str] = field(default_factory=list)


@contextmanager
def opened(directory: Path, what: str) -> Iterator[Journal]:
    """The journal of a directory, open and its lock held within the block. Blocks.

    Raises JournalLocked, naming who has it, and JournalDamaged for an unknown version.
    """
    disk = LocalDisk(directory)
    disk.lock(f"{what}, pid {os.getpid()}")
    condition = Condition()
    with closing(disk), condition:
        journal = Journal(disk, JournalOptions(KEEP_ALL), SystemClock(), condition)
        journal.open()
        yield journal
        journal.close()


def repair(directory: Path, seen: Seen = lambda done, all: None) -> Repaired:
    """Make a journal whole that nobody has open. A whole one is left as it is. Blocks.

    Raises JournalLocked naming who has it open, FileNotFoundError when there is no journal,
    JournalDamaged for an unknown version, OSError.
    """
    what = "rayflume fsck --repair"
    disk = LocalDisk(directory)
    disk.lock(f"{what}, pid {os.getpid()}")
    with closing(disk):
        found = survey(directory, bodies=True, seen=seen)
        if found.state != "damaged":
            return Repaired()
        done = Repaired(lost=len(found.lost), notes=list(found.notes))
        for segment in _damaged(found):
            done.kept[segment] = _rewrite(disk, segment, found, done)
    with opened(directory, what):
        # Its Snapshot is durable now.
        return done


def _damaged(found: Survey) -> list[str]:
    bad = {bad.segment for bad in found.damaged} | {record.segment for record in found.doubled}
    return sorted(bad)


def _rewrite(disk: LocalDisk, segment: str, found: Survey, done: Repaired) -> str:
    """Replace a segment by its readable records; returns the name under which it is kept."""
    out = {bad.start: bad for bad in found.damaged if bad.segment == segment}
    for record in found.doubled:
        if record.segment == segment:
            stop = record.offset + record.head.length
            reason = "rows whose positions are taken"
            out.setdefault(record.offset, Bad(segment, record.offset, stop, reason))
    records = [r for r in found.found.records if r.segment == segment and r.offset not in out]
    done.left_out += [out[start] for start in sorted(out)]
    if _NEW_NAME in disk.names():
        disk.unlink(_NEW_NAME)  # of a repair that did not get far
    if records:
        _copy(disk, records)
    kept = _keep(disk, segment)
    if records:
        disk.replace(segment, _NEW_NAME)
    else:
        disk.unlink(segment)
    disk.sync_directory()
    return kept


def _copy(disk: LocalDisk, records: Iterable[Found]) -> None:
    pieces = Pieces(disk)
    with closing(disk.create(_NEW_NAME)) as file:
        for record in records:
            left = record.head.length
            for piece in pieces.of(record.segment, record.offset, record.offset + left):
                file.write([piece])
                left -= len(piece)
            padding = record.head.length - record.head.body_offset - record.head.body_length
            if left > padding:
                raise JournalFailed(f"{record.segment} changed while it was copied")
            file.write([bytes(left)])
        file.sync()


def _keep(disk: LocalDisk, segment: str) -> str:
    """Link a segment under a name that stays; the same one if a repair before got so far."""
    number = 0
    while True:
        name = f"damaged-{segment}" if not number else f"damaged-{segment}.{number}"
        try:
            disk.keep_as(segment, name)
        except FileExistsError:
            if not disk.same(segment, name):
                number += 1
                continue
        disk.sync_directory()
        return name
