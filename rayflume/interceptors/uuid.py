"""Interceptor `uuid`: a random identifier of its own for every event, as a header."""

from __future__ import annotations

import os
from typing import ClassVar

import numpy as np
import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.component import Component, component, option

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_PLACES = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])


@component
class Uuid(Component):
    """Write a random UUID (RFC 9562, version 4) into a header of every event.

    An event that is read again after a crash gets another one: to tell events apart that were
    delivered twice, let whoever makes them number them. Rows: out = in, same order. Raises:
    nothing.
    """

    timeless: ClassVar[bool] = True

    header_name: str = option("Header to write.", default="id", min_length=1, example="event_id")
    preserve_existing: bool = option(
        "Keep the value of events that have the header already.", default=True, example=False
    )
    prefix: str = option("Text before the UUID.", default="", example="web-")

    def headers_written(self) -> dict[str, bool]:
        return {self.header_name: False}

    def intercept(self, batch: EventBatch) -> EventBatch:
        made = uuids(batch.num_rows, self.prefix)
        return batch.with_header(self.header_name, made, preserve=self.preserve_existing)


def uuids(rows: int, prefix: str = "") -> pa.StringArray:
    """So many random UUIDs in their text form, each behind the prefix."""
    random = np.frombuffer(os.urandom(16 * rows), np.uint8).reshape(rows, 16).copy()
    random[:, 6] = random[:, 6] & 0x0F | 0x40  # version
    random[:, 8] = random[:, 8] & 0x3F | 0x80  # variant
    start = prefix.encode()
    text = np.full((rows, len(start) + 36), ord("-"), np.uint8)
    text[:, : len(start)] = np.frombuffer(start, np.uint8)
    digits = np.stack([_DIGITS[random >> 4], _DIGITS[random & 15]], axis=2).reshape(rows, 32)
    text[:, len(start) + _PLACES] = digits
    offsets = np.arange(rows + 1, dtype=np.int32) * (len(start) + 36)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))
