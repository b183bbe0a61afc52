from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.tables._stats import COLUMNS_MAX, TEXT_MAX, delta_stats


def stats(table: pa.Table, rows: int = 1000) -> dict[str, Any]:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=rows)
    found: dict[str, Any] = json.loads(delta_stats(pq.read_metadata(buffer)))
    return found


def test_bounds_over_all_row_groups_also_inside_structs() -> None:
    table = pa.table(
        {
            "n": pa.array([3, None, 1, 2], pa.int64()),
            "l": [[1], [2], None, []],
            "s": [{"a": "y", "b": [{"c": 1}]}, None, {"a": "x", "b": None}, {"a": None, "b": []}],
            "d": [date(2026, 11, 22), date(1969, 1, 1), None, None],
        }
    )
    assert stats(table, rows=2) == {
        "numRecords": 4,
        "minValues": {"n": 1, "s": {"a": "x"}, "d": "1969-01-01"},
        "maxValues": {"n": 3, "s": {"a": "y"}, "d": "2026-11-22"},
        "nullCount": {"n": 1, "s": {"a": 2}, "d": 2},
    }


def test_timestamps_are_rounded_outwards() -> None:
    low = datetime(2026, 11, 22, 1, 2, 3, 4567, UTC)
    high = datetime(2026, 11, 22, 1, 2, 3, 999_001, UTC)
    found = stats(pa.table({"t": pa.array([high, low], pa.timestamp("us", "UTC"))}))
    assert found["minValues"] == {"t": "2026-11-22T01:02:03.004Z"}
    assert found["maxValues"] == {"t": "2026-11-22T01:02:04.000Z"}


def test_no_bound_that_would_not_be_exact() -> None:
    long = "å" * (TEXT_MAX + 1)
    table = pa.table(
        {
            "text": [long, "b"],
            "float": [1.0, float("nan")],
            "decimal": [Decimal("1.5"), Decimal("2.5")],
            "bool": [True, False],
            "binary": [b"a", b"\xff"],
            "null": pa.array([None, None], pa.int64()),
        }
    )
    found = stats(table)
    assert found["minValues"] == {"text": "b"}
    assert found["maxValues"] == {}
    assert found["nullCount"]["null"] == 2
    assert stats(pa.table({"text": [long]}))["minValues"] == {"text": "å" * TEXT_MAX}


def test_wide_rows_do_not_make_a_long_log() -> None:
    found = stats(pa.table({f"c{n}": [n] for n in range(100)}))
    assert len(found["minValues"]) == COLUMNS_MAX


def test_a_file_without_rows() -> None:
    assert stats(pa.table({"n": pa.array([], pa.int64())}))["numRecords"] == 0
