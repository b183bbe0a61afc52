"""The sink `file_roll`: events as they are, in files of one local directory, which a timer ends.
Flume user guide, section File Roll Sink.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal, cast

from pydantic import field_validator

from rayflume.clock import EPOCH
from rayflume.component import LOCAL_PATH, Component, Context, component, lookup, nested, option
from rayflume.directories import unwritable
from rayflume.errors import RayflumeError
from rayflume.interfaces import Storage
from rayflume.lake import shown_path, storage_for, storage_type
from rayflume.naming import event_name
from rayflume.serializer import Serializer
from rayflume.sinks._bucket import Buckets
from rayflume.sinks._events import MIB, EventRoll, Making, apart, event_lake, limits_of
from rayflume.sinks._sink import LakeSink
from rayflume.units import ByteSize, TimeZone, zone_of

_NAME_BYTES_MAX = 100
_EXAMPLE_DELIVERY = "0123456789abcdef-1-1"


@component
class FileRoll(Component):
    """Writes events into files of a local directory, each event exactly once.

    Files are named `<prefix><time>-<delivery>-<n>[.<extension>]`, where time is when their delivery
    began: so no two have one name, and none is ever overwritten. They appear whole when their
    delivery is committed; what is being written lies in `_rayflume` of the directory. Without
    events there are no files, where Flume makes empty ones.
    """

    staged: ClassVar[bool] = True

    directory: str = option(
        "Where the files go; it is made if it does not exist.",
        example="/var/lib/rayflume/out",
        min_length=1,
        json_schema_extra=LOCAL_PATH,
    )
    path_manager: Literal["default", "rolltime"] = option(
        "The time in file names: `default` milliseconds since 1970, `rolltime` yyyyMMddHHmmss in "
        "`time_zone`.",
        default="default",
    )
    prefix: str = option("What file names begin with.", default="", example="web-")
    extension: str = option("Extension of file names, without a dot.", default="", example="log")
    time_zone: TimeZone = option("Zone of `rolltime`.", default="UTC")
    roll: EventRoll = option("When files end.", factory=EventRoll)
    serializer: Annotated[Component, nested("serializer")] = option(
        "How events become bytes: a serializer's type and its options. Default: text.",
        factory=lambda: lookup("serializer", "text")(),
        example={"type": "text"},
    )
    delivery_bytes: ByteSize = option(
        "Body bytes after which a delivery ends.", default=1024 * MIB, ge=1
    )

    @field_validator("directory")
    @classmethod
    def _is_local(cls, value: str) -> str:
        if storage_type(value) != "local":
            raise ValueError("name a local directory; the sink `hdfs` writes to other storages")
        return value

    @field_validator("prefix", "extension")
    @classmethod
    def _is_part_of_a_name(cls, value: str) -> str:
        bad = any(char in "/\\" or not char.isprintable() for char in value)
        if bad or len(value.encode()) > _NAME_BYTES_MAX or value.startswith("_rayflume"):
            raise ValueError(f"write up to {_NAME_BYTES_MAX} bytes of a file name, without `/`")
        event_name(f"{value}1-", _EXAMPLE_DELIVERY, 0, f".{value}")
        return value

    @property
    def lake_path(self) -> str:
        """Where the lake begins, and dead letters lie."""
        return self.directory

    def check(self, context: Context) -> list[str]:
        """Wrong options of the serializer, and a directory that cannot be made or written."""
        try:
            self.serializer.build(context)
        except RayflumeError as error:
            return [error.message]
        return unwritable("directory", context.path(self.directory.removeprefix("file://")))

    def build(self, context: Context) -> LakeSink:
        return self.over(storage_for(self.directory, {}, context), context)

    def over(self, storage: Storage, context: Context) -> LakeSink:
        """The sink on a storage that is given, whatever `directory` says."""
        serializer = cast("Serializer", self.serializer.build(context))
        place = shown_path(self.directory, context)
        making = Making(serializer, Buckets(apart(serializer)), self._name, lake=place)
        limits = limits_of(self.roll, self.delivery_bytes)
        return LakeSink(event_lake(making, self.roll, storage, context), limits)

    def _name(self, path: str, delivery: str, number: int, begun_ms: int) -> str:
        time = str(begun_ms)
        if self.path_manager == "rolltime":
            at = EPOCH + timedelta(milliseconds=begun_ms)
            time = f"{at.astimezone(zone_of(self.time_zone)):%Y%m%d%H%M%S}"
        suffix = f".{self.extension}" if self.extension else ""
        return event_name(f"{self.prefix}{time}-", delivery, number, suffix)
