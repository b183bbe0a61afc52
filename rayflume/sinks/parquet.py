"""The lake sink: decoded rows as partitioned Parquet files, staged, then published once."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from rayflume import file_metadata
from rayflume.completeness import MarkerRules
from rayflume.component import LOCAL_PATH, Component, Context, component, nested, option
from rayflume.errors import OptionError, RayflumeError
from rayflume.interfaces import (
    Contract,
    DeliveryLimits,
    Format,
    Manifest,
    Storage,
)
from rayflume.lake import shown_path, storage_for
from rayflume.sinks._bucket import Partitioning, Rounding
from rayflume.sinks._budget import Budget
from rayflume.sinks._complete import Complete, Noting
from rayflume.sinks._encoding import Columns, Encoding, level_problem
from rayflume.sinks._expected import expected
from rayflume.sinks._files import FileSettings
from rayflume.sinks._lake import DeadLetterLimit, RollSettings
from rayflume.sinks._names import folded_twice
from rayflume.sinks._parquet_lake import ParquetLake, in_partition
from rayflume.sinks._schema_log import SchemaLog
from rayflume.sinks._sink import LakeSink, refusals, uploads_max
from rayflume.sinks._span import Spans
from rayflume.sinks._split import Splitter
from rayflume.sinks._table import TableCommits
from rayflume.table import Table, TableOptions, place_of
from rayflume.units import ByteSize, Millis, TimeZone, zone_of

MIB = 1 << 20


class Roll(BaseModel):
    """When files end. 0 switches a rule off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: ByteSize = option(
        "Bytes of a file as written at which it ends and its successor opens: it is within 10 % of "
        "that. Its row groups have at most an eighth of it each, so that the last can be cut to "
        "fit. Files are smaller where a delivery ends first: by `roll.age`, `roll.idle`, or when "
        "`delivery_bytes` of all its partitions together were taken.",
        default=128 * MIB,
        example="128MiB",
    )
    rows: int = option("Rows after which a file ends, exactly.", default=0, ge=0)
    age: Millis = option(
        "Time after its first row after which a delivery ends, and all its files with it.",
        default=300_000,
        example="5min",
    )
    idle: Millis = option("Time without a new row after which a delivery ends.", default=0)


