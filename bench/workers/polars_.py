"""Bare polars: a lazy scan into a Parquet sink, by its streaming engine."""

from __future__ import annotations

import polars as pl

from bench.settings import CODEC
from bench.workers.serve import Order, serve
from rayflume.formats import combined_log

_TYPES: dict[str, type[pl.DataType]] = {
    "int64": pl.Int64,
    "string": pl.String,
    "double": pl.Float64,
    "boolean": pl.Boolean,
    "timestamp_ms": pl.Int64,
}


def _json(order: Order) -> pl.LazyFrame:
    schema = {name: _TYPES[kind] for name, kind in order.task.schema.items()}
    ts = pl.from_epoch("ts", time_unit="ms").dt.replace_time_zone("UTC").dt.cast_time_unit("us")
    return pl.scan_ndjson(order.paths, schema=schema).with_columns(ts=ts)


def _access(order: Order) -> pl.LazyFrame:
    line, request = combined_log._LINE, combined_log._REQUEST
    fields = (
        pl.scan_lines(order.paths).select(pl.col("line").str.extract_groups(line)).unnest("line")
    )
    fields = fields.with_columns(
        pl.when(pl.col(name) != "-").then(pl.col(name)).alias(name)
        for name in ("host", "ident", "user", "status", "bytes", "referrer", "user_agent")
    )
    fields = fields.with_columns(
        pl.col("time").str.to_datetime("%d/%b/%Y:%H:%M:%S %z", time_unit="us", time_zone="UTC"),
        pl.col("status").cast(pl.Int32),
        pl.col("bytes").cast(pl.Int64),
        pl.col("request").str.extract_groups(request).alias("parts"),
    )
    return fields.unnest("parts")


def run(order: Order) -> None:
    task = order.task
    frame = {"json": _json, "access": _access}.get(task.decode, _lines)(order)
    target: str | pl.PartitionBy = f"{order.folder}/lines.parquet"
    if task.hourly:
        ts = pl.col("ts")
        frame = frame.with_columns(dt=ts.dt.strftime("%Y-%m-%d"), hour=ts.dt.strftime("%H"))
        target = pl.PartitionBy(order.folder, key=["dt", "hour"], include_key=False)
    frame.sink_parquet(target, compression=CODEC, row_group_size=order.group_rows, mkdir=True)


def _lines(order: Order) -> pl.LazyFrame:
    return pl.scan_lines(order.paths)


if __name__ == "__main__":
    serve(run)
