"""The checksum: blind to order and to columns that came later, and to nothing else."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflume.maintenance.checksum import MODULUS, checksum

ROWS = {
    "n": pa.array([1, None, 3, 1], pa.int64()),
    "small": pa.array([1, 2, None, 1], pa.int16()),
    "x": pa.array([1.5, -0.0, None, 1.5], pa.float64()),
    "yes": pa.array([True, None, False, True]),
    "text": pa.array(["a", "", None, "a"]),
    "bytes": pa.array([b"longer than eight bytes", b"\0", None, b""], pa.binary()),
    "day": pa.array([1, 2, None, 1], pa.date32()),
    "at": pa.array([1, 2, None, 1], pa.timestamp("us", "UTC")),
    "price": pa.array([Decimal("1.25"), None, Decimal("-9.00"), Decimal("0.00")]),
    "list": pa.array([[1, 2], [], None, [None]], pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}, {"a": 2, "b": None}]),
    "deep": pa.array([[{"a": [1]}], [{"a": None}], None, [None]]),
    "map": pa.array([[("k", 1)], [], None, [("k", None)]], pa.map_(pa.string(), pa.int64())),
    "never": pa.nulls(4),
}
BATCH = pa.record_batch(ROWS)


def total(*batches: pa.RecordBatch) -> int:
    return sum(map(checksum, batches)) % MODULUS


def test_order_of_rows_and_columns_and_batches_does_not_matter() -> None:
    expected = checksum(BATCH)
    assert checksum(BATCH.take(pa.array([3, 1, 0, 2]))) == expected
    assert checksum(BATCH.select(list(reversed(BATCH.schema.names)))) == expected
    for cut in range(5):
        assert total(BATCH.slice(0, cut), BATCH.slice(cut)) == expected


def test_columns_and_fields_that_came_later_do_not_matter() -> None:
    wider = pa.struct([("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())])
    place = BATCH.schema.get_field_index("struct")
    later = BATCH.set_column(place, "struct", BATCH.column("struct").cast(wider))
    later = later.append_column("new", pa.nulls(4, pa.string()))
    assert checksum(later) == checksum(BATCH)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "never"])
def test_every_value_and_null_of_every_type_matters(name: str) -> None:
    column = ROWS[name]
    seen = {checksum(BATCH)}
    place = BATCH.schema.get_field_index(name)
    for row in range(4):
        for other in range(4):
            if column[row] != column[other] or column[row].is_valid != column[other].is_valid:
                taken = column.take(pa.array([*range(row), other, *range(row + 1, 4)]))
                seen.add(checksum(BATCH.set_column(place, name, taken)))
    assert len(seen) > 3


def test_rows_lost_doubled_or_empty_matter() -> None:
    empty = pa.record_batch({"n": pa.nulls(3, pa.int64())})
    sums = {checksum(BATCH), checksum(BATCH.slice(1)), total(BATCH, BATCH.slice(0, 1))}
    assert len(sums | {checksum(empty), checksum(empty.slice(1)), 0}) == 6
    assert checksum(empty.slice(3)) == 0


def test_values_swapped_between_rows_or_columns_matter() -> None:
    rows = pa.record_batch({"a": [1, 2], "b": [3, 4]})
    swapped = pa.record_batch({"a": [1, 2], "b": [4, 3]})
    crossed = pa.record_batch({"a": [3, 4], "b": [1, 2]})
    assert len({checksum(rows), checksum(swapped), checksum(crossed)}) == 3
    lists = pa.record_batch({"l": [[1, 2]]}), pa.record_batch({"l": [[2, 1]]})
    assert checksum(lists[0]) != checksum(lists[1])


TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=20)), min_size=1, max_size=30)


@settings(deadline=None, max_examples=60)
@given(texts=TEXTS, data=st.data())
def test_any_texts_in_any_order_and_any_one_change(
    texts: list[str | None], data: st.DataObject
) -> None:
    batch = pa.record_batch({"t": pa.array(texts, pa.string())})
    mixed = data.draw(st.permutations(texts))
    assert checksum(pa.record_batch({"t": pa.array(mixed, pa.string())})) == checksum(batch)
    place = data.draw(st.integers(0, len(texts) - 1))
    changed = [*texts[:place], f"{texts[place]}!", *texts[place + 1 :]]
    assert checksum(pa.record_batch({"t": pa.array(changed, pa.string())})) != checksum(batch)