@component
class Parquet(Component):
    """Writes rows as Parquet files into a lake, each row exactly once."""

    staged: ClassVar[bool] = True

    path: str = option(
        "The lake: a directory, s3://bucket/prefix, or hdfs://host:port/path.",
        example="lake/clicks",
        min_length=1,
        json_schema_extra=LOCAL_PATH,
    )
    storage: dict[str, object] = option(
        "Options of the storage that the path names, such as endpoint and credentials.",
        factory=dict,
    )
    format: Annotated[Component, nested("format")] = option(
        "How bodies become columns: a format's type and its options.", example={"type": "text"}
    )
    table: Annotated[Component | None, nested("table")] = option(
        "Makes the lake a table: each delivery becomes part of it in one commit. Read such a lake "
        "through the table, for files are there a moment before it names them. `partition_by` then "
        "needs names, which become columns. Default: a plain lake.",
        default=None,
        example={"type": "delta"},
    )
    contract: Contract = option(
        "What becomes of a field that the lake's schema does not name, at the top or inside a "
        "struct. `evolve`: it becomes a column, in a new version of the schema. `freeze`: its row "
        "goes to the dead letters with the reason. `ignore`: it is left out. With every contract a "
        "value that does not fit its column sends its row to the dead letters, and where nothing "
        "is declared the first rows of a new lake make its columns. What the format declares is "
        "added to the lake's schema by `evolve` and `ignore` (also more digits of a decimal before "
        "its point); `freeze` refuses to start instead.",
        default=Contract.EVOLVE,
        example="freeze",
    )
    event_time: str | None = option(
        "Decoded column, else header, with the time of the event, which the time escapes of "
        "`partition_by` read: a timestamp, or epoch milliseconds. Default: the header `timestamp`.",
        default="",
        example="ts",
    )
    event_time_missing: Literal["dead_letter", "ingest_time"] = option(
        "What becomes of a row without event time: it goes to the dead letters, or it gets the "
        "time at which its delivery began.",
        default="dead_letter",
    )
    partition_by: list[str] = option(
        "One item for each directory level, as name=pattern with Flume's time escapes, and "
        "%{name} for a column or header. Values are escaped as Hive does.",
        factory=list,
        example=["dt=%Y-%m-%d", "hour=%H"],
    )
    time_zone: TimeZone = option(
        "Zone of the time escapes, such as Europe/Oslo. Flume takes the host's zone; here it is "
        "UTC, so that all hosts agree.",
        default="UTC",
    )
    round: Millis = option(
        "Event times are rounded down to a multiple of this before the time escapes read them, in "
        "`time_zone`: 1 to 60 seconds, 1 to 60 minutes (within the hour) or 1 to 24 hours (within "
        "the day), as Flume does with `hdfs.roundValue` and `hdfs.roundUnit`. `%t` is not rounded. "
        "0: not rounded.",
        default=0,
        example="10min",
    )
    header_columns: list[str] = option(
        "Event headers that become string columns of the same names. A field of a body with such a "
        "name is left out.",
        factory=list,
        example=["host"],
    )
    complete: Complete | None = option(
        "Mark partitions that are complete: once all sources of the channel that are not idle have "
        "passed the end of a partition in event time, and all rows that came before are in the "
        "lake, a marker is written into its directory, and never before. A JSON text in it tells "
        "the watermark, rows and files. What comes later lands all the same, and a file "
        "`<marker>.late-<delivery>` tells of it, but not of what `rayflume replay` brings. Needs a "
        "partition_by whose times do not come again. Sinks that share the channel divide its rows: "
        "let all of them mark.",
        default=None,
        example={"after": "10min", "idle_timeout": "5min", "future_limit": "1h"},
    )
    roll: Roll = option("When files end.", factory=Roll)
    delivery_bytes: ByteSize = option(
        "Body bytes after which a delivery ends.", default=1024 * MIB, ge=1
    )
    codec: Literal["snappy", "zstd", "lz4", "gzip", "none"] = option(
        "Compression of the columns.", default="snappy"
    )
    codec_level: int | None = option(
        "Level of the codec: zstd 1 to 22, gzip 1 to 9, lz4 1 to 12. Higher is smaller and slower. "
        "Default: the codec's own.",
        default=None,
        example=3,
    )
    row_group_bytes: ByteSize = option(
        "Decoded bytes per row group.", default=16 * MIB, ge=1024, example="16MiB"
    )
    row_group_rows: int = option(
        "Rows per row group, if that is reached first; 0: no limit.", default=0, ge=0
    )
    page_bytes: ByteSize = option(
        "Encoded bytes per page of a column, about.", default=MIB, ge=1024
    )
    columns: Columns = option("How single columns are encoded.", factory=Columns)
    sort_by: list[str] = option(
        "Columns whose order the rows of each row group get: ascending, nulls last; rows that are "
        "equal in them keep theirs. Readers that know the order of a column skip more. The files "
        "say so (`sorting_columns`). It is not the order of a whole file, which would need all of "
        "it in memory.",
        factory=list,
        example=["user_id", "ts"],
    )
    buffer_bytes: ByteSize = option(
        "Decoded bytes that all open files may hold together, with what Parquet keeps for their "
        "footers above 32 MiB. Above it the largest are written as row groups, however small, and "
        "if such footers are half of it the files that have most row groups end. While one "
        "delivery is being published the next may hold a quarter more.",
        default=192 * MIB,
        ge=MIB,
    )
    max_open_files: int = option(
        "Files that may be open in a delivery, as in Flume. It bounds what a flood of distinct "
        "partition values can do.",
        default=5000,
        ge=1,
    )
    when_too_many_open: Literal["close_oldest", "fail"] = option(
        "Above `max_open_files` the file that was not used for the longest time ends, as in Flume; "
        "or the sink stops, keeps its rows and publishes nothing until an operator starts it "
        "again.",
        default="close_oldest",
    )
    dead_letter_limit: int = option(
        "Rows that may become dead letters since the sink started; above it the sink stops, keeps "
        "its rows and publishes nothing until an operator starts it again. 0: no limit.",
        default=0,
        ge=0,
    )

    @field_validator("partition_by")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        twice = folded_twice(Partitioning(value).names)
        if twice:
            raise ValueError(f"the partition name {twice!r} is there twice (Spark ignores case)")
        return value

    @field_validator("round")
    @classmethod
    def _round_within(cls, value: int) -> int:
        Rounding.of(value)
        return value

    @model_validator(mode="after")
    def _level_is_the_codecs(self) -> Parquet:
        problem = level_problem(self.codec, self.codec_level)
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _times_have_a_source(self) -> Parquet:
        if self.event_time is None and Partitioning(self.partition_by).uses_time:
            raise ValueError(
                "partition_by has time escapes, but event_time is null: name the column or header "
                "that holds the time of the event"
            )
        if self.complete is not None:
            self._spans()
        twice = folded_twice(self.header_columns)
        if twice:
            raise ValueError(f"header_columns names {twice!r} twice (Spark ignores case)")
        return self

    @property
    def without_time(self) -> str:
        """As config.advice.WantsTime."""
        needed = not self.event_time and self.event_time_missing == "dead_letter"
        if not (needed and Partitioning(self.partition_by).uses_time):
            return ""
        return "name a column as `event_time`, or set `event_time_missing: ingest_time`"

    def check(self, context: Context) -> list[str]:
        """Wrong storage options, columns that cannot go together, and a store that refuses.

        A remote store is asked (a missing bucket and wrong credentials show here); a local lake is
        made at start.
        """
        try:
            self.table_over(context)
            self._check_columns(self.format.build(context))
            return refusals(self.path, self.storage, context)
        except RayflumeError as error:
            return [error.message]

    def build(self, context: Context) -> ParquetSink:
        return self.over(storage_for(self.path, self.storage, context), context)

    def over(self, storage: Storage, context: Context) -> ParquetSink:
        """The sink on a storage that is given, whatever `path` says."""
        lake = self.lake_on(storage, context)
        table = self.table_over(context)
        limits = DeliveryLimits(self.delivery_bytes, 0, self.roll.age, self.roll.idle)
        return ParquetSink(lake, limits, None if table is None else TableCommits(table, lake))

    def lake_on(self, storage: Storage, context: Context) -> ParquetLake:
        """What the sink's deliveries share."""
        form: Format = self.format.build(context)
        self._check_columns(form)
        metadata = {
            file_metadata.WRITER: version("rayflume"),
            file_metadata.AGENT: context.agent,
            file_metadata.SINK: context.part,
        }
        files = FileSettings(
            self._encoding(), self.row_group_bytes, self.row_group_rows, self.roll.bytes, metadata
        )
        fail = self.when_too_many_open == "fail"
        return ParquetLake(
            context=context,
            storage=storage,
            format=form,
            schemas=SchemaLog(storage, self.contract),
            splitter=self._splitter(),
            name=in_partition,
            files=files,
            roll=RollSettings(self.roll.rows, self.max_open_files, uploads_max(), fail),
            budget=Budget(self.buffer_bytes, context.metrics),
            limit=DeadLetterLimit(self.dead_letter_limit, shown_path(self.path, context)),
            noting=self._noting(context),
        )

    def expected_files(self) -> str:
        """How large they will be, in one sentence."""
        return expected(self.roll, self.delivery_bytes, many=bool(self.partition_by))

    def _partition_names(self) -> tuple[str, ...]:
        return tuple(pattern.name for pattern in Partitioning(self.partition_by).patterns)

    def table_over(self, context: Context) -> Table | None:
        """The table; None for a plain lake. Raises OptionError, also for the storage's options."""
        names = self._partition_names()
        place = place_of(self.path, self.storage, context, names)
        if self.table is None:
            return None
        if "" in names:
            raise OptionError(
                f"partition_by: a table needs names, and {self.partition_by[names.index('')]!r} "
                "has none: write name=pattern, as in dt=%Y-%m-%d"
            )
        return cast("TableOptions", self.table).over(place)

    def marker_rules(self) -> MarkerRules | None:
        """When partitions are marked as complete; None: they are not."""
        return None if self.complete is None else self.complete.rules()

    def _spans(self) -> Spans:
        return Spans(self._partitioning(), zone_of(self.time_zone))

    def _partitioning(self) -> Partitioning:
        return Partitioning(self.partition_by, zone_of(self.time_zone), Rounding.of(self.round))

    def _noting(self, context: Context) -> Noting | None:
        if self.complete is None:
            return None
        return Noting(self._spans(), self.complete.future_limit, context.clock)

    def _check_columns(self, form: Format) -> None:
        declared = form.declared
        if declared is None:
            return
        columns = {name.casefold() for name in declared.names}
        for name in self.header_columns:
            if name.casefold() in columns:
                raise OptionError(
                    f"header_columns: {name!r} is also a column of the format; rename one of them"
                )
        for name in Partitioning(self.partition_by).names:
            if name.casefold() in columns:
                raise OptionError(
                    f"partition_by: {name!r} is also a column of the format, and readers "
                    f"cannot tell them apart; name the partition otherwise"
                )
        problem = self._splitter().misfit(declared) or self._encoding().misfit(declared)
        if problem:
            raise OptionError(problem)

    def _encoding(self) -> Encoding:
        return Encoding(
            self.codec, self.codec_level, self.page_bytes, tuple(self.sort_by), self.columns
        )

    def _splitter(self) -> Splitter:
        return Splitter(
            self._partitioning(),
            self.event_time or "",
            self.event_time_missing == "ingest_time",
            tuple(self.header_columns),
        )


class ParquetSink(LakeSink):
    """A Sink of Parquet files, perhaps of a table. Thread-safe but for its deliveries, of which
    each has one writer at a time.
    """

    def __init__(
        self, lake: ParquetLake, limits: DeliveryLimits, table: TableCommits | None = None
    ) -> None:
        super().__init__(lake, limits)
        self._format = lake.format
        self._table = table

    def open(self) -> None:
        """Check that the lake can be written to and agree on the declared columns. Blocks.

        Raises StorageDenied, StorageUnavailable, and OptionError for a type that is not the lake's.
        """
        super().open()
        if self._table is not None:
            self._table.open()
        self._format.prepare()

    def known(self, manifest: Manifest) -> bool:
        return self._table is not None and self._table.has(manifest)

    def landed(self, manifest: Manifest) -> None:
        if self._table is not None:
            self._table.add(manifest)

    def close(self) -> None:
        if self._table is not None:
            self._table.close()
        super().close()
