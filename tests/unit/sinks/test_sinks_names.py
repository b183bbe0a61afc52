from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import context
from lake_samples import write_lake

from rayflume.component import lookup
from rayflume.errors import OptionError
from rayflume.interfaces import Decoded
from rayflume.sinks._names import case_conflict, told_apart

INFERRED = {"format": {"type": "json"}}


def decoded(rows: list[dict[str, object]]) -> Decoded:
    return Decoded(pa.RecordBatch.from_pylist(rows))


def places(found: Decoded) -> list[int]:
    assert found.rows is not None
    return [place.as_py() for place in found.rows]


def test_of_fields_that_differ_in_case_the_first_stays_and_rows_with_the_other_are_bad() -> None:
    rows = decoded([{"url": "a", "URL": None}, {"url": "b", "URL": "c"}, {"url": None, "URL": "d"}])
    found = told_apart(rows, (), ())
    assert found.table.to_pylist() == [{"url": "a"}]
    assert places(found) == [0]
    reason = "field URL differs only in case from column url, which Spark ignores"
    assert found.bad == ((1, reason), (2, reason))


def test_fields_inside_structs_and_lists_are_told_apart_too() -> None:
    rows = decoded(
        [
            {"who": {"id": 1, "ID": None}, "items": [{"a": 1, "A": None}]},
            {"who": {"id": 1, "ID": 2}, "items": []},
            {"who": None, "items": None},
            {"who": {"id": 3, "ID": None}, "items": [{"a": 1, "A": None}, {"a": None, "A": 5}]},
        ]
    )
    found = told_apart(rows, (), ())
    assert found.table.to_pylist() == [
        {"who": {"id": 1}, "items": [{"a": 1}]},
        {"who": None, "items": None},
    ]
    assert [place for place, _ in found.bad] == [1, 3]
    assert [why.partition(" differs")[0] for _, why in found.bad] == [
        "field who.ID",
        "field items[].A",
    ]


def test_a_field_with_the_name_of_a_partition_makes_its_row_bad() -> None:
    found = told_apart(decoded([{"n": 1, "DT": 5}, {"n": 2, "DT": None}]), ["dt"], [])
    assert found.table.to_pylist() == [{"n": 2}]
    assert found.bad == (
        (0, "field DT differs only in case from partition dt, which Spark ignores"),
    )


def test_a_field_named_as_a_header_column_is_left_to_the_caller() -> None:
    rows = decoded([{"host": "a", "n": 1}])
    assert told_apart(rows, [], ["host"]) is rows
    assert told_apart(rows, [], ["Host"]).table.num_rows == 0


def test_all_rows_bad_leaves_none() -> None:
    found = told_apart(decoded([{"dt": 1}, {"dt": 2}]), ["dt"], [])
    assert (found.table.num_rows, found.table.num_columns, len(found.bad)) == (0, 0, 2)


def test_bad_rows_of_the_format_keep_their_places() -> None:
    table = pa.RecordBatch.from_pylist([{"a": 1, "A": None}, {"a": None, "A": 2}])
    found = told_apart(Decoded(table, pa.array([1, 3]), ((0, "x"), (2, "y"))), (), ())
    assert places(found) == [1]
    assert [place for place, _ in found.bad] == [0, 2, 3]


def test_case_conflicts_are_found_at_any_depth() -> None:
    def schema(name: str) -> pa.Schema:
        return pa.schema([("a", pa.list_(pa.struct([(name, pa.int64())])))])

    assert case_conflict(schema("x"), schema("x")) is None
    assert case_conflict(schema("x"), schema("y")) is None
    assert case_conflict(schema("x"), schema("X")) == ("a[].x", "a[].X")


def test_no_row_makes_a_lake_unreadable_by_the_case_of_a_name(tmp_path: Path) -> None:
    """Spark fails on the whole lake with COLUMN_ALREADY_EXISTS."""
    lake = tmp_path / "lake"
    bodies = [b'{"n":1,"url":"a"}', b'{"n":2,"URL":"b"}']
    first = write_lake(lake, INFERRED, bodies)
    assert (first.written, first.dead) == (1, 1)
    later = write_lake(lake, INFERRED, [b'{"N":3}', b'{"n":4,"more":{"Url":1}}'])
    assert (later.written, later.dead) == (1, 1)
    assert {n for p in lake.rglob("*.parquet") for n in pq.read_schema(p).names} == {
        "n", "url", "more",
    }  # fmt: skip


def test_rows_with_the_name_of_a_partition_are_dead_letters(tmp_path: Path) -> None:
    bodies = [b'{"n":1,"dt":5,"ts":1700000000000}', b'{"n":2,"ts":1700000000000}']
    options = {"partition_by": ["dt=%Y-%m-%d"], "event_time": "ts", **INFERRED}
    manifest = write_lake(tmp_path / "lake", options, bodies)
    assert (manifest.written, manifest.dead) == (1, 1)


def test_declared_columns_must_have_the_case_of_the_lake(tmp_path: Path) -> None:
    write_lake(tmp_path / "lake", INFERRED, [b'{"url":"a"}'])
    declared = {"format": {"type": "json", "schema": {"URL": "string"}}}
    with pytest.raises(OptionError, match="column 'URL' is 'url' in this lake"):
        write_lake(tmp_path / "lake", declared, [b"{}"])


@pytest.mark.parametrize(
    "options",
    [{"partition_by": ["URL=%{x}"]}, {"header_columns": ["Url"]}],
    ids=["partition", "header"],
)
def test_options_that_clash_in_case_are_refused(options: dict[str, object], tmp_path: Path) -> None:
    form = {"type": "json", "schema": {"url": "string"}}
    settings = {"path": str(tmp_path / "lake"), "format": form, **options}
    sink = lookup("sink", "parquet").model_validate(settings)
    with pytest.raises(OptionError, match="is also a column of the format"):
        sink.build(context(tmp_path, "lake"))
