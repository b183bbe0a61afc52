from __future__ import annotations

import numpy as np

from rayflume.batch import EventBatch, Extent
from rayflume.file_metadata import OTHER_STREAMS, RANGES_MAX, STREAMS_MAX
from rayflume.sinks._streams import Origins, StreamRanges


def origins(*extents: Extent) -> Origins:
    rows = sum(extent.rows for extent in extents)
    return Origins(EventBatch.from_events([b""] * rows, (), extents))


def test_rows_name_the_offsets_they_were_read_with() -> None:
    found = origins(
        Extent("a", 0, 10, 2), Extent("a", 10, 30, 2), Extent("b", 5, 6, 0), Extent("b", 6, 9, 3)
    )
    assert found.of(None) == [("a", 0, 30), ("b", 6, 9)]
    assert found.of(np.array([0, 3])) == [("a", 0, 30)]
    assert found.of(np.array([4, 6])) == [("b", 6, 9)]


def test_ranges_that_follow_each_other_are_one_and_gaps_stay() -> None:
    ranges = StreamRanges()
    for start in (0, 10, 40):
        ranges.add([("a", start, start + 10)])
    ranges.add([("b", 1, 2)])
    assert ranges.to_json() == {"a": [[0, 20], [40, 50]], "b": [[1, 2]]}


def test_the_list_is_bounded_and_says_that_it_is_not_whole() -> None:
    ranges = StreamRanges()
    for number in range(200):
        ranges.add([(f"s{number}", 0, 1)])
    for number in range(100):
        ranges.add([("s0", 10 * number, 10 * number + 1)])
    told = ranges.to_json()
    assert len(told) == STREAMS_MAX + 1
    assert told[OTHER_STREAMS] == []
    assert len(told["s0"]) == RANGES_MAX
    assert told["s0"][-1][1] == 991


def test_requests_with_a_key_are_not_told_apart() -> None:
    keyed = [Extent(f"{i:032x}", 0, 1, 1, b"d", keyed=True) for i in range(1000)]
    ranges = StreamRanges()
    ranges.add(origins(*keyed, Extent("life", 7, 8, 1)).of(np.arange(1001)))
    assert ranges.to_json() == {OTHER_STREAMS: [], "life": [[7, 8]]}


def test_a_piece_of_very_many_streams_is_cut_short() -> None:
    many = origins(*(Extent(f"s{i}", 0, 1, 1) for i in range(5000)))
    assert len(many.of(np.arange(5000))) == 257
    assert many.of(None)[-1][0] == OTHER_STREAMS
