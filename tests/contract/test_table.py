"""The clauses of Table, over every type in `rayflume/tables/`."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import cast

import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from fakes import context
from pyiceberg.catalog.sql import SqlCatalog
from table_worlds import again

from rayflume.component import Component, lookup, types_of
from rayflume.errors import TableRefused
from rayflume.lake import storage_for
from rayflume.table import (
    Addition,
    Table,
    TableFile,
    TableOptions,
    TablePlace,
    compact_table,
    table_in,
)

JOURNAL = "00112233445566ff"
ROWS = pa.schema([("n", pa.int64())])


class Lab:
    """One table in a local lake, and a look at it that does not use rayflume."""

    def __init__(self, kind: str, base: Path) -> None:
        self.kind = kind
        self.lake = base / "lake"
        self.uri = f"sqlite:///{base}/catalog.db"
        self.made: list[Table] = []

    def options(self) -> TableOptions:
        options: dict[str, object] = {}
        if self.kind == "iceberg":
            options = {"name": "web.rows", "catalog": {"type": "sql", "uri": self.uri}}
        return cast("TableOptions", lookup("table", self.kind).model_validate(options))

    def place(self, *partitions: str) -> TablePlace:
        return TablePlace("local", str(self.lake), Component(), partitions or ("k",))

    def table(self, *partitions: str) -> Table:
        table = self.options().over(self.place(*partitions))
        self.made.append(table)
        return table

    def file(self, number: int, rows: pa.Table, folder: str = "k=a") -> TableFile:
        path = self.lake / folder / f"part-{JOURNAL}-1-{number}-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path)
        name = path.relative_to(self.lake).as_posix()
        return TableFile(name, path.stat().st_size, pq.read_metadata(path))

    def addition(self, number: int, rows: pa.Table | None = None, folder: str = "k=a") -> Addition:
        if rows is None:
            rows = pa.table({"n": pa.array([number], pa.int64())})
        file = self.file(number, rows, folder)
        return Addition(f"{JOURNAL}-1-{number}", rows.schema, [file], 1_763_820_000_000)

    def read(self) -> pa.Table:
        if self.kind == "delta":
            return DeltaTable(str(self.lake)).to_pyarrow_table()
        with self.catalog() as catalog:
            return catalog.load_table("web.rows").scan().to_arrow()

    def files(self) -> list[str]:
        if self.kind == "delta":
            return [Path(uri).name for uri in DeltaTable(str(self.lake)).file_uris()]
        with self.catalog() as catalog:
            tasks = catalog.load_table("web.rows").scan().plan_files()
            return [task.file.file_path.rpartition("/")[2] for task in tasks]

    def catalog(self) -> SqlCatalog:
        return SqlCatalog("default", uri=self.uri)

    def expire(self) -> None:
        """What the formats' own clean-ups do with old commits and snapshots."""
        if self.kind == "delta":
            table = DeltaTable(str(self.lake))
            table.create_checkpoint()
            for path in sorted((self.lake / "_delta_log").glob("*.json"))[:-1]:
                path.unlink()
            return
        with self.catalog() as catalog:
            table_ = catalog.load_table("web.rows")
            ids = [snapshot.snapshot_id for snapshot in table_.snapshots()][:-1]
            table_.maintenance.expire_snapshots().by_ids(ids).commit()

    def numbers(self) -> list[int]:
        return sorted(self.read()["n"].to_pylist())


@pytest.fixture(params=types_of("table"))
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(request.param, tmp_path)
    yield made
    for table in made.made:
        table.close()


def test_b1_a_table_that_is_not_there_has_no_columns(lab: Lab) -> None:
    assert lab.table().open(ROWS) == pa.schema([])
    assert not lab.table().committed(f"{JOURNAL}-1-1")


def test_b1_open_tells_the_columns_without_partitions(lab: Lab) -> None:
    lab.table().commit(lab.addition(1))
    assert lab.table().open(ROWS) == ROWS


def test_b1_other_types_and_other_partitions_are_refused(lab: Lab) -> None:
    lab.table().commit(lab.addition(1))
    with pytest.raises(TableRefused, match=r"the column 'n' is int64 in .* and string"):
        lab.table().open(pa.schema([("n", pa.string())]))
    with pytest.raises(TableRefused, match="partitioned by k, and `partition_by` says day"):
        lab.table("day").open(ROWS)


