"""A Delta table on a real name node and data node: two who publish everything at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable
from fakes import context
from hdfs_servers import Hdfs
from table_worlds import publish_from_two

from rayflume.component import lookup
from rayflume.sinks.parquet import ParquetSink

pytestmark = pytest.mark.hdfs
COUNT = 6


def made(path: str, base: Path) -> ParquetSink:
    options = {
        "path": path,
        "format": {"type": "json", "schema": {"n": "int64"}},
        "partition_by": ["k=%{k}"],
        "table": "delta",
    }
    part = lookup("sink", "parquet").model_validate(options)
    assert part.check(context(base, "lake")) == []
    sink: ParquetSink = part.build(context(base, "lake"))
    sink.open()
    return sink


def test_two_who_publish_everything_at_once(hdfs: Hdfs, tmp_path: Path) -> None:
    path = hdfs.lake()
    sinks = [made(path, tmp_path), made(path, tmp_path)]
    publish_from_two(sinks, COUNT)
    table = DeltaTable(path)
    assert sorted(table.to_pyarrow_table()["n"].to_pylist()) == list(range(1, COUNT + 1))
    assert sum(entry["operation"] == "WRITE" for entry in table.history()) == COUNT
    for sink in sinks:
        sink.close()
