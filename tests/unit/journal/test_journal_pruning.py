from __future__ import annotations

from rayflume.journal.intervals import Intervals
from rayflume.journal.pruning import Pruning
from rayflume.journal.rows import RowIndex


def pruning() -> Pruning:
    """Rows 0-10 in `a`, 10-20 in `b`, none in `c`, 20-30 in `d`."""
    index = RowIndex()
    for i, name in enumerate("abd"):
        index.add(name, 64, 100, (10 * i, 10 * i + 10))
    return Pruning(index, "abc")


def test_at_first_all_segments_are_looked_at() -> None:
    found = pruning()
    assert found.free(Intervals([(5, 6)]), 0, "d") == ["b", "c"]
    assert found.free(Intervals([(5, 6)]), 0, "d") == ["b", "c"], "until they are removed"
    found.removed("b")
    found.removed("c")
    assert found.free(Intervals([(5, 6)]), 0, "d") == []


def test_a_segment_is_free_once_the_commit_of_its_last_row_is_durable() -> None:
    found = pruning()
    for name in "bc":
        found.removed(name)
    assert found.free(Intervals([(0, 10)]), 0, "d") == []
    found.commit(7, [(0, 10)])
    assert found.free(Intervals(), 6, "d") == []
    assert found.free(Intervals(), 7, "d") == ["a"]


def test_a_rolled_segment_and_one_whose_rows_are_lost_are_looked_at_again() -> None:
    found = pruning()
    for name in "abc":
        found.removed(name)
    assert found.free(Intervals(), 0, "d") == []
    found.suspect("d")
    assert found.free(Intervals(), 0, "d") == [], "it is in use"
    assert found.free(Intervals(), 0, "e") == ["d"]
