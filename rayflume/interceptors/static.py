"""Interceptor `static`: one constant header."""

from __future__ import annotations

from rayflume.batch import EventBatch
from rayflume.component import Component, component, option


@component
class Static(Component):
    """Write one constant header into every event.

    Rows: out = in, same order. Raises: nothing.
    """

    key: str = option("Header to write.", default="key", min_length=1, example="datacenter")
    value: str = option("Value that the events receive.", default="value", example="oslo")
    preserve_existing: bool = option(
        "Keep the value of events that have the header already.", default=True, example=False
    )

    def headers_written(self) -> dict[str, bool]:
        return {} if self.preserve_existing else {self.key: True}

    def intercept(self, batch: EventBatch) -> EventBatch:
        return batch.with_header(self.key, self.value, preserve=self.preserve_existing)