def test_b2_what_is_committed_is_known_to_all(lab: Lab) -> None:
    first, second = lab.table(), lab.table()
    assert not second.committed(f"{JOURNAL}-1-1")
    first.commit(lab.addition(1))
    for table in (first, second, lab.table()):
        assert table.committed(f"{JOURNAL}-1-1")
        assert not table.committed(f"{JOURNAL}-1-2")
        assert not table.committed(f"{JOURNAL}-2-1")
        assert not table.committed("ff00000000000000-1-1")


def test_b2_also_after_compaction(lab: Lab) -> None:
    table = lab.table()
    additions = [lab.addition(n) for n in (1, 2, 3)]
    for addition in additions:
        table.commit(addition)
    assert table.compact(1 << 20).removed == 3
    for addition in additions:
        assert table.committed(addition.delivery)
        table.commit(addition)
    assert lab.numbers() == [1, 2, 3]


def test_b2_a_table_that_cannot_tell_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where later deliveries took the mark, files and history are asked, and then nobody."""
    monkeypatch.setattr("rayflume.tables._marks.SLOT_NUMBERS", 1)
    monkeypatch.setattr("rayflume.tables._marks.RUNS_MAX", 1)
    table = lab.table()
    table.commit(lab.addition(3))
    table.commit(lab.addition(5))
    assert table.committed(f"{JOURNAL}-1-3")
    table.compact(1 << 20)
    assert table.committed(f"{JOURNAL}-1-3"), "the history still names it"
    assert not table.committed(f"{JOURNAL}-1-1"), "the history shows that it is absent"
    lab.expire()
    with pytest.raises(TableRefused, match=f"whether it has the delivery {JOURNAL}-1-1"):
        table.commit(lab.addition(1))
    assert lab.numbers() == [3, 5]


def test_b2_a_delivery_long_after_its_successors_is_known_to_be_absent(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their marks took its mark's place. It must not take theirs when it comes."""
    monkeypatch.setattr("rayflume.tables._marks.SLOT_NUMBERS", 2)
    monkeypatch.setattr("rayflume.tables._marks.RUNS_MAX", 2)
    first, second = lab.table(), lab.table()
    late = [lab.addition(n) for n in (2, 5, 1)]
    for number in range(6, 20, 2):
        first.commit(lab.addition(number))
    for addition in late:
        for table in (first, second, lab.table()):
            table.commit(addition)
            assert table.committed(addition.delivery)
    numbers = [1, 2, 5, *range(6, 20, 2)]
    assert lab.numbers() == numbers
    second.compact(1 << 20)
    for number in range(1, 21):
        assert second.committed(f"{JOURNAL}-1-{number}") == (number in numbers)


def test_b3_commit_twice_by_anyone_is_the_same_as_once(lab: Lab) -> None:
    addition = lab.addition(1)
    for _ in range(2):
        lab.table().commit(addition)
    assert lab.numbers() == [1]
    assert len(lab.files()) == 1


def test_b3_columns_are_added_where_they_lack(lab: Lab) -> None:
    table = lab.table()
    table.commit(lab.addition(1))
    kind = pa.struct([("x", pa.list_(pa.struct([("y", pa.string())])))])
    rows = pa.table({"n": [2], "s": pa.array([{"x": [{"y": "a"}]}], kind)})
    table.commit(lab.addition(2, rows))
    wider = pa.struct([*kind, ("z", pa.float64())])
    # Not a null list: PyIceberg 0.12 reads one of structs as empty. Spark's test has it.
    last = pa.array([{"x": [], "z": 1.5}], wider)
    table.commit(lab.addition(3, pa.table({"n": [3], "s": last})))
    found = {row["n"]: row["s"] for row in lab.read().to_pylist()}
    assert found == {
        1: None,
        2: {"x": [{"y": "a"}], "z": None},
        3: {"x": [], "z": 1.5},
    }


def test_b3_decimals_widen(lab: Lab) -> None:
    table = lab.table()
    for number, digits in ((1, 6), (2, 30), (3, 12)):
        value = Decimal("1.25") + 10 ** (digits - 3)
        rows = pa.table({"n": [number], "d": pa.array([value], pa.decimal128(digits, 2))})
        table.commit(lab.addition(number, rows))
    found = {row["n"]: row["d"] for row in lab.read().to_pylist()}
    assert found == {
        1: Decimal("1001.25"),
        2: Decimal(10**27) + Decimal("1.25"),
        3: Decimal("1000000001.25"),
    }


