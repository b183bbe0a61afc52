"""The records of a journal -> the state of its ledger, and what is missing in them. Pure.

Positions are given out without gaps, so rows that no whole Put record has, and no later record
calls done, were in a damaged one: they are counted as lost, and everything else is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rayflume.journal import damage
from rayflume.journal.intervals import Intervals
from rayflume.journal.ledger import Ledger
from rayflume.journal.recovery import Bad, Found
from rayflume.journal.rows import RowIndex
from rayflume.journal.segment import Head, Kind


@dataclass(frozen=True, slots=True)
class Loss:
    """What the records do not have. `rows`: how many rows are lost. `doubled` and `absent`: a
    sentence for each Put record with positions that another one has, and for each range of rows
    whose segment is not there.
    """

    rows: int
    doubled: tuple[str, ...]
    absent: tuple[str, ...]


def rebuild(ledger: Ledger, records: Sequence[Found], after: int) -> Loss:
    """Apply all records behind number `after`, up to which `ledger` is loaded; all rows, also those
    before it, go into its index and may be taken.
    """
    gaps, doubled = Intervals(), []
    for record in records:
        if record.head.kind is Kind.PUT and not _add_rows(ledger.index, record):
            stretch = Bad(record.segment, record.offset, record.offset + record.head.length, "")
            doubled.append(damage.place(stretch) + "positions of rows that are there already")
        elif record.head.seq > after:
            _apply(ledger, record.head, gaps)
    ledger.visible = ledger.next_position
    for _, ranges in ledger.prepared():
        for start, stop in ranges:
            gaps.remove(start, stop)
    rows, absent = len(gaps), []
    for start, stop in ledger.index.missing(ledger.unfinished):
        if lost := ledger.lost(start, stop):
            rows += lost
            absent.append(f"the segment with the rows {start} to {stop - 1} is not there")
    return Loss(rows, tuple(doubled), tuple(absent))


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
