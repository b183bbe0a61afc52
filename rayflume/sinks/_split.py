"""One batch -> columns per partition, dead letters, event times. Pure: the same rows, options,
schema and ingest time always give the same result, which is what lets a lost file be built anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.dead_letters import DeadRows, valid_text
from rayflume.escapes import TIME_HEADER
from rayflume.interfaces import Decoded
from rayflume.sinks._bucket import Buckets, Field, Groups, Ints
from rayflume.sinks._event_time import EventTimes, event_times, usable_type

NO_COLUMNS = "no value in it, and no row before had one: the lake has no column yet"


@dataclass(frozen=True)
class Piece:
    """Rows of one partition. `origin`: index in the batch of each row (None: all rows, in
    order).
    """

    directory: str
    table: pa.RecordBatch
    origin: Ints | None = None

    def row_at(self, index: int) -> int:
        """The row of the batch that a row of the piece is."""
        return index if self.origin is None else int(self.origin[index])

    def rows(self, start: int, stop: int) -> Ints | None:
        """The rows of the batch that rows `[start, stop)` are; None: all of the batch."""
        if self.origin is not None:
            return self.origin[start:stop]
        return None if stop - start == self.table.num_rows else np.arange(start, stop)


@dataclass(frozen=True)
class Split:
    """What became of a batch: `len(dead)` plus the rows of all pieces is its number of rows.

    `times`, `time_origin`: event time in ms of the rows that have one, and their indices in the
    batch (None: all rows). `late`: rows without event time that got the ingest time.
    """

    pieces: list[Piece]
    dead: DeadRows
    times: Ints | None = None
    time_origin: Ints | None = None
    late: int = 0


@dataclass(frozen=True)
class Splitter:
    """The sink's options that decide where a row goes.

    `event_time`: column or header, "" for the header `timestamp`. `ingest_time`: rows without event
    time get the ingest time instead of going to the dead letters. `local_time`: all rows do.
    `constants`: fields with one value for all rows, whatever a column or header says.
    """

    partitioning: Buckets
    event_time: str = ""
    ingest_time: bool = False
    header_columns: tuple[str, ...] = ()
    local_time: bool = False
    constants: Mapping[str, str] = field(default_factory=dict)

    def split(
        self, batch: EventBatch, decoded: Decoded, schema: pa.Schema, ingest_ms: int
    ) -> Split:
        """`schema`: that of the file, to which the decoded columns are brought."""
        bad = list(decoded.bad)
        origin = None if decoded.rows is None else np.asarray(decoded.rows)
        if not len(schema):
            rest = np.setdiff1d(np.arange(batch.num_rows), [row for row, _ in bad]).tolist()
            return Split([], DeadRows.of([*bad, *((row, NO_COLUMNS) for row in rest)]))
        if decoded.table.num_rows == 0:
            return Split([], DeadRows.of(bad))
        table = self._assemble(decoded.table, batch, origin, schema)
        times: EventTimes | None = None
        if self.local_time:
            now = np.full(table.num_rows, ingest_ms, np.int64)
            return Split(self._pieces(table, batch, origin, now), DeadRows.of(bad))
        if self.partitioning.uses_time or self.event_time:
            if self.event_time:
                found = self._field(self.event_time, table, batch, origin)
            else:
                found = _header(TIME_HEADER, batch, origin)
            times = event_times(found, table.num_rows)
        if times is None or times.known is None:
            ms = None if times is None else times.ms
            return Split(self._pieces(table, batch, origin, ms), DeadRows.of(bad), ms, origin)
        return self._with_gaps(_Rows(table, batch, origin, bad), times, times.known, ingest_ms)

    def misfit(self, schema: pa.Schema) -> str:
        """Why the columns do not suit the options, "" if they do."""
        name = self.event_time
        if name in schema.names and name not in self.header_columns:
            kind = schema.field(name).type
            if not usable_type(kind):
                return (
                    f"event_time {name!r} is a column of type {kind}; declare it in the schema of "
                    "the format as timestamp, timestamp_ms or timestamp_s"
                )
        for name in self.partitioning.fields:
            if name in schema.names and pa.types.is_nested(schema.field(name).type):
                return (
                    f"partition_by reads {name!r}, which is a column of type "
                    f"{schema.field(name).type}; name a column with one value"
                )
        return ""

    def _with_gaps(
        self, rows: _Rows, times: EventTimes, known: npt.NDArray[np.bool_], ingest_ms: int
    ) -> Split:
        """Some rows have no event time: dead letters, or the ingest time."""
        with_time = np.flatnonzero(known)
        ms, time_origin = times.ms[with_time], rows.origin_of(with_time)
        if not self.partitioning.uses_time or self.ingest_time:
            filled = np.where(known, times.ms, ingest_ms)
            late = rows.table.num_rows - len(with_time) if self.partitioning.uses_time else 0
            pieces = self._pieces(rows.table, rows.batch, rows.origin, filled)
            return Split(pieces, DeadRows.of(rows.bad), ms, time_origin, late)
        missing = np.flatnonzero(~known)
        indices = rows.origin_of(missing).tolist()
        dead = DeadRows.of([*rows.bad, *zip(indices, self._reasons(times, missing), strict=True)])
        if not len(with_time):
            return Split([], dead)
        kept = rows.table.take(pa.array(with_time))
        return Split(self._pieces(kept, rows.batch, time_origin, ms), dead, ms, time_origin)

    def _reasons(self, times: EventTimes, missing: Ints) -> list[str]:
        name = self.event_time or TIME_HEADER
        unreadable: npt.NDArray[np.bool_] = (
            np.zeros(len(missing), np.bool_)
            if times.unreadable is None
            else times.unreadable[missing]
        )
        wrong = f"event time {name!r} is no time in epoch milliseconds or out of range"
        return [wrong if flag else f"no event time {name!r}" for flag in unreadable]

    def _pieces(
        self, table: pa.RecordBatch, batch: EventBatch, origin: Ints | None, times: Ints | None
    ) -> list[Piece]:
        fields = {
            name: self._field(name, table, batch, origin) for name in self.partitioning.fields
        }
        groups: Groups = self.partitioning.group(times, fields)
        if groups.codes is None:
            return [Piece(groups.directories[0], table, origin)]
        pieces = []
        for directory, rows in zip(groups.directories, groups.rows(), strict=True):
            part = _pick(table, rows)
            pieces.append(Piece(directory, part, rows if origin is None else origin[rows]))
        return pieces

    def _field(
        self, name: str, table: pa.RecordBatch, batch: EventBatch, origin: Ints | None
    ) -> Field:
        """A constant or column of that name, else the header."""
        if name in self.constants:
            return self.constants[name]
        if name in table.schema.names:
            return table.column(name)
        return _header(name, batch, origin)

    def _assemble(
        self, table: pa.RecordBatch, batch: EventBatch, origin: Ints | None, schema: pa.Schema
    ) -> pa.RecordBatch:
        """The columns of the file by name: header columns, decoded ones, and nulls for the
        rest.
        """
        if not self.header_columns and table.schema.equals(schema):
            return table
        places = {name: i for i, name in enumerate(table.schema.names)}
        columns = []
        for one in schema:
            if one.name in self.header_columns:
                column = _repeated(_header(one.name, batch, origin), table.num_rows)
            elif one.name in places:
                column = table.column(places[one.name])
            else:
                column = pa.nulls(table.num_rows, one.type)
            columns.append(column if column.type == one.type else column.cast(one.type))
        return pa.record_batch(columns, schema=schema)


def _repeated(value: Field, rows: int) -> pa.Array:
    if value is None or isinstance(value, str):
        return pa.repeat(pa.scalar(value, pa.string()), rows)
    return valid_text(value)


def _header(name: str, batch: EventBatch, origin: Ints | None) -> Field:
    value = batch.headers.get(name)
    if isinstance(value, str) or (value is None and batch.more is None):
        return value
    header = batch.header(name)
    return header if origin is None else header.take(pa.array(origin))


@dataclass(frozen=True)
class _Rows:
    table: pa.RecordBatch
    batch: EventBatch
    origin: Ints | None
    bad: Sequence[tuple[int, str]]

    def origin_of(self, rows: Ints) -> Ints:
        """Indices in the batch of rows of the table."""
        return rows if self.origin is None else self.origin[rows]


def _pick(table: pa.RecordBatch, rows: Ints) -> pa.RecordBatch:
    """Some rows of a table. A slice only where it is most of the table: a small one would keep the
    buffers of the whole batch in memory for as long as its file is open.
    """
    count = len(rows)
    if 2 * count >= table.num_rows and int(rows[-1] - rows[0]) == count - 1:
        return table.slice(int(rows[0]), count)
    return table.take(pa.array(rows))
