"""What all deliveries of one Parquet sink share."""

from __future__ import annotations

import posixpath
import threading
from dataclasses import dataclass, field

import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.component import Context
from rayflume.errors import SinkParked
from rayflume.interfaces import Decoded, Format, Json, Manifest, Storage
from rayflume.sinks._budget import Budget
from rayflume.sinks._complete import Noting
from rayflume.sinks._figures import PartitionFigures
from rayflume.sinks._files import FileSettings, LakeFile
from rayflume.sinks._names import told_apart
from rayflume.sinks._placed import misplaced
from rayflume.sinks._schema_log import SchemaLog
from rayflume.sinks._split import Splitter


@dataclass(frozen=True)
class RollSettings:
    """Rows after which a file ends (0: never), how many may be open and whether one more is an
    error, and how many may have an upload or descriptor at the store.
    """

    rows: int
    open_files: int
    uploads: int
    fail: bool = False


@dataclass(frozen=True)
class Lake:
    """Storage, schema, format and settings. Thread-safe."""

    context: Context
    storage: Storage
    format: Format
    schemas: SchemaLog
    splitter: Splitter
    files: FileSettings
    roll: RollSettings
    budget: Budget
    limit: DeadLetterLimit
    figures: PartitionFigures = field(default_factory=PartitionFigures)
    noting: Noting | None = None
    """What markers of complete partitions need to know; None when there are none."""

    def check_placed(self, file: LakeFile) -> None:
        """Raises SinkParked when a file of rows that has ended has a row of another directory."""
        if file.footer is None or file.target.endswith(".dead"):
            return
        wrong = misplaced(file.footer, self.splitter, posixpath.dirname(file.target))
        if wrong:
            raise SinkParked(
                f"{wrong}: this is an error of rayflume. Nothing of the delivery is published and "
                "its rows are kept; report it with the options of the sink"
            )

    def published(self, manifest: Manifest) -> None:
        """All files of a delivery are visible: note what is in the lake now."""
        clock, metrics = self.context.clock, self.context.metrics
        self.figures.published(manifest, clock.monotonic_ms())
        sizes = [file.size for file in manifest.files if not file.dead]
        if sizes and self.files.roll_bytes:
            mean = sum(sizes) / len(sizes)
            metrics.set("FileFillPercentage", round(100 * mean / self.files.roll_bytes))
        if manifest.event_times:
            newest = max(high for _, high in manifest.event_times.values())
            metrics.set("EventTimeLagMs", max(0, clock.now_ms() - newest))

    def describe(self) -> dict[str, Json]:
        """What was committed to each of the partitions that were written last."""
        return {"partitions": self.figures.to_json(self.context.clock.monotonic_ms())}

    def decode(self, batch: EventBatch) -> tuple[int, pa.Schema, Decoded]:
        """The rows with the agreed schema; fields nobody knew become columns first, and then all
        rows are decoded again, so that what a row becomes depends on the schema version alone.

        Raises StorageUnavailable when a new version cannot be agreed on now. Blocks.
        """
        while True:
            version, schema = self.schemas.current()
            decoded = self._decoded(batch, schema)
            self.schemas.agree(self._new_fields(decoded))
            if self.schemas.current()[0] == version:
                return version, self._usable(schema), decoded

    def declared_columns(self) -> pa.Schema | None:
        """The format's declared columns and the header columns; None when they are inferred."""
        declared = self.format.declared
        return None if declared is None else self._with_headers(list(declared))

    def decode_as(self, batch: EventBatch, version: int) -> tuple[pa.Schema, Decoded]:
        """The rows as they were decoded with an earlier version."""
        schema = self.schemas.version(version)
        return self._usable(schema), self._decoded(batch, schema)

    def _decoded(self, batch: EventBatch, schema: pa.Schema | None) -> Decoded:
        part, contract = self.decoded_part(schema), self.schemas.contract
        decoded = self.format.decode(batch.body, part, contract)
        splitter = self.splitter
        return told_apart(decoded, splitter.partitioning.names, splitter.header_columns)

    def decoded_part(self, schema: pa.Schema | None) -> pa.Schema | None:
        """The columns that come from bodies; None when none is known yet."""
        if schema is None:
            return None
        kept = [f for f in schema if f.name not in self.splitter.header_columns]
        return pa.schema(kept) if kept else None

    def _new_fields(self, decoded: Decoded) -> pa.Schema:
        headers = self.splitter.header_columns
        fields = [f for f in decoded.table.schema if f.name not in headers]
        if not fields:
            return pa.schema([])
        return self._with_headers(fields)

    def _with_headers(self, fields: list[pa.Field]) -> pa.Schema:
        headers = [pa.field(name, pa.string()) for name in self.splitter.header_columns]
        return pa.schema([*fields, *headers])

    def _usable(self, schema: pa.Schema | None) -> pa.Schema:
        """The schema of files. Raises SinkParked when its types do not suit the options."""
        if schema is None:
            return pa.schema([])
        problem = self.splitter.misfit(schema) or self.files.encoding.misfit(schema)
        if problem:
            raise SinkParked(problem)
        return schema


@dataclass
class DeadLetterLimit:
    """Counts dead letters since the sink started, open deliveries included. Thread-safe.

    `rows`: the limit, 0 for none.
    """

    rows: int
    _published: int = 0
    _open: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, delivery: str, dead: int) -> None:
        """Raises SinkParked above the limit."""
        with self._lock:
            self._open[delivery] = dead
            total = self._published + sum(self._open.values())
        if 0 < self.rows < total:
            raise SinkParked(
                f"{total} rows would be dead letters since this sink started, above "
                f"dead_letter_limit: {self.rows}; their rows are kept: mend the schema or the "
                "input, or raise the limit, and start the sink again"
            )

    def published(self, delivery: str) -> None:
        with self._lock:
            self._published += self._open.pop(delivery, 0)

    def abandoned(self, delivery: str) -> None:
        with self._lock:
            self._open.pop(delivery, None)
