"""Spark Structured Streaming: files of a folder, all that is available now, into Parquet.

One session with two local threads. The writer of a partitioned lake keeps its files open side by
side, so that Spark need not sort the rows by partition first.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from bench.settings import CODEC, PROCESSES, ROW_GROUP_BYTES
from bench.tasks import Task
from bench.workers.serve import Order, serve
from rayflume.formats import combined_log

_TYPES = {
    "int64": "BIGINT",
    "string": "STRING",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "timestamp_ms": "BIGINT",
}
# The groups go by number: Java's names know no underscore.
_LINE = re.sub(r"\?P<\w+>", "", combined_log._LINE)
_REQUEST = re.sub(r"\?P<\w+>", "", combined_log._REQUEST)


def session() -> SparkSession:
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "4g",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": PROCESSES,
        "spark.sql.parquet.compression.codec": CODEC,
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.maxConcurrentOutputFileWriters": 64,
        "spark.sql.streaming.metricsEnabled": "false",
    }
    builder = SparkSession.builder.master(f"local[{PROCESSES}]").appName("bench")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def _json(spark: SparkSession, task: Task, folder: str) -> DataFrame:
    schema = ", ".join(f"{name} {_TYPES[kind]}" for name, kind in task.schema.items())
    rows = spark.readStream.schema(schema).json(folder)
    rows = rows.withColumn("ts", f.timestamp_millis("ts"))
    if task.hourly:
        rows = rows.withColumn("dt", f.date_format("ts", "yyyy-MM-dd"))
        rows = rows.withColumn("hour", f.date_format("ts", "HH"))
    return rows


def _access(spark: SparkSession, folder: str) -> DataFrame:
    lines = spark.readStream.text(folder)

    def group(number: int) -> Column:
        return f.regexp_extract("value", _LINE, number)

    names = list(re.compile(combined_log._LINE).groupindex)
    columns = {name: group(number) for number, name in enumerate(names, start=1)}
    for number, name in enumerate(re.compile(combined_log._REQUEST).groupindex, start=1):
        columns[name] = f.regexp_extract("request", _REQUEST, number)
    parts = ("method", "path", "protocol")
    rows = lines.select(*(column.alias(n) for n, column in columns.items() if n not in parts))
    rows = rows.select("*", *(columns[name].alias(name) for name in parts))
    for name in ("host", "ident", "user", "status", "bytes", "referrer", "user_agent"):
        rows = rows.withColumn(name, f.nullif(f.col(name), f.lit("-")))
    return rows.select(
        "host", "ident", "user",
        f.to_timestamp("time", "dd/MMM/yyyy:HH:mm:ss Z").alias("time"),
        *parts, "request",
        f.col("status").cast("int"), f.col("bytes").cast("bigint"), "referrer", "user_agent",
    )  # fmt: skip


def _rows(spark: SparkSession, task: Task, folder: str) -> DataFrame:
    if task.decode == "json":
        return _json(spark, task, folder)
    if task.decode == "access":
        return _access(spark, folder)
    return spark.readStream.text(folder)


def main() -> None:
    spark = session()

    def run(order: Order) -> None:
        # An order names all files of a folder, beside which stands only a name that Spark skips.
        folder = str(Path(order.paths[0]).parent)
        writer = (
            _rows(spark, order.task, folder)
            .writeStream.format("parquet")
            .trigger(availableNow=True)
            .option("checkpointLocation", f"{order.folder}/_checkpoint")
            .option("path", f"{order.folder}/rows")
            .option("parquet.block.size", ROW_GROUP_BYTES)
        )
        if order.task.hourly:
            writer = writer.partitionBy("dt", "hour")
        query = writer.start()
        query.awaitTermination()
        if error := query.exception():
            raise error
        shutil.rmtree(f"{order.folder}/_checkpoint")

    serve(run)
    spark.stop()


if __name__ == "__main__":
    main()
