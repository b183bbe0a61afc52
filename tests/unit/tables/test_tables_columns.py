from __future__ import annotations

import pyarrow as pa
import pytest

from rayflume.errors import TableRefused
from rayflume.naming import NULL_PARTITION
from rayflume.sinks import _escape
from rayflume.table import partition_values
from rayflume.tables._columns import (
    check_partitions,
    check_required,
    difference,
    plain,
    widest,
)


def schema(**types: pa.DataType) -> pa.Schema:
    return pa.schema(list(types.items()))


DEC = pa.decimal128


def test_new_columns_and_new_fields_inside_are_found_and_what_is_there_keeps_its_type() -> None:
    have = schema(a=pa.large_string(), s=pa.struct([("x", DEC(20, 2))]))
    new = pa.list_(pa.struct([("q", pa.int64())]))
    want = schema(a=pa.string(), s=pa.struct([("x", DEC(10, 2)), ("y", new)]), z=pa.float64())
    found = difference(have, want, "t")
    assert found.fields == (
        pa.field("s", pa.struct([("x", DEC(20, 2)), ("y", new)])),
        pa.field("z", pa.float64()),
    )
    assert not found.widened


def test_nothing_lacks() -> None:
    have = pa.schema(
        [
            ("l", pa.large_list(pa.field("element", pa.string_view()))),
            ("t", pa.timestamp("us", "+00:00")),
            ("more", pa.int8()),
        ]
    )
    want = schema(l=pa.list_(pa.string()), t=pa.timestamp("us", "UTC"))
    assert not difference(have, want, "t")


def test_decimals_get_digits_at_any_depth() -> None:
    have = schema(d=DEC(10, 2), l=pa.list_(pa.struct([("x", DEC(5, 1))])))
    want = schema(d=DEC(12, 2), l=pa.list_(pa.struct([("x", DEC(9, 1))])))
    found = difference(have, want, "t")
    assert found.widened == ((("d",), DEC(12, 2)), (("l", "element", "x"), DEC(9, 1)))
    assert found.fields == ()
    assert widest(want) == schema(d=DEC(38, 2), l=pa.list_(pa.struct([("x", DEC(38, 1))])))


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (pa.int32(), pa.int64()),
        (pa.int64(), pa.float64()),
        (pa.string(), pa.struct([("a", pa.int64())])),
        (DEC(10, 2), DEC(10, 3)),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.list_(pa.int64()), pa.list_(pa.string())),
    ],
)
def test_types_that_cannot_become_each_other_are_refused(
    have: pa.DataType, want: pa.DataType
) -> None:
    with pytest.raises(TableRefused, match=r"the column 'c.*' is .* in the table and .* in this"):
        difference(schema(c=have), schema(c=want), "the table")


def test_a_column_that_may_not_be_null_is_refused() -> None:
    have = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("k", pa.string(), False)])
    with pytest.raises(TableRefused, match="'a' of the table may not be null"):
        check_required(have, ("k",), "the table")
    assert plain(have) == have


def test_other_partitions_are_refused() -> None:
    check_partitions(["dt", "k"], ("dt", "k"), "t")
    with pytest.raises(TableRefused, match="partitioned by k, and `partition_by` says nothing"):
        check_partitions(["k"], (), "t")


def test_partition_values_are_read_from_the_directories() -> None:
    name = f"dt=2026-11-22/k=a%2Fb%25/z={NULL_PARTITION}/part-x.parquet"
    assert partition_values(name, ("dt", "k", "z")) == {"dt": "2026-11-22", "k": "a/b%", "z": None}
    assert partition_values("part-x.parquet", ()) == {}
    assert NULL_PARTITION == _escape.NULL


@pytest.mark.parametrize("path", ["dt=1/part-x", "k=1/dt=2/p", "dt=1/k=2/more/p", "part-x"])
def test_a_file_of_other_partitions_is_refused(path: str) -> None:
    with pytest.raises(TableRefused, match="another `partition_by` than dt, k"):
        partition_values(path, ("dt", "k"))
