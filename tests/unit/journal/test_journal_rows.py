from __future__ import annotations

import random

from rayflume.interfaces import RowRef
from rayflume.journal.intervals import Intervals
from rayflume.journal.rows import RowIndex, SizedRows


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


def test_segments_are_found_by_their_rows() -> None:
    assert index().segments_of([(9, 10)]) == {"a"}
    assert index().segments_of([(0, 1), (19, 20)]) == {"a", "b"}
    assert index().segments_of([(20, 30)]) == set()
    assert index().holds("a", Intervals([(9, 10)]))
    assert not index().holds("a", Intervals([(10, 20)]))
    assert not index().holds("c", Intervals([(0, 20)]))


def test_a_dropped_segment_is_forgotten() -> None:
    rows = index()
    assert (rows.stop, rows.rows_at(next(rows.refs(5, 6)))) == (20, 6)
    rows.drop("a")
    assert [ref.segment for ref in rows.refs(0, 20)] == ["b"]
    assert (rows.bytes_of([(0, 20)]), rows.bytes_of([(12, 16)])) == (80, 40)
    rows.drop("b")
    assert (rows.stop, rows.bytes_of([(0, 20)])) == (0, 0)


def test_a_segment_dropped_between_others_is_not_counted() -> None:
    rows = index()
    rows.add("c", 64, 40, (20, 24))
    rows.drop("b")
    assert [ref.segment for ref in rows.refs(0, 24)] == ["a", "a", "c"]
    assert (rows.bytes_of([(0, 24)]), rows.bytes_of([(22, 24)])) == (440, 20)
    rows.add("d", 64, 7, (24, 25))
    assert rows.bytes_of([(0, 25)]) == 447


def test_sized_rows_count_the_bytes_that_the_index_would() -> None:
    rng, rows = random.Random(3), RowIndex()
    sized = SizedRows(rows)
    assert sized.bytes == 0
    for i in range(300):
        stop = rows.stop + rng.randrange(1, 9)
        rows.add(f"s{i // 7}", 0, rng.randrange(50, 500), (rows.stop, stop))
        sized.add(rng.randrange(max(1, stop - 9)), stop)
        start = rng.randrange(stop)
        sized.remove(start, start + rng.randrange(9))
        assert (sized.bytes, len(sized)) == (rows.bytes_of(sized), sum(b - a for a, b in sized))


def test_sized_rows_are_counted_once_the_index_is_there() -> None:
    rows = RowIndex()
    sized = SizedRows(rows, [(0, 4), (9, 11)])
    rows.add("a", 0, 100, (0, 10))
    assert sized.bytes == 50
