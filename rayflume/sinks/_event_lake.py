"""What all deliveries of one sink of plain files share: a serializer, a codec and names on top of
the lake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.interfaces import Decoded
from rayflume.serializer import Serializer
from rayflume.sinks._bucket import LocalTime, TextPiece
from rayflume.sinks._codecs import FileCodec
from rayflume.sinks._event_file import VERSION, EventFile, Making
from rayflume.sinks._lake import Lake, OpenFile, Stage

_FRAME_BYTES_MAX = 1 << 30
_ROW_BYTES = 64


@dataclass(frozen=True)
class Apart:
    """A Template: one more name, of a column in which all events of a file are equal."""

    column: str

    @property
    def pieces(self) -> tuple[TextPiece, ...]:
        return (TextPiece(self.column, "field"),)

    def render(self, at: LocalTime | None, fields: Mapping[str, bytes | None]) -> str:
        return (fields[self.column] or b"").decode("ascii")


@dataclass(frozen=True, kw_only=True)
class EventLake(Lake):
    """Events as they are, in files of a serializer. Thread-safe.

    `roll_bytes`: bytes of bodies with which a file is full; 0: never.
    """

    serializer: Serializer
    codec: FileCodec | None = None
    roll_bytes: int = 0

    def decode(self, batch: EventBatch) -> tuple[int, pa.Schema, Decoded]:
        return VERSION, self.serializer.schema, self.serializer.serialize(batch)

    def decode_as(self, batch: EventBatch, version: int) -> tuple[pa.Schema, Decoded]:
        return self.serializer.schema, self.serializer.serialize(batch)

    def schema_of(self, version: int) -> pa.Schema | None:
        return self.serializer.schema

    def target(self, bucket: str, delivery: str, number: int, begun_ms: int) -> str:
        names = bucket.split("/")
        prefix = "/".join(names[: len(names) - len(self.serializer.apart)])
        return self.name(prefix, delivery, number, begun_ms)

    def rows_file(
        self, target: str, schema: pa.Schema, version: int, stage: Stage, begun_ms: int
    ) -> OpenFile:
        encoder = self.serializer.encoder(target, begun_ms)
        compressor = None if self.codec is None else self.codec.begin()
        return EventFile(target, Making(encoder, compressor, self.roll_bytes, stage))

    def rows_at_once(self, batch: EventBatch) -> int:
        """So many that headers which all events share do not make frames of over 2 GiB."""
        shared = sum(len(k) + len(v) for k, v in batch.headers.items() if isinstance(v, str))
        return max(1, _FRAME_BYTES_MAX // (_ROW_BYTES + 4 * shared))
