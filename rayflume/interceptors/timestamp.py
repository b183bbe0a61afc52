"""Interceptor `timestamp`: when the batch was read, as a header."""

from __future__ import annotations

from dataclasses import dataclass

from rayflume.batch import EventBatch
from rayflume.clock import Clock
from rayflume.component import Component, Context, component, option


@component
class Timestamp(Component):
    """Write the present time in milliseconds since 1970 into a header of every event.

    All events of a batch get the same time. Rows: out = in, same order. Raises: nothing.
    """

    header_name: str = option(
        "Header to write.", default="timestamp", min_length=1, example="read_at"
    )
    preserve_existing: bool = option(
        "Keep the value of events that have the header already.", default=False, example=True
    )

    def headers_written(self) -> dict[str, bool]:
        return {self.header_name: False}

    def build(self, context: Context) -> TimestampInterceptor:
        return TimestampInterceptor(self, context.clock)


@dataclass(frozen=True)
class TimestampInterceptor:
    """One reading of the clock per batch."""

    options: Timestamp
    clock: Clock

    def intercept(self, batch: EventBatch) -> EventBatch:
        now = str(self.clock.now_ms())
        name, preserve = self.options.header_name, self.options.preserve_existing
        return batch.with_header(name, now, preserve=preserve)
