"""What all deliveries of one sink into a lake share, whatever its files are."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.component import Context
from rayflume.dead_letters import DeadRows, shown_reason
from rayflume.errors import SinkParked
from rayflume.interfaces import Decoded, Json, Manifest, RowRange, StagedFile, StagedWriter, Storage
from rayflume.sinks._budget import Budget
from rayflume.sinks._complete import Noting
from rayflume.sinks._figures import PartitionFigures
from rayflume.sinks._files import FileSettings
from rayflume.sinks._ingest import IngestTimes
from rayflume.sinks._split import Splitter
from rayflume.sinks._streams import StreamRanges

Stage = Callable[[str], StagedWriter]
"""Target -> the file on its way to the store."""
Name = Callable[[str, str, int, int], str]
"""(what the path escapes say, delivery, number, when it began in epoch milliseconds) -> target."""


class OpenFile(Protocol):
    """A file of a delivery that is being written. One thread at a time.

    `bucket` decides which rows it gets. `buffered`: bytes in memory that `flush` writes, `held` and
    `footer_held`: what only its end sets free. `wants_flush`: call `flush` now. `full`: end it.
    """

    target: str
    bucket: str
    number: int
    rows: int
    buffered: int
    note: Mapping[str, Json]
    ranges: list[RowRange]
    streams: StreamRanges

    @property
    def held(self) -> int: ...
    @property
    def footer_held(self) -> int: ...
    @property
    def open_at_store(self) -> bool: ...
    @property
    def wants_flush(self) -> bool: ...
    @property
    def full(self) -> bool: ...
    def room(self, table: pa.RecordBatch, size: int) -> int: ...
    def append(self, table: pa.RecordBatch, start: int, stop: int, size: int = 0) -> None: ...
    def flush(self) -> None: ...
    def finish(self) -> StagedFile: ...
    def abort(self) -> None: ...


@dataclass(frozen=True)
class RollSettings:
    """Rows after which a file ends (0: never), how many may be open and whether one more is an
    error, and how many may have an upload or descriptor at the store.
    """

    rows: int
    open_files: int
    uploads: int
    fail: bool = False


@dataclass
class LastReason:
    """Why the last row that became a dead letter since the sink started did; "" if none did."""

    text: str = ""

    def note(self, dead: DeadRows) -> None:
        if len(dead):
            self.text = shown_reason(dead.reasons[-1])


@dataclass(frozen=True, kw_only=True)
class Lake:
    """Storage and settings; subclasses say how rows are decoded and what files are. Thread-safe.

    `files`: how Parquet files are made, the dead letters at least.
    """

    context: Context
    storage: Storage
    splitter: Splitter
    name: Name
    files: FileSettings
    roll: RollSettings
    budget: Budget
    limit: DeadLetterLimit
    figures: PartitionFigures = field(default_factory=PartitionFigures)
    reasons: LastReason = field(default_factory=LastReason)
    noting: Noting | None = None
    """What markers of complete partitions need to know; None when there are none."""

    def open(self) -> None:
        """Check that the lake can be written to, and agree on what is declared. Blocks."""
        self.storage.check()

    def decode(self, batch: EventBatch) -> tuple[int, pa.Schema, Decoded]:
        """The rows, with the version and schema of the files they go to. Blocks."""
        raise NotImplementedError

    def decode_as(self, batch: EventBatch, version: int) -> tuple[pa.Schema, Decoded]:
        """The rows as they were decoded with an earlier version."""
        raise NotImplementedError

    def schema_of(self, version: int) -> pa.Schema | None:
        """The schema of the files of an earlier version; None if there is no such version."""
        raise NotImplementedError

    def target(self, bucket: str, delivery: str, number: int, begun_ms: int) -> str:
        """Path of the file of a delivery with this number, relative to the lake."""
        return self.name(bucket, delivery, number, begun_ms)

    def rows_file(
        self, target: str, schema: pa.Schema, version: int, stage: Stage, begun_ms: int
    ) -> OpenFile:
        """A new file of rows of a delivery that began then; nothing is at the store yet."""
        raise NotImplementedError

    def rows_at_once(self, batch: EventBatch) -> int:
        """How many rows of a batch can be taken in one step; at least one."""
        return max(1, batch.num_rows)

    def ingest_times(self) -> IngestTimes:
        """For one delivery, which begins now."""
        step = self.splitter.partitioning.step_ms if self.splitter.local_time else 0
        return IngestTimes(self.context.clock, step)

    def note(self, file: OpenFile, times: IngestTimes) -> dict[str, Json]:
        """What must be kept of a file so that it can be built anew."""
        found = times.note(file.ranges)
        if file.bucket != posixpath.dirname(file.target):
            found["bucket"] = file.bucket
        if self.splitter.constants:
            found["host"] = dict(self.splitter.constants)
        return found

    def splitter_of(self, note: Mapping[str, Json]) -> Splitter:
        """The splitter that divided the rows of a file with this note. Another host may build the
        file anew: its names and addresses are not those that the paths have.
        """
        host = note.get("host")
        if not isinstance(host, dict):
            return self.splitter
        return replace(self.splitter, constants={k: str(v) for k, v in host.items()})

    def bucket_of(self, file: StagedFile) -> str:
        """The bucket of a file that was staged."""
        bucket = file.handle.get("bucket")
        return bucket if isinstance(bucket, str) else posixpath.dirname(file.target)

    def check_placed(self, file: OpenFile) -> None:
        """Raises SinkParked when a file of rows that has ended has a row of another bucket."""

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
        """What was committed to each of the partitions that were written last; why the last row
        that became a dead letter did.
        """
        found: dict[str, Json] = {
            "partitions": self.figures.to_json(self.context.clock.monotonic_ms())
        }
        if self.reasons.text:
            found["last_dead_letter"] = self.reasons.text
        return found


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
