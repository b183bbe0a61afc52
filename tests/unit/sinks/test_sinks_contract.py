"""The sink's contract: what becomes of rows that differ from the lake's schema. No row is lost, no
column is corrupted, and the flow goes on.
"""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sinks_support import JOURNAL, built, context, dead_rows, deliver, lake_rows, parquet, rows

from rayflume.batch import EventBatch
from rayflume.errors import OptionError
from rayflume.interfaces import Manifest
from rayflume.sinks.parquet import Parquet, ParquetSink
from rayflume.storage.memory import MemoryStorage, MemoryStore

JSON: dict[str, Any] = {"type": "json", "schema": {"id": "int64", "o": {"x": "int64"}}}
MIXED: list[object] = [
    {"id": 1, "o": {"x": 1}},
    {"id": 2, "o": {"x": 2, "y": "new"}},
    {"id": 3, "z": True},
    {"id": "four"},
    {"id": 5, "o": 5},
]


def test_evolve_makes_columns_also_inside_structs(tmp_path: Path) -> None:
    deliver(parquet(tmp_path, format=JSON), [rows(MIXED)])
    found = lake_rows(tmp_path)["."]
    assert found == [
        {"id": 1, "o": {"x": 1, "y": None}, "z": None},
        {"id": 2, "o": {"x": 2, "y": "new"}, "z": None},
        {"id": 3, "o": None, "z": True},
    ]
    assert [row["position"] for row in dead_rows(tmp_path)] == [3, 4]


def test_freeze_sends_what_differs_to_the_dead_letters(tmp_path: Path) -> None:
    deliver(parquet(tmp_path, format=JSON, contract="freeze"), [rows(MIXED)])
    assert lake_rows(tmp_path)["."] == [{"id": 1, "o": {"x": 1}}]
    reasons = {row["position"]: row["reason"] for row in dead_rows(tmp_path)}
    assert reasons == {
        1: "field o.y is not in the schema of the lake, and the contract is freeze",
        2: "field z is not in the schema of the lake, and the contract is freeze",
        3: "column id: expected number, found string",
        4: "column o: expected object, found number",
    }
    assert not (tmp_path / "lake/_rayflume/schema/2.json").exists()


def test_ignore_leaves_new_fields_out(tmp_path: Path) -> None:
    deliver(parquet(tmp_path, format=JSON, contract="ignore"), [rows(MIXED)])
    assert lake_rows(tmp_path)["."] == [
        {"id": 1, "o": {"x": 1}}, {"id": 2, "o": {"x": 2}}, {"id": 3, "o": None}
    ]  # fmt: skip
    assert [row["position"] for row in dead_rows(tmp_path)] == [3, 4]
    assert not (tmp_path / "lake/_rayflume/schema/2.json").exists()


@pytest.mark.parametrize("contract", ["freeze", "ignore"])
def test_the_first_rows_make_the_columns_of_a_new_lake(tmp_path: Path, contract: str) -> None:
    sink = parquet(tmp_path, format={"type": "json"}, contract=contract)
    deliver(sink, [rows([{"a": 1}, {"b": "x"}]), rows([{"a": 2, "c": 1}])])
    found = lake_rows(tmp_path)["."]
    assert found[:2] == [{"a": 1, "b": None}, {"a": None, "b": "x"}]
    assert len(found) + len(dead_rows(tmp_path)) == 3
    assert len(dead_rows(tmp_path)) == (contract == "freeze")


def test_a_frozen_lake_is_not_changed_by_a_declaration(tmp_path: Path) -> None:
    parquet(tmp_path, format=JSON)
    more = {"type": "json", "schema": {**JSON["schema"], "more": "string"}}
    inside = {"type": "json", "schema": {"id": "int64", "o": {"x": "int64", "y": "int64"}}}
    for form, name in ((more, "more"), (inside, "o")):
        with pytest.raises(OptionError, match=f"contract: freeze: column '{name}' is declared"):
            built(tmp_path, format=form, contract="freeze").open()
    parquet(tmp_path, format=JSON, contract="freeze")
    parquet(tmp_path, format=more, contract="evolve")
    parquet(tmp_path, format=more, contract="freeze")


def decimals(kind: str) -> dict[str, Any]:
    return {"type": "json", "schema": {"d": kind, "o": {"l": [kind]}}}


def body(number: str) -> bytes:
    return f'{{"d": {number}, "o": {{"l": [{number}]}}}}'.encode()


