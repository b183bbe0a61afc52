"""Serializer `header_and_text`: the headers, then the body, as text."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.interfaces import Decoded
from rayflume.serializer import (
    EMPTY,
    PLAIN,
    Concatenated,
    Encoder,
    Serializer,
    bodies,
    framed,
    joined,
)
from rayflume.serializers._headers import header_values
from rayflume.serializers.text import NEWLINE

_OPEN, _CLOSE = (pa.scalar(text, pa.binary()) for text in (b"{", b"} "))


@component
class HeaderAndText(Component):
    """`{name=value, name=value} ` and the body of each event, and a newline behind it. Names are in
    order; Flume writes them in the order of a Java hash map.
    """

    append_newline: bool = option("Write a newline behind each event.", default=True)

    def build(self, context: Context) -> Serializer:
        return HeaderAndTextSerializer(NEWLINE if self.append_newline else None)


class HeaderAndTextSerializer:
    """A Serializer: headers as Java writes a map, a blank, the body and, if there is one, `end`."""

    schema = PLAIN
    apart: tuple[str, ...] = ()

    def __init__(self, end: pa.Scalar | None) -> None:
        self._end: Sequence[pa.Scalar] = () if end is None else (end,)

    def serialize(self, batch: EventBatch) -> Decoded:
        body = bodies(batch)
        pairs = [
            joined(pa.scalar(f", {name}=".encode("utf-8", "surrogatepass"), pa.binary()), values)
            for name, values in header_values(batch)
        ]
        shown = pa.scalar(b"", pa.binary())
        if pairs:
            # Arrow 26 forgets rows without any piece if nulls are skipped.
            shown = pc.binary_join_element_wise(
                *pairs, EMPTY, null_handling="replace", null_replacement=b""
            )
            shown = pc.binary_replace_slice(shown, 0, 2, b"")
        return Decoded(framed(joined(_OPEN, shown, _CLOSE, body, *self._end), body))

    def encoder(self, name: str, ingest_ms: int) -> Encoder:
        return Concatenated()
