"""Small helpers for the tests of sinks: a context, batches of JSON rows, reading a lake back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.interfaces import Manifest, RowRange
from rayflume.metrics import Metrics
from rayflume.sinks.parquet import Parquet, ParquetSink

JOURNAL = "0123456789abcdef"
DELIVERY = f"{JOURNAL}-1-7"
HOUR = 3_600_000
T0 = 1_763_820_000_000  # 2025-11-22 14:00 UTC


def context(tmp_path: Path) -> Context:
    return Context("clicks", "lake", ManualClock(T0), Metrics(), tmp_path)


def parquet(tmp_path: Path, **options: object) -> ParquetSink:
    sink = built(tmp_path, **options)
    sink.open()
    return sink


def built(tmp_path: Path, **options: object) -> ParquetSink:
    base: dict[str, Any] = {
        "path": str(tmp_path / "lake"),
        "format": {"type": "json", "schema": {"id": "int64", "ts": "timestamp_ms"}},
    }
    sink: ParquetSink = Parquet.model_validate({**base, **options}).build(context(tmp_path))
    return sink


def rows(
    bodies: Sequence[object], headers: Sequence[dict[str, str]] = (), stream: str = "s", at: int = 0
) -> EventBatch:
    """Bodies that are bytes or None stay, all else becomes JSON."""
    raw = [b if isinstance(b, bytes) or b is None else json.dumps(b).encode() for b in bodies]
    return EventBatch.from_events(raw, headers, (Extent(stream, at, at + len(raw), len(raw)),))


def deliver(sink: ParquetSink, batches: Iterable[EventBatch], delivery: str = DELIVERY) -> Manifest:
    """Write, stage and publish all batches as one delivery."""
    writer, position = sink.begin(delivery), 0
    for batch in batches:
        writer.write(batch, position)
        position += batch.num_rows
    manifest = writer.stage()
    assert sink.publish(manifest) == []
    return manifest


def lake_rows(tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """Partition -> rows of all its files, in order of their names."""
    found: dict[str, list[dict[str, Any]]] = {}
    base = tmp_path / "lake"
    for path in sorted(base.rglob("*.parquet")):
        place = str(path.parent.relative_to(base))
        table = pq.ParquetFile(path).read()
        found.setdefault(place, []).extend(table.to_pylist())
    return found


def dead_rows(tmp_path: Path) -> list[dict[str, Any]]:
    paths = sorted((tmp_path / "lake/_rayflume/dead_letters").glob("*.dead"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def read_bytes(data: bytes) -> pa.Table:
    return pq.ParquetFile(io.BytesIO(data)).read()


def reader(
    batches: Sequence[EventBatch], pieces: int = 1
) -> Callable[[Sequence[RowRange]], Iterable[tuple[int, EventBatch]]]:
    """What a channel gives to rebuild: the rows of ranges, cut otherwise than they were written."""

    def read(ranges: Sequence[RowRange]) -> Iterable[tuple[int, EventBatch]]:
        position = 0
        for batch in batches:
            for start, stop in ranges:
                first, last = max(start, position), min(stop, position + batch.num_rows)
                step = max(1, -(-(last - first) // pieces))
                for low in range(first, last, step):
                    high = min(low + step, last)
                    yield low, batch.slice(low - position, high - low)
            position += batch.num_rows

    return read