def test_decimals_widen_by_declaration(tmp_path: Path) -> None:
    narrow = parquet(tmp_path, format=decimals("decimal(5,2)"))
    one = rows([body("999.99"), body("1000.00")])
    deliver(narrow, [one])
    assert [row["position"] for row in dead_rows(tmp_path)] == [1]
    wide = parquet(tmp_path, format=decimals("decimal(12,2)"))
    deliver(wide, [rows([body("1000.00")])], f"{JOURNAL}-1-8")
    # The narrow declaration still starts, and takes what the lake takes by now.
    again = parquet(tmp_path, format=decimals("decimal(5,2)"))
    deliver(again, [rows([body("2000.00")])], f"{JOURNAL}-1-9")
    found = [row["d"] for row in lake_rows(tmp_path)["."]]
    assert found == [Decimal("999.99"), Decimal("1000.00"), Decimal("2000.00")]
    types = [
        pq.read_schema(path).field("d").type for path in sorted((tmp_path / "lake").glob("*.parq*"))
    ]
    assert types == [pa.decimal128(5, 2), pa.decimal128(12, 2), pa.decimal128(12, 2)]
    assert (tmp_path / "lake/_rayflume/schema/2.json").exists()
    assert not (tmp_path / "lake/_rayflume/schema/3.json").exists()
    with pytest.raises(OptionError, match=r"'d' is declared as decimal\(12,3\), but in this lake"):
        built(tmp_path, format=decimals("decimal(12,3)")).open()
    with pytest.raises(OptionError, match="contract: freeze: column 'd'"):
        built(tmp_path, format=decimals("decimal(13,2)"), contract="freeze").open()


def test_a_file_of_an_earlier_version_is_rebuilt_with_its_types(tmp_path: Path) -> None:
    """The declaration is wider by now; the lost file was promised with the narrow type."""
    batch = rows([body("1.25"), body("1000.00"), body("2.50")])
    writer = parquet(tmp_path, format=decimals("decimal(5,2)")).begin(f"{JOURNAL}-1-7")
    writer.write(batch, 0)
    manifest = writer.stage()
    wide = parquet(tmp_path, format=decimals("decimal(12,2)"))
    for file in manifest.files:
        wide.storage.discard(file.handle)
    lost = wide.publish(manifest)
    assert len(lost) == len(manifest.files) == 2
    again = wide.rebuild(manifest, lost, lambda ranges: [(0, batch)])
    assert wide.publish(again) == []
    assert [row["d"] for row in lake_rows(tmp_path)["."]] == [Decimal("1.25"), Decimal("2.50")]
    assert len(dead_rows(tmp_path)) == 1


class Racer:
    """A sink on a store that others write to as well; what it wrote, by kind of file."""

    def __init__(self, tmp_path: Path, store: MemoryStore, number: int, contract: str) -> None:
        part = Parquet.model_validate(
            {"path": "mem", "format": {"type": "json"}, "contract": contract}
        )
        self.sink: ParquetSink = part.over(MemoryStorage(store), context(tmp_path))
        self.delivery = f"{number:016x}-1-1"
        self.manifest: Manifest | None = None
        self.errors: list[Exception] = []

    def run(self, batches: list[EventBatch], start: threading.Barrier) -> None:
        try:
            self.sink.open()
            writer, position = self.sink.begin(self.delivery), 0
            start.wait(30)
            for batch in batches:
                writer.write(batch, position)
                position += batch.num_rows
            self.manifest = writer.stage()
            assert self.sink.publish(self.manifest) == []
        except Exception as error:
            self.errors.append(error)


@pytest.mark.parametrize("contract", ["evolve", "freeze", "ignore"])
def test_racing_sinks_agree_on_one_type_and_lose_no_row(tmp_path: Path, contract: str) -> None:
    """Two sinks see the same new field at the same time, each with another type: one wins, and the
    rows of the other are dead letters with the reason.
    """
    for _ in range(10):
        store, start = MemoryStore(), threading.Barrier(2)
        racers = [Racer(tmp_path, store, number, contract) for number in range(2)]
        values: list[object] = [7, "seven"]
        threads = []
        for racer, value in zip(racers, values, strict=True):
            batches = [rows([{"v": value, f"own{value}{n}": n}] * 5) for n in range(3)]
            threads.append(threading.Thread(target=racer.run, args=(batches, start)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [racer.errors for racer in racers] == [[], []]
        storage = MemoryStorage(store)
        kinds: set[str] = set()
        for path in storage.list(""):
            if path.endswith(".parquet"):
                table = pq.read_table(pa.BufferReader(storage.read(path)))
                kinds.add(str(table.schema.field("v").type))
        assert len(kinds) == 1
        for racer in racers:
            assert racer.manifest is not None
            assert racer.manifest.written + racer.manifest.dead == racer.manifest.rows == 15
        written = [racer.manifest.written for racer in racers if racer.manifest]
        # The winner's rows are in the lake but for those that a frozen lake has no column for.
        assert min(written) == 0
        assert max(written) == 15 if contract != "freeze" else 0 < max(written) <= 15


def test_a_type_conflict_never_stops_the_flow(tmp_path: Path) -> None:
    """The same column as number, text, list and object, block after block."""
    kinds: list[object] = [1, "x", [1], {"y": 1}, 1.5, True, None]
    sink = parquet(tmp_path, format={"type": "json"})
    batches = [rows([{"v": value, "n": n}] * 10, at=10 * n) for n, value in enumerate(kinds)]
    manifest = deliver(sink, batches)
    assert manifest.written == 20 and manifest.dead == 50
    assert {row["v"] for row in lake_rows(tmp_path)["."]} == {1, None}
    assert all("column v" in row["reason"] for row in dead_rows(tmp_path))
