"""The sink `hdfs`: events as they are, in files and directories as Flume's HDFS sink makes them, on
any storage, staged and then published once. Flume user guide, section HDFS Sink.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Annotated, ClassVar, Literal, TypeAlias, cast

from pydantic import BeforeValidator, field_validator, model_validator

from rayflume.component import LOCAL_PATH, Component, Context, component, lookup, nested, option
from rayflume.errors import RayflumeError
from rayflume.escapes import uses_time
from rayflume.interfaces import DeliveryLimits, Storage
from rayflume.lake import shown_path, storage_for, storage_type
from rayflume.naming import event_name
from rayflume.serializer import Serializer
from rayflume.sinks._bucket import Buckets, Rounding
from rayflume.sinks._codecs import CODECS
from rayflume.sinks._events import (
    FILES_MAX,
    MIB,
    EventRoll,
    Making,
    apart,
    event_lake,
    limits_of,
    splitter_of,
)
from rayflume.sinks._expected import expected
from rayflume.sinks._path import TAIL_BYTES_MAX, Escaped, split_base
from rayflume.sinks._sequence_file import SequenceSerializer
from rayflume.sinks._sink import LakeSink, refusals
from rayflume.sinks.parquet import Parquet, ParquetSink
from rayflume.units import ByteSize, Millis, TimeZone, zone_of

FileType: TypeAlias = Literal["SequenceFile", "DataStream", "CompressedStream", "Parquet"]
CodecName: TypeAlias = Literal["gzip", "deflate", "bzip2", "zstd", "snappy", "lz4"]
_FILE_TYPES: tuple[FileType, ...] = ("SequenceFile", "DataStream", "CompressedStream", "Parquet")
_PARQUET_CODECS = ("snappy", "zstd", "lz4", "gzip")
_SUFFIX_BYTES_MAX = 50
_EXAMPLE_DELIVERY = "0123456789abcdef-1-1"


def _any_case(value: object) -> object:
    folded = {name.lower(): name for name in _FILE_TYPES}
    return folded.get(value.lower(), value) if isinstance(value, str) else value


@component
class Hdfs(Component):
    """Writes events into files below a path with escapes, as Flume's HDFS sink does, each event
    exactly once, on HDFS, S3 or a local disk.

    Files are named `<prefix>.<delivery>-<n><suffix>`: so no two have one name, whoever writes them.
    They appear whole when their delivery is committed; what is being written lies in `_rayflume` of
    the base, the part of `path` before its first escape, and no reader sees it. A value of a header
    is only ever a piece of one name in a path: `/`, `:`, `%` and control characters in it become
    `%XX`. Events whose path needs a time and that have none in the header `timestamp` go to the
    dead letters below the base; Flume would try the same batch for ever.

    Until a delivery is committed its events stay in the channel, and it ends early when three
    quarters of the channel are full: let the channel hold more than a file shall.
    """

    staged: ClassVar[bool] = True

    path: str = option(
        "Directory with Flume's escapes: a local one, hdfs://host:port/path or s3://bucket/prefix. "
        "%{name} is a header, empty where an event lacks it; %[localhost], %[IP] and %[FQDN] are "
        "this host.",
        example="hdfs://namenode:8020/flume/%Y-%m-%d/%H",
        min_length=1,
        json_schema_extra=LOCAL_PATH,
    )
    storage: dict[str, object] = option(
        "Options of the storage that the path names, such as endpoint and credentials.",
        factory=dict,
    )
    file_prefix: str = option(
        "What file names begin with; may have escapes, and `/` for more directories.",
        default="FlumeData",
        example="events-%{host}",
    )
    file_suffix: str | None = option(
        "What file names end with, as it stands. Default: what Hadoop knows the codec by (`.gz`), "
        "`.parquet` for Parquet, else nothing.",
        default=None,
        example=".log",
    )
    file_type: Annotated[FileType, BeforeValidator(_any_case)] = option(
        "`DataStream`: what the serializer makes of events. `CompressedStream`: the same through "
        "`codec`. `SequenceFile`: Hadoop's, with the header `timestamp` (else the time when the "
        "delivery began) as key and the body as value, compressed by blocks if there is a `codec`. "
        "`Parquet`: columns that `format` makes of bodies. (Flume's default is SequenceFile.)",
        default="DataStream",
    )
    codec: CodecName | None = option(
        "Compression: of whole files for CompressedStream, of blocks for SequenceFile, of columns "
        "for Parquet (snappy unless given). snappy and lz4 are in Hadoop's blocks, which Hadoop "
        "and Spark read, but no other tool.",
        default=None,
        example="gzip",
    )
    write_format: Literal["writable", "text"] = option(
        "Values of a SequenceFile: BytesWritable, or Text.", default="writable"
    )
    serializer: Annotated[Component, nested("serializer")] = option(
        "How events become bytes in DataStream and CompressedStream: a serializer's type and its "
        "options. Default: text.",
        factory=lambda: lookup("serializer", "text")(),
        example={"type": "text"},
    )
    format: Annotated[Component, nested("format")] = option(
        "How bodies become the columns of Parquet: a format's type and its options. Default: text.",
        factory=lambda: lookup("format", "text")(),
        example={"type": "json"},
    )
    use_local_time_stamp: bool = option(
        "The time escapes read the clock at which an event is written, not its header `timestamp`.",
        default=False,
    )
    time_zone: TimeZone = option(
        "Zone of the time escapes, such as Europe/Oslo. Flume takes the host's zone; here it is "
        "UTC, so that all hosts agree.",
        default="UTC",
    )
    round: Millis = option(
        "Times are rounded down to a multiple of this before the time escapes read them, in "
        "`time_zone`: 1 to 60 seconds, 1 to 60 minutes (within the hour) or 1 to 24 hours (within "
        "the day), as `hdfs.roundValue` and `hdfs.roundUnit` do. `%t` is not rounded. 0: not.",
        default=0,
        example="10min",
    )
    roll: EventRoll = option("When files end.", factory=EventRoll)
    delivery_bytes: ByteSize = option(
        "Body bytes after which a delivery ends.", default=1024 * MIB, ge=1
    )
    buffer_bytes: ByteSize = option(
        "Bytes that all open files may hold in memory together.", default=192 * MIB, ge=MIB
    )
    max_open_files: int = option(
        "Files that may be open in a delivery; above it the one that was not used for the longest "
        "time ends, as in Flume.",
        default=5000,
        ge=1,
    )

    @field_validator("round")
    @classmethod
    def _round_within(cls, value: int) -> int:
        Rounding.of(value)
        return value

    @field_validator("file_suffix")
    @classmethod
    def _suffix_is_a_suffix(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "/" in value or "\\" in value or len(value.encode()) > _SUFFIX_BYTES_MAX:
            raise ValueError(f"write up to {_SUFFIX_BYTES_MAX} bytes without `/` or a backslash")
        event_name("x.", _EXAMPLE_DELIVERY, 0, value)
        return value

    @model_validator(mode="after")
    def _goes_together(self) -> Hdfs:
        _, escaped = self._split
        if self.file_type == "CompressedStream" and self.codec is None:
            raise ValueError(f"CompressedStream needs a codec: {', '.join(CODECS)}")
        if self.file_type == "DataStream" and self.codec is not None:
            raise ValueError("DataStream is not compressed: write CompressedStream, or no codec")
        if self.file_type == "Parquet" and self.codec not in (None, *_PARQUET_CODECS):
            raise ValueError(f"the codecs of Parquet are {', '.join(_PARQUET_CODECS)}")
        colons = any(piece.kind == "time" and piece.text == "c" for piece in escaped.pieces)
        if colons and storage_type(self.lake_path) == "hdfs":
            raise ValueError("%c writes colons, which HDFS allows in no name: leave it out")
        if self.file_type == "Parquet" and (self.file_suffix or ".parquet")[-8:] != ".parquet":
            raise ValueError("readers know Parquet files by .parquet: end file_suffix with it")
        return self

    @cached_property
    def _split(self) -> tuple[str, Escaped]:
        return split_base(self.path, self.file_prefix)

    @property
    def lake_path(self) -> str:
        """The base: where the lake begins, and dead letters lie."""
        return self._split[0]

    @property
    def without_time(self) -> str:
        """As config.advice.WantsTime."""
        timed = any(piece.kind == "time" for piece in self._split[1].pieces)
        return "set `use_local_time_stamp: true`" if timed and not self.use_local_time_stamp else ""

    def check(self, context: Context) -> list[str]:
        """Wrong storage options, and a store that refuses; a remote store is asked."""
        try:
            self.serializer.build(context)
            self.format.build(context)
            return refusals(self.lake_path, self.storage, context)
        except RayflumeError as error:
            return [error.message]

    def build(self, context: Context) -> LakeSink:
        return self.over(storage_for(self.lake_path, self.storage, context), context)

    def over(self, storage: Storage, context: Context) -> LakeSink:
        """The sink on a storage that is given, whatever `path` says."""
        if self.file_type == "Parquet":
            return self._parquet(storage, context)
        serializer = self._serializer(context)
        making = Making(
            serializer=serializer,
            buckets=self._buckets(serializer),
            name=self._name,
            codec=CODECS[self.codec or ""] if self.file_type == "CompressedStream" else None,
            local_time=self.use_local_time_stamp,
            buffer_bytes=self.buffer_bytes,
            max_open_files=self.max_open_files,
            lake=shown_path(self.lake_path, context),
        )
        return LakeSink(event_lake(making, self.roll, storage, context), self._limits())

    def expected_files(self) -> str:
        """How large they will be, in one sentence."""
        by_header = bool(self._buckets(None).fields)
        many = by_header or uses_time(f"{self.path}/{self.file_prefix}")
        return expected(self.roll, self.delivery_bytes, many=many, first_full=not by_header)

    def _serializer(self, context: Context) -> Serializer:
        if self.file_type == "SequenceFile":
            codec = None if self.codec is None else CODECS[self.codec]
            return SequenceSerializer(self.write_format, codec)
        return cast("Serializer", self.serializer.build(context))

    def _buckets(self, serializer: Serializer | None) -> Buckets:
        behind = [] if serializer is None else apart(serializer)
        zone, rounding = zone_of(self.time_zone), Rounding.of(self.round)
        return Buckets([self._split[1], *behind], zone, rounding)

    def _name(self, path: str, delivery: str, number: int, begun_ms: int) -> str:
        suffix = self.file_suffix or None
        if suffix is None and self.file_type == "Parquet":
            suffix = ".parquet"
        elif suffix is None and self.file_type == "CompressedStream":
            suffix = CODECS[self.codec or ""].suffix
        elif suffix is None and self.file_type == "SequenceFile" and self.codec is not None:
            suffix = CODECS[self.codec].suffix
        directory, slash, prefix = path.rpartition("/")
        dotted = f"{prefix}." if prefix else ""
        return f"{directory}{slash}{event_name(dotted, delivery, number, suffix or '')}"

    def _limits(self) -> DeliveryLimits:
        """When a delivery ends. Without an age or idle time nothing else would ever show files that
        are full: it ends with the first of them then, unless headers divide events among many.
        """
        timed = self.roll.age or self.roll.idle
        files = 1 if not timed and not self._buckets(None).fields else FILES_MAX
        return limits_of(self.roll, self.delivery_bytes, files)

    def _parquet(self, storage: Storage, context: Context) -> LakeSink:
        options = Parquet(
            path=self.lake_path,
            format=self.format,
            codec=cast("Literal['snappy', 'zstd', 'lz4', 'gzip']", self.codec or "snappy"),
            roll={"bytes": self.roll.bytes, "rows": self.roll.rows},
            buffer_bytes=self.buffer_bytes,
            max_open_files=self.max_open_files,
        )
        splitter = splitter_of(self._buckets(None), self.use_local_time_stamp)
        lake = replace(options.lake_on(storage, context), splitter=splitter, name=self._name)
        return ParquetSink(lake, self._limits())


assert _SUFFIX_BYTES_MAX + 60 <= TAIL_BYTES_MAX
