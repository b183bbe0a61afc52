from __future__ import annotations

import numpy as np

from rayflume.batch import EventBatch, Extent
from rayflume.dead_letters import DEAD_SCHEMA, DeadRows, dead_table, header_map
from rayflume.sinks._delivery import note_times


def test_dead_rows_carry_their_own_headers_and_place() -> None:
    headers: list[dict[str, str]] = [{"a": "1"}, {}, {"a": "2", "b": "3"}, {"b": "4"}]
    extents = (Extent("s", 100, 250, 3), Extent("empty", 0, 9, 0), Extent("t", 7, 8, 1))
    batch = EventBatch.from_events([b"w", b"x", None, b"z"], headers, extents)
    batch = batch.with_header("all", "v")
    table = dead_table(batch, DeadRows.of([(3, "late\nline"), (2, "y" * 999)]), 1000, 5)
    assert table.schema == DEAD_SCHEMA
    assert table.to_pylist() == [
        {
            "body": None,
            "headers": [("a", "2"), ("all", "v"), ("b", "3")],
            "stream": "s",
            "offset": 100,
            "position": 1002,
            "reason": "y" * 256,
            "time": table.column("time")[0].as_py(),
        },
        {
            "body": b"z",
            "headers": [("all", "v"), ("b", "4")],
            "stream": "t",
            "offset": 7,
            "position": 1003,
            "reason": "late\\nline",
            "time": table.column("time")[0].as_py(),
        },
    ]
    assert table.column("time").cast("int64").to_pylist() == [5000, 5000]


def test_more_headers_than_columns_are_kept_too() -> None:
    rows = [{f"h{i}": str(i) for i in range(300)}, {"h7": "x"}]
    batch = EventBatch.from_events([b"a", b"b"], rows, (Extent("s", 0, 2, 2),))
    assert batch.more is not None
    first, second = header_map(batch).to_pylist()
    assert dict(first) == rows[0]
    assert second == [("h7", "x")]


def test_event_times_of_extents_with_gaps() -> None:
    known: dict[str, tuple[int, int]] = {}
    extents = (
        Extent("a", 0, 1, 2),
        Extent("b", 0, 1, 0),
        Extent("a", 1, 2, 2),
        Extent("c", 0, 1, 1),
    )
    times = np.array([5, 9, 1], dtype=np.int64)
    note_times(known, extents, times, np.array([0, 1, 3], dtype=np.int64))
    assert known == {"a": (1, 9)}
    note_times(known, extents, np.array([4, 4, 4, 4, 2], dtype=np.int64), None)
    assert known == {"a": (1, 9), "c": (2, 2)}
