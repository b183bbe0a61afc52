"""Serializer `avro_event`: events as Avro records of headers and body. Flume user guide, section
Flume Event Avro Event Serializer.
"""

from __future__ import annotations

from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.interfaces import Decoded
from rayflume.serializer import EMPTY, PLAIN, Encoder, Serializer, bodies, framed, joined
from rayflume.serializers._avro import (
    SYNC_INTERVAL_MAX,
    SYNC_INTERVAL_MIN,
    Codec,
    Container,
    varint,
)
from rayflume.serializers._headers import coded, header_values, sized
from rayflume.units import ByteSize

SCHEMA = (
    '{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":'
    '"string"}},{"name":"body","type":"bytes"}]}'
)
_NO_HEADERS = pa.scalar(varint(0), pa.binary())


@component
class AvroEvent(Component):
    """An Avro container file with a record `Event` for each event: `headers`, a map of strings, and
    `body`, bytes.
    """

    compression_codec: Codec = option("Compression of the blocks.", default="null")
    sync_interval_bytes: ByteSize = option(
        "A block ends with the record that brings it to so many bytes, as Avro counts them.",
        default=2_048_000,
        ge=SYNC_INTERVAL_MIN,
        le=SYNC_INTERVAL_MAX,
    )

    def build(self, context: Context) -> Serializer:
        return AvroEventSerializer(self.compression_codec, self.sync_interval_bytes)


class AvroEventSerializer:
    """A Serializer: a frame is one record in Avro's binary encoding."""

    schema = PLAIN
    apart: tuple[str, ...] = ()

    def __init__(self, codec: Codec, interval: int) -> None:
        self._codec: Codec = codec
        self._interval = interval

    def serialize(self, batch: EventBatch) -> Decoded:
        body = bodies(batch)
        return Decoded(framed(joined(_header_map(batch), sized(body, varint), body), body))

    def encoder(self, name: str, ingest_ms: int) -> Encoder:
        return Container(SCHEMA, self._codec, self._interval, name)


def _header_map(batch: EventBatch) -> pa.Array | pa.Scalar:
    """Avro's map of each row: how many, name and value of each, 0; of none the 0 alone."""
    pairs, there = [], []
    for name, values in header_values(batch):
        text = name.encode("utf-8", "surrogatepass")
        head = pa.scalar(varint(len(text)) + text, pa.binary())
        pairs.append(joined(head, sized(values, varint), values))
        there.append(pc.cast(pc.is_valid(values), pa.int32()))
    if not pairs:
        return _NO_HEADERS
    flat = pc.binary_join_element_wise(*pairs, EMPTY, null_handling="replace", null_replacement=b"")
    count = reduce(pc.add, there)
    if isinstance(count, pa.Scalar):
        return joined(pa.scalar(varint(count.as_py()), pa.binary()), flat, _NO_HEADERS)
    whole = joined(coded(count, varint), flat, _NO_HEADERS)
    return pc.if_else(pc.equal(count, 0), _NO_HEADERS, whole)
