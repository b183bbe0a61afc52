from __future__ import annotations

from rayflume.interfaces import RowRef
from rayflume.journal.intervals import Intervals
from rayflume.journal.rows import RowIndex


def index() -> RowIndex:
    """Rows 0-4 and 4-10 in `a`, 10-12 were lost, 12-20 in `b`."""
    rows = RowIndex()
    rows.add("a", 64, 100, (0, 4))
    rows.add("a", 164, 64, (4, 4))
    rows.add("a", 256, 300, (4, 10))
    rows.add("b", 64, 80, (12, 20))
    return rows


def test_refs_cut_records_to_the_rows_asked_for() -> None:
    assert list(index().refs(2, 14)) == [
        RowRef("a", 64, 100, 2, 4, 2),
        RowRef("a", 256, 300, 0, 6, 4),
        RowRef("b", 64, 80, 0, 2, 12),
    ]
    assert list(index().refs(10, 12)) == []
    assert list(RowIndex().refs(0, 5)) == []


def test_bytes_are_counted_in_proportion() -> None:
    assert index().bytes_of([(0, 20)]) == 480
    assert index().bytes_of([(0, 2), (7, 10)]) == 50 + 150
    assert index().bytes_of([]) == 0


def test_cut_takes_whole_records_and_at_least_one() -> None:
    assert index().cut(0, 10, 1) == 4
    assert index().cut(0, 10, 399) == 4
    assert index().cut(0, 10, 400) == 10
    assert index().cut(1, 3, 1) == 3


def test_missing_names_what_no_record_holds() -> None:
    assert list(index().missing([(2, 22)])) == [(10, 12), (20, 22)]


def test_needed_segments_hold_an_unfinished_row() -> None:
    assert index().needed(Intervals([(9, 10)])) == {"a"}
    assert index().needed(Intervals([(0, 1), (19, 20)])) == {"a", "b"}
    assert index().needed(Intervals([(20, 30)])) == set()


def test_a_dropped_segment_is_forgotten() -> None:
    rows = index()
    assert (rows.stop, rows.rows_at(next(rows.refs(5, 6)))) == (20, 6)
    rows.drop("a")
    assert [ref.segment for ref in rows.refs(0, 20)] == ["b"]
    rows.drop("b")
    assert rows.stop == 0
