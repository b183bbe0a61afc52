from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sinks_support import DELIVERY, HOUR, JOURNAL, T0, parquet, read_bytes, reader, rows

from rayflume.batch import EventBatch
from rayflume.errors import JournalDamaged
from rayflume.storage.memory import MemoryStore, store

OPTIONS: dict[str, Any] = {
    "event_time": "ts",
    "event_time_missing": "ingest_time",
    "partition_by": ["dt=%Y-%m-%d", "hour=%H"],
    "header_columns": ["host"],
    "roll": {"rows": 70},
    "row_group_rows": 32,
}


def clickstream(seed: int) -> list[EventBatch]:
    """Batches with late, malformed and new-field rows, one after the other in the journal."""
    chance, batches, count = random.Random(seed), [], 0
    for number in range(12):
        bodies: list[object] = []
        for _ in range(chance.randrange(1, 60)):
            row: dict[str, object] = {"id": count}
            if chance.random() < 0.9:
                row["ts"] = T0 + chance.randrange(3) * HOUR
            if number > 6:
                row[f"new{number // 3}"] = "x"
            bodies.append(row if chance.random() < 0.9 else b"{bad")
            count += 1
        headers = [{"host": f"h{chance.randrange(3)}"} for _ in bodies]
        batches.append(rows(bodies, headers, at=count - len(bodies)))
    return batches


@pytest.mark.parametrize("seed", range(4))
def test_k2_every_lost_file_comes_back_with_the_same_rows(tmp_path: Path, seed: int) -> None:
    name = f"rebuild-{tmp_path.name}"
    lake: MemoryStore = store(name)
    batches = clickstream(seed)
    sink = parquet(tmp_path, path=f"memory://{name}", **OPTIONS)
    writer, position = sink.begin(DELIVERY), 0
    poisoned = batches.pop()
    for batch in batches:
        writer.write(batch, position)
        position += batch.num_rows
    writer.write(poisoned, position, "killed its sink")
    manifest = writer.stage()
    before = {target: read_bytes(data) for target, data in lake.uploads.values()}
    for file in manifest.files:
        lake.lose(file.handle)

    later = parquet(tmp_path, path=f"memory://{name}", **OPTIONS)
    lost = later.publish(manifest)
    assert lost == list(manifest.files)
    again = later.rebuild(manifest, lost, reader([*batches, poisoned], pieces=3))
    assert (again.rows, again.delivery) == (manifest.rows, manifest.delivery)
    assert [(f.target, f.rows, f.ranges, f.schema_version) for f in again.files] == [
        (f.target, f.rows, f.ranges, f.schema_version) for f in manifest.files
    ]
    assert later.publish(again) == []
    for file in again.files:
        table: pa.Table = read_bytes(lake.files[file.target])
        assert table.equals(before[file.target])
    assert sum(f.rows for f in again.files) == again.written + again.dead == again.rows


def test_rows_that_cannot_be_found_again_are_an_error(tmp_path: Path) -> None:
    sink = parquet(tmp_path)
    writer = sink.begin(DELIVERY)
    writer.write(rows([{"id": 1}, {"id": 2}]), 0)
    manifest = writer.stage()
    with pytest.raises(JournalDamaged, match="had 2 rows, but 1 were found again"):
        sink.rebuild(manifest, manifest.files, reader([rows([{"id": 1}])]))
    assert len(sink.storage.staged(JOURNAL)) == 1


def test_k3_only_garbage_is_deleted(tmp_path: Path) -> None:
    sink = parquet(tmp_path)
    for number in range(2):
        writer = sink.begin(f"{JOURNAL}-1-{number}")
        writer.write(rows([{"id": 1}]), 0)
        writer.stage()
    asked: list[list[str]] = []

    def garbage(deliveries: Any) -> list[str]:
        asked.append(list(deliveries))
        return [f"{JOURNAL}-1-0"]

    sink.collect(JOURNAL, garbage)
    assert asked == [[f"{JOURNAL}-1-0", f"{JOURNAL}-1-1"]]
    assert [delivery for delivery, _ in sink.storage.staged(JOURNAL)] == [f"{JOURNAL}-1-1"]
