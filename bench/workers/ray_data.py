"""Ray Data on a Ray of its own: read_json or read_text, a map over batches, write_parquet."""

from __future__ import annotations

import re
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import ray
import ray.data

from bench.settings import CODEC, PROCESSES
from bench.tasks import Task
from bench.workers._arrow import read_schema
from bench.workers.serve import Order, serve
from rayflume.formats import combined_log

_DASHED = ("host", "ident", "user", "status", "bytes", "referrer", "user_agent")


def _json(order: Order) -> ray.data.Dataset:
    schema = read_schema(order.task)
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return ray.data.read_json(order.paths, parse_options=options)


def _timed(table: pa.Table, hourly: bool) -> pa.Table:
    """`ts` as a timestamp; for a partitioned lake also `dt` and `hour`."""
    ts = table["ts"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.timestamp("us", tz="UTC"))
    table = table.set_column(table.schema.get_field_index("ts"), "ts", ts)
    if hourly:
        # Once an hour, not once a row: strftime is slow.
        hours = pc.floor_temporal(ts, unit="hour").dictionary_encode().combine_chunks()
        for name, form in (("dt", "%Y-%m-%d"), ("hour", "%H")):
            texts = pc.strftime(hours.dictionary, form)
            table = table.append_column(name, texts.take(hours.indices))
    return table


def _access(table: pa.Table) -> pa.Table:
    line = pc.extract_regex(table["text"].combine_chunks(), combined_log._LINE)
    columns = dict(zip(re.compile(combined_log._LINE).groupindex, line.flatten(), strict=True))
    request = pc.extract_regex(columns["request"], combined_log._REQUEST)
    names = re.compile(combined_log._REQUEST).groupindex
    columns |= dict(zip(names, request.flatten(), strict=True))
    columns["time"], _ = combined_log.parse_times(columns["time"])
    for name in _DASHED:
        columns[name] = pc.if_else(pc.equal(columns[name], "-"), None, columns[name])
    columns["status"] = columns["status"].cast(pa.int32())
    columns["bytes"] = columns["bytes"].cast(pa.int64())
    return pa.table(columns)


def _rows(order: Order, task: Task) -> ray.data.Dataset:
    if task.decode == "json":
        timed = partial(_timed, hourly=task.hourly)
        return _json(order).map_batches(timed, batch_format="pyarrow")
    lines = ray.data.read_text(order.paths)
    if task.decode == "access":
        return lines.map_batches(_access, batch_format="pyarrow")
    return lines


def run(order: Order) -> None:
    _rows(order, order.task).write_parquet(
        str(order.folder),
        partition_cols=["dt", "hour"] if order.task.hourly else None,
        compression=CODEC,
        row_group_size=order.group_rows,
    )


if __name__ == "__main__":
    ray.init(address="local", num_cpus=PROCESSES, include_dashboard=False)
    serve(run)
    ray.shutdown()
