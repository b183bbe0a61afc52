"""Merging: schemas, order and metadata; faults found before anything is removed."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lake_files import JOURNAL, data_files, fill, once, put, rows_of, seen, table

from rayflume import tombstones
from rayflume.clock import SystemClock
from rayflume.errors import ConfigError, LakeDamaged
from rayflume.file_metadata import RANGES_MAX, STREAMS_MAX
from rayflume.interfaces import Storage
from rayflume.maintenance import merge
from rayflume.maintenance.compact import Compacted, Compactor, candidates
from rayflume.maintenance.footers import read_footers
from rayflume.maintenance.merge import merged_origins, merged_streams, united
from rayflume.maintenance.plan import CompactOptions
from rayflume.naming import delivery_id
from rayflume.storage.memory import MemoryStorage, MemoryStore

OPTIONS = CompactOptions(min_age_ms=0)


@pytest.fixture
def lake() -> Storage:
    return MemoryStorage(MemoryStore())


def compact(storage: Storage, partition: str = "dt=1") -> Compacted:
    return Compactor(storage, OPTIONS, SystemClock()).partition(partition)


def written(storage: Storage) -> pq.FileMetaData:
    [path] = data_files(storage)
    with closing(storage.open(path)) as file:
        return pq.ParquetFile(file).metadata


def test_columns_fields_and_decimals_grow(lake: Storage) -> None:
    old = pa.table(
        {"n": [1], "s": [{"a": 1}], "d": pa.array([Decimal("1.5")], pa.decimal128(5, 1))}
    )
    new = pa.table(
        {
            "n": [2],
            "s": [{"a": 2, "b": "x"}],
            "l": [[{"k": 1}]],
            "d": pa.array([Decimal("2.5")], pa.decimal128(9, 1)),
        }
    )
    put(lake, "dt=1", 2, new, version=2)
    put(lake, "dt=1", 1, old, version=1)
    assert compact(lake).problem == ""
    [path] = data_files(lake)
    found = rows_of(lake, path)
    assert found.schema.names == ["n", "s", "d", "l"]
    assert found.to_pylist() == [
        {"n": 1, "s": {"a": 1, "b": None}, "d": Decimal("1.5"), "l": None},
        {"n": 2, "s": {"a": 2, "b": "x"}, "d": Decimal("2.5"), "l": [{"k": 1}]},
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [(pa.int64(), pa.float64()), (pa.int32(), pa.int64()), (pa.string(), pa.int64())],
    ids=str,
)
def test_a_column_of_two_types_is_not_merged(
    lake: Storage, one: pa.DataType, other: pa.DataType
) -> None:
    for number, kind in enumerate((one, other)):
        rows = pa.table({"n": [number], "x": pa.nulls(1, kind)})
        put(lake, "dt=1", number, rows)
    before = lake.sizes("")
    problem = compact(lake).problem
    assert "x" in problem and (str(one) in problem or str(other) in problem)
    assert lake.sizes("") == before
    with pytest.raises(LakeDamaged):
        united([pa.schema([("x", one)]), pa.schema([("x", other)])])


def test_order_codec_and_dictionaries_are_kept(lake: Storage) -> None:
    for number in range(3):
        rows = table(number * 10, number * 10 + 10, kind="x").sort_by("text")
        order = pq.SortingColumn.from_ordering(
            rows.schema, [("text", "ascending")], null_placement="at_end"
        )
        put(
            lake, "dt=1", number, rows, compression="zstd", use_dictionary=["kind"],
            sorting_columns=order, ranges=((number * 10, number * 10 + 10),),
        )  # fmt: skip
    assert compact(lake).problem == ""
    group = written(lake).row_group(0)
    assert [(c.column_index, c.nulls_first) for c in group.sorting_columns] == [(1, False)]
    assert [group.column(n).compression for n in range(3)] == ["ZSTD"] * 3
    assert [group.column(n).has_dictionary_page for n in range(3)] == [False, False, True]
    [path] = data_files(lake)
    texts = rows_of(lake, path)["text"].to_pylist()
    assert texts == sorted(texts) and seen(lake) == once(range(30))


def test_a_fault_in_merging_is_found_and_nothing_is_changed(
    lake: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake, 3)
    before = lake.sizes("")
    conformed = merge.conformed

    def forgetful(rows: pa.Table, schema: pa.Schema) -> pa.Table:
        found = conformed(rows, schema)
        return found.set_column(1, "text", pa.array(["row 0"] * found.num_rows))

    monkeypatch.setattr(merge, "conformed", forgetful)
    assert "nothing was changed" in compact(lake).problem
    monkeypatch.setattr(merge, "conformed", lambda rows, schema: conformed(rows, schema).slice(1))
    assert "nothing was changed" in compact(lake).problem
    assert lake.sizes("") == before
    monkeypatch.setattr(merge, "conformed", conformed)
    assert compact(lake).problem == ""


def test_files_with_rows_in_common_are_left_as_evidence(lake: Storage) -> None:
    put(lake, "dt=1", 1, table(0, 10))
    put(lake, "dt=1", 2, table(9, 20))
    problem = compact(lake).problem
    assert "rows 9 to 10 of journal" in problem and "lake inspect" in problem
    assert len(data_files(lake)) == 2 and tombstones.ids(lake) == []


def test_a_damaged_file_is_told_and_other_partitions_go_on() -> None:
    store = MemoryStore()
    lake = MemoryStorage(store)
    bad = fill(lake, 3)[1]
    for number in (10, 11):
        put(lake, "dt=2", number, table(number * 10, number * 10 + 10))
    store.files[bad] = store.files[bad][:-20]
    assert bad in compact(lake).problem
    assert compact(lake, "dt=2").problem == ""
    store.files[bad] = store.files[bad][:100] + b"\0" * 50 + store.files[bad][150:]
    assert bad in compact(lake).problem


def test_a_damaged_merged_file_is_never_trusted() -> None:
    store = MemoryStore()
    lake = MemoryStorage(store)
    fill(lake, 3)
    publish = MemoryStorage.publish

    class Flipping(MemoryStorage):
        def publish(self, handles):  # type: ignore[no-untyped-def]
            outcome = publish(self, handles)
            path = str(handles[0]["target"])
            store.files[path] = store.files[path][:-1]
            return outcome

    done = Compactor(Flipping(store), OPTIONS, SystemClock()).partition("dt=1")
    assert "nothing was removed" in done.problem
    assert len(data_files(lake)) == 4
    [bad] = [path for path in data_files(lake) if path in done.problem]
    lake.remove([bad])
    assert compact(lake).problem == ""
    assert seen(lake) == once(range(30)) and len(data_files(lake)) == 1


def test_files_of_others_are_left_alone(lake: Storage) -> None:
    fill(lake, 2)
    lake.create("dt=1/part-00000-spark.snappy.parquet", b"not ours")
    assert compact(lake).files_after == 1
    assert lake.read("dt=1/part-00000-spark.snappy.parquet") == b"not ours"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("_delta_log/00000000000000000000.json", "Delta"), ("metadata/v1.metadata.json", "Iceberg")],
)
def test_a_table_is_refused(lake: Storage, path: str, kind: str) -> None:
    fill(lake, 2)
    lake.create(path, b"{}")
    with pytest.raises(ConfigError, match=kind):
        candidates(lake, OPTIONS)


def test_origins_are_bounded(lake: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(lake, 4)
    sizes = lake.sizes("")
    footers = list(read_footers(lake, sizes))
    assert merged_origins(footers) == {
        delivery_id(JOURNAL, 1, n): [(n * 10, n * 10 + 10)] for n in range(4)
    }
    monkeypatch.setattr(merge, "ORIGINS_MAX", 3)
    assert merged_origins(footers) == {JOURNAL: [(0, 40)]}


def test_streams_are_joined_and_bounded() -> None:
    texts = [json.dumps({"a": [[0, 5]], "*": []}), json.dumps({"a": [[5, 9]], "b": [[1, 2]]}), ""]
    assert merged_streams(texts) == {"a": [(0, 9)], "*": [], "b": [(1, 2)]}
    many = [json.dumps({str(n): [[0, 1]]}) for n in range(100)]
    assert len(merged_streams(many)) == STREAMS_MAX + 1
    holes = [json.dumps({"a": [[4 * n, 4 * n + 1]]}) for n in range(50)]
    assert len(merged_streams(holes)["a"]) == RANGES_MAX
    assert merged_streams(holes)["a"][-1][1] == 197
