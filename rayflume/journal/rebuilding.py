"""The records of a journal -> the state of its ledger, and what is missing in them. Pure.

Positions are given out without gaps, so rows that no whole Put record has, and no later record
calls done, were in a damaged one: they are counted as lost, and everything else is served.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rayflume.journal.intervals import Intervals
from rayflume.journal.ledger import Ledger
from rayflume.journal.recovery import Found
from rayflume.journal.rows import RowIndex
from rayflume.journal.segment import Head, Kind


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the records did not have. `gaps`: positions that no whole Put record has and no record
    calls done. `doubled`: Put records with positions that an earlier one has; they are not applied.
    """

    gaps: Intervals
    doubled: list[Found]


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows that nobody will be given. `absent`: a sentence for each range of them whose segment is
    not there.
    """

    rows: int
    absent: tuple[str, ...]


def replay(ledger: Ledger, records: Iterable[Found], after: int) -> Replayed:
    """Apply all records behind number `after`, up to which `ledger` is loaded; all rows, also those
    before it, go into its index.
    """
    replayed = Replayed(Intervals(), [])
    for record in records:
        if record.head.kind is Kind.PUT and not _add_rows(ledger.index, record):
            replayed.doubled.append(record)
        elif record.head.seq > after:
            _apply(ledger, record.head, replayed.gaps)
    return replayed


def settle(ledger: Ledger, replayed: Replayed) -> Loss:
    """Count rows that are not there as done, so that the ledger holds what can be served; those may
    be taken from now on.
    """
    ledger.visible = ledger.next_position
    for _, ranges in ledger.prepared():
        for start, stop in ranges:
            replayed.gaps.remove(start, stop)
    rows, absent = len(replayed.gaps), []
    for start, stop in ledger.index.missing(ledger.unfinished):
        if lost := ledger.lost(start, stop):
            rows += lost
            absent.append(f"the segment with the rows {start} to {stop - 1} is not there")
    return Loss(rows, tuple(absent))


def _add_rows(index: RowIndex, record: Found) -> bool:
    """Note where the rows of a Put record lie; False when an earlier record has their positions."""
    start, stop = record.head.meta["rows"]
    if start < index.stop:
        return False
    index.add(record.segment, record.offset, record.head.length, (start, stop))
    return True


def _apply(ledger: Ledger, head: Head, gaps: Intervals) -> None:
    """Apply one record; positions that it leaves out go into `gaps`, those it calls done leave."""
    expected = ledger.next_position
    ledger.apply(head.kind, head.meta)
    gaps.add(expected, head.meta["rows"][0] if head.kind is Kind.PUT else ledger.next_position)
    for span in head.meta["ranges"] if head.kind is Kind.COMMITTED else ():
        gaps.remove(*span)
