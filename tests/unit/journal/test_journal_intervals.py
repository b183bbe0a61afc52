from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rayflume.journal.intervals import Intervals

SPAN = st.tuples(st.integers(0, 40), st.integers(0, 40))
STEPS = st.lists(st.tuples(st.booleans(), SPAN), max_size=30)


@given(STEPS, SPAN)
def test_intervals_are_a_set_of_integers(
    steps: list[tuple[bool, tuple[int, int]]], span: tuple[int, int]
) -> None:
    intervals, model = Intervals(), set[int]()
    for add, (start, stop) in steps:
        if add:
            intervals.add(start, stop)
            model |= set(range(start, stop))
        else:
            intervals.remove(start, stop)
            model -= set(range(start, stop))
    ranges = list(intervals)
    assert {n for start, stop in ranges for n in range(start, stop)} == model
    assert all(a < b for a, b in ranges)
    assert all(left[1] < right[0] for left, right in pairwise(ranges))
    assert (len(intervals), bool(intervals)) == (len(model), bool(model))
    assert intervals.first == min(model, default=None)
    asked = set(range(*span))
    assert intervals.overlaps(*span) == bool(asked & model)
    if span[0] < span[1]:
        clipped = intervals.clip(*span)
        assert {n for start, stop in clipped for n in range(start, stop)} == asked & model
    assert Intervals(ranges[::-1])._starts == intervals._starts


def test_take_first_gives_the_lowest_rows_of_one_range() -> None:
    intervals = Intervals([(5, 9), (0, 3)])
    assert intervals.take_first(100) == (0, 3)
    assert intervals.take_first(7) == (5, 7)
    assert list(intervals) == [(7, 9)]
    assert repr(intervals) == "Intervals([(7, 9)])"
