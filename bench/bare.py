"""The practical limit: two bare pyarrow processes, no Ray, no durability, same files and settings.

Each process reads every second file in blocks and writes Parquet: for `json` typed and partitioned
by hour, for `lines` one string column. Row groups are gathered to the same decoded size, codec is
the same.
"""

from __future__ import annotations

import io
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from bench.settings import BLOCK_BYTES, CODEC, ROW_GROUP_BYTES, SCHEMA

PROCESSES = 2
_TYPES = {
    "int64": pa.int64(),
    "string": pa.string(),
    "double": pa.float64(),
    "timestamp_ms": pa.int64(),
}


@dataclass
class _Writers:
    """Open files by partition, each gathering a row group."""

    directory: Path
    open: dict[str, pq.ParquetWriter] = field(default_factory=dict)
    waiting: dict[str, list[pa.Table]] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def add(self, partition: str, table: pa.Table) -> None:
        self.waiting.setdefault(partition, []).append(table)
        self.bytes[partition] = self.bytes.get(partition, 0) + table.nbytes
        if self.bytes[partition] >= ROW_GROUP_BYTES:
            self.flush(partition)

    def flush(self, partition: str) -> None:
        table = pa.concat_tables(self.waiting.pop(partition))
        self.bytes[partition] = 0
        if partition not in self.open:
            path = self.directory / partition
            path.mkdir(parents=True, exist_ok=True)
            name = path / f"part-{multiprocessing.current_process().pid}.parquet"
            self.open[partition] = pq.ParquetWriter(name, table.schema, compression=CODEC)
        self.open[partition].write_table(table, row_group_size=len(table))

    def close(self) -> None:
        for partition in [p for p, tables in self.waiting.items() if tables]:
            self.flush(partition)
        for writer in self.open.values():
            writer.close()


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks that end at a newline."""
    rest = b""
    with path.open("rb", buffering=0) as file:
        while data := file.read(BLOCK_BYTES):
            cut = data.rfind(b"\n") + 1
            yield rest + data[:cut]
            rest = data[cut:]
    if rest:
        yield rest


def _json(block: bytes, writers: _Writers) -> None:
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in SCHEMA.items()])
    table = pj.read_json(
        io.BytesIO(block),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    hours = pc.divide(table["ts"], 3_600_000)
    times = table["ts"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.timestamp("us", tz="UTC"))
    table = table.set_column(table.schema.get_field_index("ts"), "ts", times)
    for hour in pc.unique(hours).to_pylist():
        when = np.datetime64(hour, "h").astype(object)
        partition = when.strftime("dt=%Y-%m-%d/hour=%H")
        writers.add(partition, table.filter(pc.equal(hours, hour)))


def _lines(block: bytes, writers: _Writers) -> None:
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10).astype(np.int32) + 1
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), ends])
    lines = pa.Array.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    )
    body = pc.binary_replace_slice(lines, -1, 2**31 - 1, b"").cast(pa.string())
    writers.add("", pa.table({"body": body}))


def _work(kind: str, paths: list[Path], lake: Path, ready, go) -> None:  # type: ignore[no-untyped-def]
    pa.set_cpu_count(1)
    step = _json if kind == "json" else _lines
    warm = next(_blocks(paths[0]))
    step(warm[: warm.find(b"\n") + 1], _Writers(lake))
    ready.release()
    go.wait()
    writers = _Writers(lake)
    for path in paths:
        for block in _blocks(path):
            step(block, writers)
    writers.close()


def run(kind: str, paths: list[Path], lake: Path) -> float:
    """Seconds from the common start of both processes to the end of the last."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Semaphore(0), context.Event()
    workers = [
        context.Process(target=_work, args=(kind, paths[i::PROCESSES], lake, ready, go))
        for i in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    begin = time.perf_counter()
    go.set()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"a bare process ended with {worker.exitcode}")
    return time.perf_counter() - begin
