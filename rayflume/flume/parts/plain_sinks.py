"""The sinks `logger` and `null`. Flume user guide, sections Logger Sink and Null Sink."""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop, Severity
from rayflume.flume.readers import whole


def _count(value: str) -> int:
    """0 for what Flume takes for never."""
    return max(0, whole(value))


PARTS = (
    FlumePart(
        kind="sink",
        types=("logger",),
        java_class="org.apache.flume.sink.LoggerSink",
        type="logger",
        props=(
            Prop(
                "maxBytesToLog",
                "16",
                "max_bytes_to_log",
                whole,
                lenient=True,
                why="honoured; Flume 1.11 reads it but always shows 16",
            ),
        ),
    ),
    FlumePart(
        kind="sink",
        types=("null",),
        java_class="org.apache.flume.sink.NullSink",
        type="null",
        batch="batchSize",
        props=(
            Prop(
                "batchSize",
                "100",
                why="rows are taken in batches of bytes; remove it",
                severity=Severity.NOTE,
            ),
            Prop("logEveryNEvents", "10000", "log_every_n_events", _count),
        ),
    ),
)
