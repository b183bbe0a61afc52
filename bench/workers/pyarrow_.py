"""Bare pyarrow: blocks of a file to Arrow tables, gathered by partition into row groups."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from bench.settings import BLOCK_BYTES, CODEC, ROW_GROUP_BYTES
from bench.tasks import Task
from bench.workers._arrow import read_schema
from bench.workers.serve import Order, serve
from rayflume.formats import combined_log

_TIMESTAMP = pa.timestamp("us", tz="UTC")


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
            name = path / f"part-{os.getpid()}.parquet"
            self.open[partition] = pq.ParquetWriter(name, table.schema, compression=CODEC)
        self.open[partition].write_table(table, row_group_size=len(table))

    def close(self) -> None:
        for partition in [p for p, tables in self.waiting.items() if tables]:
            self.flush(partition)
        for writer in self.open.values():
            writer.close()


def _blocks(path: str) -> Iterator[bytes]:
    """The file in blocks that end at a newline."""
    rest = b""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        while data := file.read(BLOCK_BYTES):
            cut = data.rfind(b"\n") + 1
            yield rest + data[:cut]
            rest = data[cut:]
    if rest:
        yield rest


def _json(task: Task, block: bytes, writers: _Writers) -> None:
    schema = read_schema(task)
    table = pj.read_json(
        io.BytesIO(block),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
        parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
    hours = pc.divide(table["ts"], 3_600_000)
    times = table["ts"].cast(pa.timestamp("ms", tz="UTC")).cast(_TIMESTAMP)
    table = table.set_column(table.schema.get_field_index("ts"), "ts", times)
    if not task.hourly:
        writers.add("", table)
        return
    for hour in pc.unique(hours).to_pylist():
        when = np.datetime64(hour, "h").astype(object)
        partition = when.strftime("dt=%Y-%m-%d/hour=%H")
        writers.add(partition, table.filter(pc.equal(hours, hour)))


def _lines(block: bytes) -> pa.Array:
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == 10).astype(np.int32) + 1
    offsets = np.concatenate([np.zeros(1, dtype=np.int32), ends])
    lines = pa.Array.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    )
    return pc.binary_replace_slice(lines, -1, 2**31 - 1, b"").cast(pa.string())


def _text(task: Task, block: bytes, writers: _Writers) -> None:
    writers.add("", pa.table({"body": _lines(block)}))


def _access(task: Task, block: bytes, writers: _Writers) -> None:
    columns = _fields(pc.extract_regex(_lines(block), combined_log._LINE))
    columns |= _fields(pc.extract_regex(columns["request"], combined_log._REQUEST))
    columns["time"], bad = combined_log.parse_times(columns["time"])
    if bad.any():
        raise ValueError("a time that is none")
    dash = pa.scalar("-")
    for name in ("host", "ident", "user", "status", "bytes", "referrer", "user_agent"):
        column = columns[name]
        columns[name] = pc.if_else(pc.equal(column, dash), None, column)
    columns["status"] = columns["status"].cast(pa.int32())
    columns["bytes"] = columns["bytes"].cast(pa.int64())
    writers.add("", pa.table(columns))


def _fields(struct: pa.StructArray) -> dict[str, pa.Array]:
    return dict(zip((field.name for field in struct.type), struct.flatten(), strict=True))


def run(order: Order) -> None:
    step = {"json": _json, "access": _access, "text": _text}[order.task.decode]
    writers = _Writers(order.folder)
    for path in order.paths:
        for block in _blocks(path):
            step(order.task, block, writers)
    writers.close()


if __name__ == "__main__":
    pa.set_cpu_count(1)
    serve(run)
