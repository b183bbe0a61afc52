"""Neighbouring batches that are written as one."""

from __future__ import annotations

from dataclasses import replace

from rayflume.batch import JOIN_BYTES, EventBatch, Extent, join_small


def batch(text: str, rows: int = 1) -> EventBatch:
    extents = (Extent("s", 0, rows, rows),)
    return EventBatch.from_events([text.encode()] * rows, [{"host": text}] * rows, extents)


def test_neighbours_are_one_batch_with_all_rows_headers_and_extents() -> None:
    [(position, joined)] = join_small([(7, batch("a", 2)), (9, batch("b")), (10, batch("c", 3))])
    assert position == 7
    assert joined.body.to_pylist() == [b"a", b"a", b"b", b"c", b"c", b"c"]
    assert joined.header("host").to_pylist() == ["a", "a", "b", "c", "c", "c"]
    assert sum(extent.rows for extent in joined.extents) == 6


def test_a_gap_parts_them_for_positions_must_stay_true() -> None:
    found = list(join_small([(0, batch("a", 2)), (5, batch("b")), (6, batch("c"))]))
    assert [(position, joined.num_rows) for position, joined in found] == [(0, 2), (5, 2)]


def test_a_batch_that_could_not_be_read_has_no_rows_and_parts_them_too() -> None:
    found = list(join_small([(0, batch("a")), (1, EventBatch.from_events([])), (4, batch("b"))]))
    assert [(position, joined.num_rows) for position, joined in found] == [(0, 1), (4, 1)]


def test_large_ones_are_not_joined() -> None:
    large = EventBatch.from_events([b"x" * JOIN_BYTES])
    found = list(join_small([(0, large), (1, batch("a")), (2, large), (3, batch("b"))]))
    assert [(position, joined.num_rows) for position, joined in found] == [(0, 1), (1, 2), (3, 1)]


def test_nothing_gives_nothing() -> None:
    assert list(join_small([])) == []


def test_rows_of_several_sources_are_not_joined_and_keep_whose_they_are() -> None:
    one, two = replace(batch("a"), source="h/one"), replace(batch("b"), source="h/two")
    found = list(join_small([(0, one), (1, one), (2, two)]))
    assert [(position, joined.source) for position, joined in found] == [(0, "h/one"), (2, "h/two")]
