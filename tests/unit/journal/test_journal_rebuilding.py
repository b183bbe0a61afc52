"""What records leave behind, and which rows they prove lost; no disk."""

from __future__ import annotations

from rayflume.journal.ledger import Ledger, LedgerLimits
from rayflume.journal.rebuilding import Loss, replay, settle
from rayflume.journal.recovery import Found
from rayflume.journal.rows import RowIndex
from rayflume.journal.segment import Head, Kind, Meta

SEGMENT = "segment-0000000001.log"


def new_ledger() -> Ledger:
    return Ledger("0" * 16, 1, LedgerLimits(), RowIndex())


def record(seq: int, kind: Kind, meta: Meta) -> Found:
    return Found(SEGMENT, seq * 4096, Head(kind, 1, seq, 0, 0, 0, 0, {"now": 1, **meta}))


def put(seq: int, start: int, stop: int) -> Found:
    return record(seq, Kind.PUT, {"rows": [start, stop], "extents": []})


def committed(seq: int, start: int, stop: int) -> Found:
    return record(seq, Kind.COMMITTED, {"delivery": "d", "ranges": [[start, stop]]})


def rebuild(ledger: Ledger, records: list[Found], after: int) -> Loss:
    return settle(ledger, replay(ledger, records, after))


def test_whole_records_lose_nothing_and_all_rows_may_be_taken() -> None:
    ledger = new_ledger()
    assert rebuild(ledger, [put(1, 0, 4), put(2, 4, 9)], 0) == Loss(0, ())
    assert (ledger.visible, ledger.next_position, ledger.waiting_rows) == (9, 9, 9)


def test_positions_that_no_put_record_has_are_lost_unless_they_are_done() -> None:
    records = [put(1, 0, 4), put(3, 6, 8), put(5, 10, 12)]
    assert rebuild(new_ledger(), records, 0).rows == 4
    ledger = new_ledger()
    assert rebuild(ledger, [*records, committed(6, 0, 7)], 0).rows == 2
    assert list(ledger.unfinished) == [(7, 8), (10, 12)]


def test_a_second_record_of_the_same_rows_is_told_of_and_not_applied() -> None:
    ledger = new_ledger()
    replayed = replay(ledger, [put(1, 0, 4), put(2, 2, 6)], 0)
    assert replayed.doubled == [put(2, 2, 6)]
    assert (ledger.next_position, list(ledger.unfinished)) == (4, [(0, 4)])
    assert settle(ledger, replayed) == Loss(0, ())


def test_records_before_the_snapshot_bring_rows_and_change_nothing_else() -> None:
    ledger = new_ledger()
    ledger.apply(Kind.PUT, put(1, 0, 4).head.meta)
    ledger.apply(Kind.COMMITTED, committed(2, 0, 2).head.meta)
    assert rebuild(ledger, [put(1, 0, 4), committed(2, 0, 2)], 2) == Loss(0, ())
    assert list(ledger.unfinished) == [(2, 4)]


def test_rows_whose_segment_is_not_there_are_lost_and_named() -> None:
    ledger = new_ledger()
    ledger.apply(Kind.PUT, put(1, 0, 4).head.meta)
    loss = rebuild(ledger, [put(2, 4, 6)], 1)
    assert loss == Loss(4, ("the segment with the rows 0 to 3 is not there",))
    assert list(ledger.unfinished) == [(4, 6)]
