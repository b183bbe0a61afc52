"""Museum, files in the lake: swarms of tiny files, wrong partitions, types nobody can read, rows
that one bad neighbour took along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from museum_lab import Lab, numbered

from rayflume import flow

HOUR = 3_600_000
T0 = 1_763_820_000_000  # 2025-11-22 14:00 UTC
BY_HOUR: dict[str, Any] = {
    "format": {"type": "json", "schema": {"n": "int64", "ts": "timestamp_ms"}},
    "event_time": "ts",
    "partition_by": ["dt=%Y-%m-%d", "hour=%H"],
}


def test_vector_18692_many_small_batches_make_one_file(tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#18692 (2,319 files an hour). A file was written per flushed
    batch and partition key, however large the configured batch was. In rayflume a file is open over
    all batches of a delivery, so 200 puts of one row are one file.
    """
    lab = Lab(tmp_path)
    for n in range(200):
        lab.put({"n": n})
    lab.deliver()
    assert len(lab.files()) == 1
    assert lab.rows() == list(range(200))


def test_bento_659_rows_of_one_batch_go_to_their_own_partitions(tmp_path: Path) -> None:
    """Reference: warpstreamlabs/bento#659. The path was evaluated once per batch, so that events
    landed in the partition of the batch's first one. rayflume groups rows by their own values, and
    every row of every file belongs where it lies.
    """
    lab = Lab(tmp_path)
    lab.put(*[{"n": n, "ts": T0 + n * HOUR // 4} for n in (0, 9, 4, 1, 8, 5, 2, 3, 7, 6)])
    lab.deliver(lab.lane(**BY_HOUR))
    found = {path.rpartition("/")[0]: table["n"].to_pylist() for path, table in lab.files().items()}
    day = "dt=2025-11-22/hour="
    assert {place: sorted(rows) for place, rows in found.items()} == {
        f"{day}14": [0, 1, 2, 3],
        f"{day}15": [4, 5, 6, 7],
        f"{day}16": [8, 9],
    }


def test_otel_45691_the_partition_is_the_events_time_not_the_uploads(tmp_path: Path) -> None:
    """Reference: open-telemetry/opentelemetry-collector-contrib#45691. Objects were put under the
    time of their upload, so late data was in the wrong hour. rayflume takes the event's own time,
    and a row that has none goes to the dead letters instead of under some clock's time.
    """
    lab = Lab(tmp_path)
    lab.clock.jump(400 * 24 * HOUR)
    lab.put({"n": 1, "ts": T0}, {"n": 2})
    lab.deliver(lab.lane(**BY_HOUR))
    assert [path.rpartition("/")[0] for path in lab.files()] == ["dt=2025-11-22/hour=14"]
    assert [row["body"] for row in lab.dead()] == [b'{"n": 2}']


def test_kafka_connect_s3_144_time_rotation_needs_no_new_row(tmp_path: Path) -> None:
    """Reference: confluentinc/kafka-connect-storage-cloud#144. Rotation by time was looked at only
    when another record came, so the last data of a quiet source stayed invisible for hours. In
    rayflume a delivery ends by the clock alone.
    """
    lab = Lab(tmp_path)
    lane = lab.lane(roll={"age": "10s"})
    lab.put(*numbered(range(3)))
    flow.drain(lane, 0)
    lab.clock.advance(10_000)
    flow.drain(lane, 0)
    [delivery] = lane.closing
    flow.finish(lane, delivery)
    assert lab.rows() == [0, 1, 2]


def test_kafka_connect_s3_66_two_schemas_in_turns_are_no_storm_of_files(tmp_path: Path) -> None:
    """Reference: confluentinc/kafka-connect-storage-cloud#66. Records of two schema versions in
    turns closed a file at each change, giving files of one to three rows. In rayflume the file has
    all columns seen so far, and an older row has nulls in the newer ones.
    """
    lab = Lab(tmp_path)
    for n in range(100):
        lab.put({"n": n} if n % 2 else {"n": n, "added": n})
    lab.deliver()
    assert len(lab.files()) <= 2
    assert lab.rows() == list(range(100))


def test_spark_40819_timestamps_are_those_that_spark_reads(tmp_path: Path) -> None:
    """Reference: SPARK-40819 (apache/spark#38312). Writers made TIMESTAMP(NANOS), and Spark failed
    on the whole table. rayflume writes timestamps in microseconds and UTC, and nothing unsigned,
    whatever unit the events use.
    """
    kinds = {f"t_{unit}": f"timestamp_{unit}" for unit in ("s", "ms", "us")} | {"t": "timestamp"}
    lab = Lab(tmp_path)
    lab.put({"t_s": 1, "t_ms": 1, "t_us": 1, "t": "2025-11-22T14:00:00.123456789Z"})
    lab.put({"t_s": 2, "t_ms": 2, "t_us": 2, "t": "2025-11-22T14:00:00Z"})
    lab.deliver(lab.lane(format={"type": "json", "schema": kinds}))
    [table] = lab.files().values()
    assert {field.type for field in table.schema} == {pa.timestamp("us", "UTC")}
    assert table.num_rows + len(lab.dead()) == 2 and table.num_rows >= 1


def test_dlt_1807_new_fields_and_null_columns_are_kept(tmp_path: Path) -> None:
    """Reference: dlt-hub/dlt#1807; delta-io/delta-rs#3891. A column that was null at first got no
    type or a wrong one, and fields that came later were dropped without a word. In rayflume a field
    becomes a column when its first value comes, and keeps its type from then on.
    """
    lab = Lab(tmp_path)
    lane = lab.lane(format={"type": "json"})
    lab.put({"n": 1, "later": None}, {"n": 2, "later": None})
    lab.deliver(lane)
    lab.put({"n": 3, "later": "here", "new": 1.5})
    lab.deliver(lane)
    first, second = lab.files().values()
    assert first.schema.names == ["n"]
    assert second.to_pylist() == [{"n": 3, "later": "here", "new": 1.5}]


def test_kafka_connect_s3_259_one_bad_record_stops_nobody(tmp_path: Path) -> None:
    """Reference: confluentinc/kafka-connect-storage-cloud#259; apache/iceberg#15032. One record
    that could not be converted killed the task, again after each restart, until a human stepped
    over it. In rayflume it goes to the dead letters whole, with its reason and its place.
    """
    lab = Lab(tmp_path)
    lab.put({"n": 1}, b"not json at all", {"n": "text"}, {"n": 2})
    lab.deliver()
    assert lab.rows() == [1, 2]
    dead = lab.dead()
    assert [(row["body"], row["position"], row["stream"]) for row in dead] == [
        (b"not json at all", 1, "s"),
        (b'{"n": "text"}', 2, "s"),
    ]
    assert "JSON object" in dead[0]["reason"] and "column n" in dead[1]["reason"]


def test_iceberg_connect_152_dead_letters_cover_the_sinks_own_steps(tmp_path: Path) -> None:
    """Reference: databricks/iceberg-kafka-connect#152. The dead letter queue covered the converter
    alone; a record that failed while it was partitioned or written still killed the task. In
    rayflume all steps behind the channel share it, and rows in = rows in the lake + dead letters.
    """
    lab = Lab(tmp_path)
    times: list[object] = [T0, None, -(2**62), "soon", T0 + 1]
    lab.put(*[{"n": n, "ts": time} for n, time in enumerate(times)])
    lab.deliver(lab.lane(**BY_HOUR))
    assert lab.rows() == [0, 4]
    assert len(lab.dead()) == 3 and all(row["reason"] for row in lab.dead())


def test_kafka_connect_s3_177_many_partitions_share_one_budget(tmp_path: Path) -> None:
    """Reference: confluentinc/kafka-connect-storage-cloud#177 and #29. Each open partition held a
    part buffer of its own, so memory was part size times partitions, and the task died of it again
    after each start. In rayflume all open files share `buffer_bytes`; above it the largest are
    written out.
    """
    lab = Lab(tmp_path)
    lane = lab.lane(
        format={"type": "json", "schema": {"n": "int64", "p": "int64", "x": "string"}},
        partition_by=["part=%{p}"],
        buffer_bytes="1MiB",
    )
    for n in range(0, 4_000, 400):
        lab.put(*[{"n": i, "p": i % 200, "x": "x" * 1_000} for i in range(n, n + 400)])
    lane.take_bytes = 100_000
    held = 0
    lab.channel.drain(True)
    while not lane.closing:
        flow.drain(lane, 0)
        opened = lane.open or lane.closing[0]
        files = getattr(opened.writer, "_open", {})
        held = max(held, sum(file.buffered for file in files.values()))
    flow.finish(lane, lane.closing[0])
    # One batch more than the budget at most.
    assert 500_000 < held <= 2**20 + 1_200_000
    assert len(lab.files()) == 200 and lab.rows() == list(range(4_000))


def test_kafka_connect_hdfs_53_no_file_is_seen_half_written(tmp_path: Path) -> None:
    """Reference: confluentinc/kafka-connect-hdfs#53; apache/logging-flume#127 (FLUME-3080).
    Temporary files beside the data were never renamed, or read as data. In rayflume nothing of a
    delivery is visible before all of it is at the store and prepared.
    """
    lab = Lab(tmp_path)
    lane = lab.lane(row_group_bytes=1024, partition_by=["part=%{n}"])
    lab.put(*numbered(range(20)))
    lab.fill(lane)
    assert lane.closing[0].writer is not None
    lane.closing[0].writer.stage()
    assert not lab.files() and lab.store.uploads
    flow.finish(lane, lane.closing[0])
    assert lab.rows() == list(range(20))
