"""Spark reads, prunes, compacts and writes the tables that rayflume writes, and each row stays
once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import table_spark
from fakes import context
from table_spark import Spark

from rayflume.batch import EventBatch, Extent
from rayflume.component import lookup
from rayflume.interfaces import Manifest
from rayflume.sinks.parquet import ParquetSink

pytestmark = [pytest.mark.slow, pytest.mark.spark]
JOURNAL = "00aa11bb22cc33dd"
KINDS = ("delta", "iceberg")
T0_US = 1_763_820_000_123_456  # 2025-11-22 14:00:00.123456 UTC
SCHEMA = {"n": "int64", "at": "timestamp_us", "d": "decimal(6,2)"}
KEYS = ["a/b %", "å=1", None, "plain"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spark-tables")


@pytest.fixture(scope="module")
def spark(base: Path) -> Iterator[Spark]:
    reason = table_spark.missing()
    if reason and os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)
    catalog = {
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "jdbc",
        "spark.sql.catalog.lake.uri": f"jdbc:sqlite:{base}/catalog.db",
        "spark.sql.catalog.lake.warehouse": f"file://{base}/iceberg-warehouse",
        "spark.sql.catalog.lake.jdbc.schema-version": "V1",
        "spark.sql.catalog.lake.cache-enabled": "false",  # else a session sees what it saw before
        "spark.sql.session.timeZone": "America/New_York",
    }
    with table_spark.spark_session(base, **catalog) as found:
        yield found


class Lake:
    """A lake that is a table of one kind, and what is in it."""

    def __init__(self, base: Path, kind: str) -> None:
        self.base = base / kind
        self.base.mkdir(exist_ok=True)
        self.table = f"delta.`{self.base}/lake`"
        table: dict[str, object] = {"type": kind}
        if kind == "iceberg":
            uri = f"sqlite:///{base}/catalog.db"
            self.table = "lake.web.rows"
            table |= {"name": "web.rows", "catalog_name": "lake"}
            table["catalog"] = {"type": "sql", "uri": uri}
        options = {
            "path": str(self.base / "lake"),
            "format": {"type": "json", "schema": SCHEMA},
            "event_time": "at",
            "partition_by": ["hour=%H", "k=%{k}"],
            "table": table,
        }
        part = lookup("sink", "parquet").model_validate(options)
        self.sink: ParquetSink = part.build(context(self.base, "lake"))
        self.sink.open()
        self.manifests: list[Manifest] = []
        self.expected: list[dict[str, Any]] = []

    def deliver(self, number: int, more: list[dict[str, Any]]) -> None:
        """Rows with ids of their own; `more`: further fields of each."""
        bodies, headers = [], []
        for place, fields in enumerate(more):
            row, key = number * 100 + place, KEYS[place % len(KEYS)]
            at = T0_US + 3_600_000_000 * (place % 2) + place
            bodies.append(json.dumps({"n": row, "at": at, "d": row + 0.25, **fields}).encode())
            headers.append({} if key is None else {"k": key})
            stamp = f"2025-11-22 {14 + place % 2}:00:00.{123456 + place}"
            seen = {
                "n": row,
                "at": stamp,
                "d": f"{row}.25",
                "hour": str(14 + place % 2),
                "k": key,
                **fields,
            }
            self.expected.append(seen)
        batch = EventBatch.from_events(
            bodies, headers, (Extent("s", number * 100, number * 100 + len(more), len(more)),)
        )
        writer = self.sink.begin(f"{JOURNAL}-1-{number}")
        writer.write(batch, number * 100)
        manifest = writer.stage()
        assert manifest.dead == 0
        assert self.sink.publish(manifest) == []
        self.manifests.append(manifest)

    def publish_all_again(self) -> None:
        for manifest in self.manifests:
            assert self.sink.publish(manifest) == []

    def compact(self) -> int:
        assert self.sink._table is not None
        return self.sink._table._table.compact(1 << 30).removed


def check(spark: Spark, lake: Lake) -> None:
    """All rows once, with all values."""
    columns = spark.types(f"select * from {lake.table}")
    wanted = [name for name in ("s", "l") if name in columns]
    more = "".join(f", to_json(struct({name})) as {name}" for name in wanted)
    utc = "convert_timezone(current_timezone(), 'UTC', at)"  # whatever the session's zone is
    at = f"date_format({utc}, 'yyyy-MM-dd HH:mm:ss.SSSSSS')"
    found = spark.sql(
        f"select n, {at} as at, cast(d as string) as d, hour, k{more} from {lake.table} order by n"
    )
    for row in found:
        for name in wanted:
            row[name] = json.loads(row[name]).get(name)
    expected = [{**dict.fromkeys(wanted), **row} for row in sorted(lake.expected, key=key)]
    assert found == expected


def key(row: dict[str, Any]) -> int:
    return int(row["n"])


@pytest.mark.parametrize("kind", KINDS)
def test_spark_reads_prunes_compacts_and_nothing_is_doubled(
    kind: str, spark: Spark, base: Path
) -> None:
    lake = Lake(base, kind)
    lake.deliver(1, [{} for _ in range(8)])
    check(spark, lake)
    grown: list[dict[str, Any]] = [
        {"s": {"x": [{"y": 1}], "z": "å"}, "l": ["a", None]},
        {"s": {"x": [{"y": 2}, {"y": 3}]}},
        {"s": {"z": ""}, "l": []},
        {},
    ]
    lake.deliver(2, grown)
    lake.deliver(3, grown)
    check(spark, lake)
    assert spark.types(f"select n, at, hour, k, s, l from {lake.table}") == {
        "n": "bigint",
        "at": "timestamp",
        "hour": "string",
        "k": "string",
        "s": "struct<x:array<struct<y:bigint>>,z:string>",
        "l": "array<string>",
    }
    assert_pruned(spark, lake)
    assert lake.compact() > 0
    check(spark, lake)
    lake.publish_all_again()
    check(spark, lake)
    lake.deliver(4, grown)
    rewrite(spark, lake, kind)
    check(spark, lake)
    lake.publish_all_again()
    lake.deliver(5, grown)
    check(spark, lake)
    lake.sink.close()


def assert_pruned(spark: Spark, lake: Lake) -> None:
    """Only files of the partitions that were asked for are read."""
    files = spark.sql(f"select distinct input_file_name() as f from {lake.table} where k = 'plain'")
    assert files and all("/k=plain/" in row["f"] for row in files)
    [plan] = spark.sql(f"explain formatted select n from {lake.table} where k = 'plain'")
    assert "plain" in plan["plan"].partition("Filters")[2] or "k = plain" in plan["plan"]
    assert spark.sql(f"select n from {lake.table} where n > 100000") == []
    assert len(spark.sql(f"select n from {lake.table} where k is null")) == 4


def rewrite(spark: Spark, lake: Lake, kind: str) -> None:
    """Spark's own compaction, and its clean-up of what nothing references."""
    if kind == "delta":
        spark.sql(f"optimize {lake.table}")
        spark.sql("set spark.databricks.delta.retentionDurationCheck.enabled = false")
        spark.sql(f"vacuum {lake.table} retain 0 hours")
        return
    rewritten = spark.sql(
        "call lake.system.rewrite_data_files(table => 'web.rows', "
        "options => map('rewrite-all', 'true'))"
    )
    assert rewritten[0]["rewritten_data_files_count"] > 0
    spark.sql(
        "call lake.system.expire_snapshots(table => 'web.rows', "
        "older_than => timestamp '2100-01-01 00:00:00', retain_last => 1)"
    )
