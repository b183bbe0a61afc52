"""What the sinks `hdfs` and `file_roll` have in common: how their lakes of plain files are made."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from rayflume.component import Context, option
from rayflume.file_metadata import AGENT, SINK
from rayflume.interfaces import DeliveryLimits, Storage
from rayflume.serializer import Serializer
from rayflume.sinks._bucket import Buckets
from rayflume.sinks._budget import Budget
from rayflume.sinks._codecs import FileCodec
from rayflume.sinks._encoding import Columns, Encoding
from rayflume.sinks._event_lake import Apart, EventLake
from rayflume.sinks._files import FileSettings
from rayflume.sinks._lake import DeadLetterLimit, Name, RollSettings
from rayflume.sinks._path import HOST_FIELDS, host_values
from rayflume.sinks._sink import uploads_max
from rayflume.sinks._split import Splitter
from rayflume.units import ByteSize, Millis

MIB = 1 << 20
FILES_MAX = 1000
"""Files that rolling by bytes or rows makes in one delivery, about: all are told in its record."""


class EventRoll(BaseModel):
    """When files of events end. 0 switches a rule off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: ByteSize = option(
        "Bytes of bodies, before serializer and compression, with which a file ends: with the "
        "event that reaches it, as Flume counts.",
        default=128 * MIB,
        example="128MiB",
    )
    rows: int = option("Events after which a file ends, exactly.", default=0, ge=0)
    age: Millis = option(
        "Time after its first event after which a delivery ends, and all its files with it: only "
        "then are they visible.",
        default=300_000,
        example="5min",
    )
    idle: Millis = option("Time without a new event after which a delivery ends.", default=0)


@dataclass(frozen=True)
class Making:
    """How files of events are made and named. `codec`: of whole files. `buffer_bytes`: that all
    open files may hold together. `lake`: its path, for people.
    """

    serializer: Serializer
    buckets: Buckets
    name: Name
    codec: FileCodec | None = None
    local_time: bool = False
    buffer_bytes: int = 192 * MIB
    max_open_files: int = 5000
    lake: str = ""


def limits_of(roll: EventRoll, delivery_bytes: int, files: int = FILES_MAX) -> DeliveryLimits:
    """When a delivery ends: also when so many files of it are full."""
    size = min(delivery_bytes, roll.bytes * files or delivery_bytes)
    return DeliveryLimits(size, roll.rows * files, roll.age, roll.idle)


def splitter_of(buckets: Buckets, local_time: bool) -> Splitter:
    """The splitter for path escapes; host names are found here, once."""
    used = [name for name in HOST_FIELDS if name in buckets.fields]
    constants = {name: host_values()[name] for name in used}
    return Splitter(buckets, local_time=local_time, constants=constants)


def event_lake(making: Making, roll: EventRoll, storage: Storage, context: Context) -> EventLake:
    """All that deliveries of such a sink share."""
    metadata = {AGENT: context.agent, SINK: context.part}
    dead = FileSettings(Encoding("snappy", None, MIB, (), Columns()), 16 * MIB, 0, 0, metadata)
    return EventLake(
        context=context,
        storage=storage,
        splitter=splitter_of(making.buckets, making.local_time),
        name=making.name,
        files=dead,
        roll=RollSettings(roll.rows, making.max_open_files, uploads_max()),
        budget=Budget(making.buffer_bytes, context.metrics),
        limit=DeadLetterLimit(0, making.lake),
        serializer=making.serializer,
        codec=making.codec,
        roll_bytes=roll.bytes,
    )


def apart(serializer: Serializer) -> list[Apart]:
    """Templates behind those of the path: what else files are divided by."""
    return [Apart(column) for column in serializer.apart]