def test_b3_partitions_are_columns_with_the_values_as_they_were(lab: Lab) -> None:
    table = lab.table()
    folders = ["k=a%2Fb %25", "k=__HIVE_DEFAULT_PARTITION__", "k=å%3D"]
    for number, folder in enumerate(folders, 1):
        table.commit(lab.addition(number, folder=folder))
    assert {row["n"]: row["k"] for row in lab.read().to_pylist()} == {1: "a/b %", 2: None, 3: "å="}


def test_b3_without_partitions(lab: Lab) -> None:
    place = TablePlace("local", str(lab.lake), Component(), ())
    table = lab.options().over(place)
    lab.made.append(table)
    table.commit(lab.addition(1, folder="."))
    assert lab.read().to_pylist() == [{"n": 1}]


def test_b3_many_committers_at_once(lab: Lab) -> None:
    """Three threads commit the same deliveries, each with a table of its own, from nothing on."""
    additions = [lab.addition(n, folder=f"k={n % 3}") for n in range(1, 9)]
    errors: list[BaseException] = []

    def work(table: Table, mine: list[Addition]) -> None:
        try:
            for addition in mine:
                again(lambda addition=addition: table.commit(addition))  # type: ignore[misc]
        except BaseException as error:
            errors.append(error)

    orders = [additions, additions[::-1], additions[4:] + additions[:4]]
    threads = [threading.Thread(target=work, args=(lab.table(), order)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert lab.numbers() == list(range(1, 9))
    assert collections.Counter(lab.files()).most_common(1)[0][1] == 1


def test_b3_polars_reads_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")  # its other planner is not installed
    lab.table().commit(lab.addition(1, folder="k=a%2Fb"))
    lab.table().commit(lab.addition(2, pa.table({"n": [2], "m": [1.5]}), folder="k=c"))
    if lab.kind == "delta":
        found = polars.read_delta(str(lab.lake))
    else:
        with lab.catalog() as catalog:
            found = polars.scan_iceberg(catalog.load_table("web.rows")).collect()
    rows = {row["n"]: (row["k"], row["m"]) for row in found.to_dicts()}
    assert rows == {1: ("a/b", None), 2: ("c", 1.5)}


def test_b4_nothing_is_deleted_by_a_compaction(lab: Lab) -> None:
    table = lab.table()
    for number in range(1, 5):
        table.commit(lab.addition(number))
    table.compact(1 << 20)
    assert len(list(lab.lake.rglob("part-*-1-[1-4]-0.parquet"))) == 4


def test_b5_small_files_of_each_partition_become_one(lab: Lab) -> None:
    table = lab.table()
    for number in range(1, 9):
        rows = pa.table({"n": [number], f"c{number % 2}": [str(number)]})
        table.commit(lab.addition(number, rows, folder=f"k={number % 2}"))
    before = sorted(lab.read().to_pylist(), key=lambda row: row["n"])
    done = compact_table(lab.options(), lab.place(), 1 << 20)
    assert (done.removed, done.added) == (8, 2)
    assert len(lab.files()) == 2
    assert sorted(lab.read().to_pylist(), key=lambda row: row["n"]) == before
    assert compact_table(lab.options(), lab.place(), 1 << 20).removed == 0


def test_b5_files_of_about_the_target_are_left_alone(lab: Lab) -> None:
    table = lab.table()
    for number in (1, 2, 3):
        table.commit(lab.addition(number))
    size = lab.file(9, pa.table({"n": [1]})).size
    assert table.compact(size).removed == 0


def test_b5_a_lake_tells_that_it_is_a_table(lab: Lab, tmp_path: Path) -> None:
    storage = storage_for("lake", {}, context(tmp_path))
    storage.check()
    assert table_in(storage) == ""
    lab.table().commit(lab.addition(1))
    assert table_in(storage) == lab.kind


def test_b5_nothing_to_compact_is_said(lab: Lab) -> None:
    with pytest.raises(TableRefused, match="does not exist: there is nothing to compact"):
        lab.table().compact(1 << 20)
