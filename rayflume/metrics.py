"""All metrics as a table, and the recorder that refuses any other name.

Names are Flume's where Flume has one. Counters only grow within one life of a part; gauges are the
present value.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

Name = Literal[
    "EventReceivedCount",
    "EventAcceptedCount",
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
    "EventSkippedCount",
    "EventDamagedCount",
    "OldestEventAgeMs",
    "BatchEmptyCount",
    "BatchCompleteCount",
    "EventDrainAttemptCount",
    "EventDrainSuccessCount",
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
    "AppendBatchReceivedCount": Metric("counter", "batches", "batches a source made"),
    "AppendBatchAcceptedCount": Metric("counter", "batches", "batches all required channels took"),
    "EventReadFail": Metric("counter", "errors", "failed reads of a source"),
    "ChannelWriteFail": Metric("counter", "errors", "puts that were answered with full or closed"),
    "GenericProcessingFail": Metric("counter", "errors", "other failures of a source"),
    "OpenConnectionCount": Metric("gauge", "connections", "open connections of a server source"),
    "BytesReceivedCount": Metric("counter", "bytes", "bytes a source read"),
    "EventFilteredCount": Metric("counter", "rows", "rows that interceptors dropped"),
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
    "EventSkippedCount": Metric("counter", "rows", "rows an optional channel did not get"),
    "EventDamagedCount": Metric("counter", "rows", "rows lost to damage of the journal's files"),
    "OldestEventAgeMs": Metric("gauge", "ms", "age of the oldest row that is not committed"),
    "BatchEmptyCount": Metric("counter", "takes", "takes that found nothing"),
    "BatchCompleteCount": Metric("counter", "takes", "takes that found rows"),
    "EventDrainAttemptCount": Metric("counter", "rows", "rows a sink took"),
    "EventDrainSuccessCount": Metric(
        "counter", "rows", "rows a sink committed, dead letters included"
    ),
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
}


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
