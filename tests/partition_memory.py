"""A Parquet sink with many open partitions, in a process of its own: how much memory it takes.

    python tests/partition_memory.py DIRECTORY PARTITIONS BATCHES [OPTIONS AS JSON]

Writes two deliveries, the second while the first is being staged, as an agent does, and prints
JSON: the most RssAnon ever seen, rows, files, bytes.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.interfaces import DeliveryWriter, Manifest
from rayflume.metrics import Metrics
from rayflume.sinks.parquet import Parquet, ParquetSink

BATCH_ROWS = 35_000
"""About 8 MiB of bodies, as sources put them."""
_POOL = 4
_SCHEMA = {
    "p": "int64", "ts": "timestamp_ms", "user": "int64", "session": "string", "event": "string",
    "url": "string", "referrer": "string", "country": "string", "price": "double", "ms": "int64",
}  # fmt: skip


class Watch:
    """Looks at this process's own memory until it is ended; mapped files do not count."""

    def __init__(self) -> None:
        self.peak = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(0.01):
            text = Path("/proc/self/status").read_text()
            kib = next(line for line in text.splitlines() if line.startswith("RssAnon")).split()[1]
            self.peak = max(self.peak, int(kib) << 10)

    def end(self) -> int:
        self._end.set()
        self._thread.join()
        return self.peak


def clicks(partitions: int, number: int) -> EventBatch:
    """Rows of all partitions in turn; those of another number are others."""
    start = number * BATCH_ROWS
    bodies = [click(i, i % partitions) for i in range(start, start + BATCH_ROWS)]
    return EventBatch.from_events(bodies, (), (Extent("s", start, start + BATCH_ROWS, BATCH_ROWS),))


def click(i: int, partition: int) -> bytes:
    row = {
        "p": partition,
        "ts": 1_763_820_000_000 + i,
        "user": i * 7919 % 99_991,
        "session": f"{i * 0x9E3779B97F4A7C15:032x}",
        "event": "view",
        "url": f"/item/{i % 5000}/{i * 31:x}",
        "referrer": f"https://example.org/search?q={i * 0xC2B2AE3D:x}",
        "country": "se" if i % 3 else "no",
        "price": i % 900 + 0.5,
        "ms": i % 60_000,
    }
    return json.dumps(row, separators=(",", ":")).encode()


def fill(sink: ParquetSink, number: int, batches: list[EventBatch], count: int) -> DeliveryWriter:
    writer = sink.begin(f"0123456789abcdef-1-{number}")
    for place in range(count):
        writer.write(batches[place % len(batches)], (number * count + place) * BATCH_ROWS)
    return writer


def main() -> None:
    directory, partitions, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    options: dict[str, Any] = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    base = {
        "path": str(directory),
        "format": {"type": "json", "schema": _SCHEMA},
        "partition_by": ["p2=%{p}"],
    }
    context = Context("memory", "lake", ManualClock(), Metrics(), directory)
    sink: ParquetSink = Parquet.model_validate({**base, **options}).build(context)
    sink.open()
    batches = [clicks(partitions, number) for number in range(_POOL)]
    watch, staged = Watch(), list[Manifest]()
    first = fill(sink, 1, batches, count)
    staging = threading.Thread(target=lambda: staged.append(first.stage()))
    staging.start()
    second = fill(sink, 2, batches, count)
    staging.join()
    staged.append(second.stage())
    peak = watch.end()
    files = [file for manifest in staged for file in manifest.files]
    print(
        json.dumps(
            {
                "peak": peak,
                "rows": sum(manifest.written for manifest in staged),
                "files": len(files),
                "partitions": len({file.target.rpartition("/")[0] for file in files}),
                "bytes": sum(file.size for file in files),
            }
        )
    )


if __name__ == "__main__":
    main()
