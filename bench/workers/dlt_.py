"""dlt: its reader of JSON lines into its file system destination, as Parquet."""

from __future__ import annotations

import os
from pathlib import Path

import dlt
from dlt.destinations import filesystem as destination
from dlt.sources.filesystem import filesystem, read_jsonl

from bench.settings import PROCESSES
from bench.workers.serve import Order, serve

_TYPES = {
    "int64": "bigint",
    "string": "text",
    "double": "double",
    "boolean": "bool",
    "timestamp_ms": "bigint",
}
_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "NORMALIZE__WORKERS": str(PROCESSES),
    "NORMALIZE__START_METHOD": "spawn",
    "LOAD__WORKERS": str(PROCESSES),
    "NORMALIZE__DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    "EXTRACT__DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    # As many files as both of its processes can work on.
    "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "100000",
}


def run(order: Order) -> None:
    folder = str(Path(order.paths[0]).parent)
    columns = {name: {"data_type": _TYPES[kind]} for name, kind in order.task.schema.items()}
    files = filesystem(bucket_url=f"file://{folder}", file_glob="*.jsonl")
    rows = (files | read_jsonl(chunksize=10_000)).with_name("rows")
    rows.apply_hints(columns=columns)
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(order.folder / "_pipeline"),
        destination=destination(bucket_url=f"file://{order.folder}"),
        dataset_name="lake",
    )
    done = pipeline.run(rows, loader_file_format="parquet", write_disposition="append")
    done.raise_on_failed_jobs()


if __name__ == "__main__":
    os.environ.update(_SETTINGS)
    serve(run)
