"""All metrics as a table, and the recorder that refuses any other name.

Names are Flume's where Flume has one (its user guide, section "Available Component Metrics").
Counters only grow within one life of a part; gauges are the present value.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

Name = Literal[
    "EventReceivedCount",
    "EventAcceptedCount",
    "AppendReceivedCount",
    "AppendAcceptedCount",
    "AppendBatchReceivedCount",
    "AppendBatchAcceptedCount",
    "EventReadFail",
    "ChannelWriteFail",
    "GenericProcessingFail",
    "OpenConnectionCount",
    "BytesReceivedCount",
    "EventFilteredCount",
    "RequestRejectedCount",
    "DatagramDroppedCount",
    "ChannelSize",
    "ChannelCapacity",
    "ChannelFillPercentage",
    "ChannelBytes",
    "EventPutAttemptCount",
    "EventPutSuccessCount",
    "EventTakeAttemptCount",
    "EventTakeSuccessCount",
    "EventPutErrorCount",
    "EventTakeErrorCount",
    "CheckpointWriteErrorCount",
    "CheckpointBackupWriteErrorCount",
    "Open",
    "Closed",
    "Unhealthy",
    "EventSkippedCount",
    "EventDamagedCount",
    "OldestEventAgeMs",
    "BatchEmptyCount",
    "BatchUnderflowCount",
    "BatchCompleteCount",
    "ConnectionCreatedCount",
    "ConnectionClosedCount",
    "ConnectionFailedCount",
    "EventDrainAttemptCount",
    "EventDrainSuccessCount",
    "EventWriteFail",
    "ChannelReadFail",
    "EventDeadLetterCount",
    "EventLateCount",
    "PartitionCompletedCount",
    "EventAfterMarkerCount",
    "WatermarkMs",
    "FileCommittedCount",
    "BytesCommittedCount",
    "BytesDrainedCount",
    "DeliveryCommittedCount",
    "DeliveryRetryCount",
    "OpenFileCount",
    "BufferedBytes",
    "FileFillPercentage",
    "EventTimeLagMs",
    "StartTime",
    "StopTime",
]


@dataclass(frozen=True)
class Metric:
    """What one metric means."""

    kind: Literal["counter", "gauge"]
    unit: str
    meaning: str


METRICS: dict[Name, Metric] = {
    "EventReceivedCount": Metric("counter", "rows", "rows a source read"),
    "EventAcceptedCount": Metric("counter", "rows", "rows durable in every required channel"),
    "AppendReceivedCount": Metric("counter", "calls", "calls with one event, of RPC sources"),
    "AppendAcceptedCount": Metric("counter", "calls", "those of them that were acknowledged"),
    "AppendBatchReceivedCount": Metric("counter", "batches", "batches a source made"),
    "AppendBatchAcceptedCount": Metric("counter", "batches", "batches all required channels took"),
    "EventReadFail": Metric("counter", "errors", "failed reads of a source"),
    "ChannelWriteFail": Metric("counter", "errors", "puts that were answered with full or closed"),
    "GenericProcessingFail": Metric("counter", "errors", "other failures of a source"),
    "OpenConnectionCount": Metric("gauge", "connections", "open connections of a server source"),
    "BytesReceivedCount": Metric("counter", "bytes", "bytes a source read"),
    "EventFilteredCount": Metric(
        "counter", "rows", "rows that interceptors dropped, or that a selector has no channel for"
    ),
    "RequestRejectedCount": Metric(
        "counter", "requests", "requests answered with a 4xx or 5xx status"
    ),
    "DatagramDroppedCount": Metric(
        "counter", "datagrams", "datagrams the kernel dropped before a source read them"
    ),
    "ChannelSize": Metric("gauge", "rows", "rows in the channel that are not committed"),
    "ChannelCapacity": Metric("gauge", "rows", "rows the channel may hold"),
    "ChannelFillPercentage": Metric(
        "gauge", "percent", "the fuller of rows and bytes against capacity"
    ),
    "ChannelBytes": Metric("gauge", "bytes", "bytes in the channel that are not committed"),
    "EventPutAttemptCount": Metric("counter", "rows", "rows offered to the channel"),
    "EventPutSuccessCount": Metric("counter", "rows", "rows the channel stored"),
    "EventTakeAttemptCount": Metric("counter", "takes", "takes, also those that found nothing"),
    "EventTakeSuccessCount": Metric("counter", "rows", "rows whose delivery was committed"),
    "EventPutErrorCount": Metric("counter", "errors", "puts that the journal failed"),
    "EventTakeErrorCount": Metric("counter", "errors", "takes that the journal failed"),
    "CheckpointWriteErrorCount": Metric("counter", "errors", "snapshots that could not be written"),
    "CheckpointBackupWriteErrorCount": Metric("counter", "errors", "always 0: there is no backup"),
    "Open": Metric("gauge", "flag", "1 while the channel is open"),
    "Closed": Metric("gauge", "flag", "1 while it is not"),
    "Unhealthy": Metric("gauge", "flag", "1 when it has failed or something in it is damaged"),
    "EventSkippedCount": Metric("counter", "rows", "rows an optional channel did not get"),
    "EventDamagedCount": Metric("counter", "rows", "rows lost to damage of the journal's files"),
    "OldestEventAgeMs": Metric("gauge", "ms", "age of the oldest row that is not committed"),
    "BatchEmptyCount": Metric("counter", "takes", "takes that found nothing"),
    "BatchUnderflowCount": Metric("counter", "takes", "takes that found less than was asked for"),
    "BatchCompleteCount": Metric("counter", "takes", "takes that found all that was asked for"),
    "ConnectionCreatedCount": Metric("counter", "times", "times a sink opened its target"),
    "ConnectionClosedCount": Metric("counter", "times", "times a sink closed its target"),
    "ConnectionFailedCount": Metric("counter", "times", "times it could not be opened"),
    "EventDrainAttemptCount": Metric("counter", "rows", "rows a sink took"),
    "EventDrainSuccessCount": Metric(
        "counter", "rows", "rows a sink committed, dead letters included"
    ),
    "EventWriteFail": Metric("counter", "errors", "deliveries that the target did not take"),
    "ChannelReadFail": Metric("counter", "errors", "takes that the channel did not answer"),
    "EventDeadLetterCount": Metric("counter", "rows", "rows committed to the dead letters"),
    "EventLateCount": Metric("counter", "rows", "rows without event time that got the ingest time"),
    "PartitionCompletedCount": Metric("counter", "partitions", "partitions marked as complete"),
    "EventAfterMarkerCount": Metric(
        "counter", "rows", "rows that came after their partition was marked as complete"
    ),
    "WatermarkMs": Metric(
        "gauge", "ms", "event time, since 1970 UTC, that all sources have passed in the lake"
    ),
    "FileCommittedCount": Metric("counter", "files", "lake files committed"),
    "BytesCommittedCount": Metric("counter", "bytes", "bytes of committed lake files"),
    "BytesDrainedCount": Metric("counter", "bytes", "body bytes a sink took"),
    "DeliveryCommittedCount": Metric("counter", "deliveries", "deliveries committed"),
    "DeliveryRetryCount": Metric(
        "counter", "retries", "failed steps of a delivery that were tried again"
    ),
    "OpenFileCount": Metric("gauge", "files", "lake files being written"),
    "BufferedBytes": Metric("gauge", "bytes", "decoded bytes a sink holds in memory"),
    "FileFillPercentage": Metric(
        "gauge", "percent", "mean size of the newest delivery's files against roll.bytes"
    ),
    "EventTimeLagMs": Metric(
        "gauge", "ms", "the clock against the newest event time of the newest delivery"
    ),
    "StartTime": Metric("gauge", "ms", "when this life of the part began, since 1970 UTC"),
    "StopTime": Metric("gauge", "ms", "when it ended, 0 while it runs"),
}

FLUME: dict[str, tuple[Name, ...]] = {
    "source": (
        "EventReceivedCount", "EventAcceptedCount", "AppendReceivedCount", "AppendAcceptedCount",
        "AppendBatchReceivedCount", "AppendBatchAcceptedCount", "OpenConnectionCount",
        "EventReadFail", "ChannelWriteFail", "GenericProcessingFail",
    ),
    "channel": (
        "ChannelSize", "ChannelCapacity", "ChannelFillPercentage", "EventPutAttemptCount",
        "EventPutSuccessCount", "EventTakeAttemptCount", "EventTakeSuccessCount",
    ),
    "file channel": (
        "Open", "Closed", "Unhealthy", "EventPutErrorCount", "EventTakeErrorCount",
        "CheckpointWriteErrorCount", "CheckpointBackupWriteErrorCount",
    ),
    "sink": (
        "ConnectionCreatedCount", "ConnectionClosedCount", "ConnectionFailedCount",
        "BatchEmptyCount", "BatchUnderflowCount", "BatchCompleteCount", "EventDrainAttemptCount",
        "EventDrainSuccessCount", "EventWriteFail", "ChannelReadFail",
    ),
}  # fmt: skip
"""What Flume shows of a kind of part, also what stays 0. A file channel has both channel sets."""


class Metrics:
    """Counts of one part. Thread-safe; nothing here is called per row."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, name: Name, count: int = 1) -> None:
        """Let a counter grow by `count`."""
        if METRICS[name].kind != "counter":
            raise TypeError(f"{name} is a gauge: use set")
        with self._lock:
            self._values[name] = self._values.get(name, 0) + count

    def set(self, name: Name, value: int) -> None:
        """Set a gauge to its present value."""
        if METRICS[name].kind != "gauge":
            raise TypeError(f"{name} is a counter: use add")
        with self._lock:
            self._values[name] = value

    def snapshot(self) -> dict[str, int]:
        """Name -> value of every metric this part has touched."""
        with self._lock:
            return dict(self._values)
