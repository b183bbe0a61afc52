"""Serializer `text`: the bodies. Flume user guide, section Body Text Serializer."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.interfaces import Decoded
from rayflume.serializer import PLAIN, Concatenated, Encoder, Serializer, bodies, framed, joined

NEWLINE = pa.scalar(b"\n", pa.binary())


@component
class Text(Component):
    """Each event's body, and a newline behind it. Headers are not written."""

    append_newline: bool = option("Write a newline behind each body.", default=True)

    def build(self, context: Context) -> Serializer:
        return TextSerializer(NEWLINE if self.append_newline else None)


class TextSerializer:
    """A Serializer: body and, if there is one, `end`."""

    schema = PLAIN
    apart: tuple[str, ...] = ()

    def __init__(self, end: pa.Scalar | None) -> None:
        self._end: Sequence[pa.Scalar] = () if end is None else (end,)

    def serialize(self, batch: EventBatch) -> Decoded:
        body = bodies(batch)
        return Decoded(framed(joined(body, *self._end) if self._end else body, body))

    def encoder(self, name: str, ingest_ms: int) -> Encoder:
        return Concatenated()
