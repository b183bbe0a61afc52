"""One delivery into a lake: rows to open files, open files to staged files, a manifest.

Rules:
- Files of one partition in one delivery have disjoint row ranges, so that any of them can be
  built again from its ranges alone.
- A new schema version, a full file, and one file too many end files early; all else ends with the
  delivery.
- After an error of `write` the delivery is broken (unless agreeing on a schema failed, before
  anything was written): bytes of it may be missing, so every further call raises again, and the
  caller must `abandon` it and take its rows anew. `stage` may be asked again, and succeeds if the
  store can still be brought to finish its uploads.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from rayflume.batch import EventBatch, Extent
from rayflume.dead_letters import DEAD_SCHEMA, DeadRows, dead_table
from rayflume.errors import RayflumeError, Retry, SinkParked, StagingFailed
from rayflume.interfaces import Manifest, StagedFile, StagedWriter
from rayflume.naming import dead_name
from rayflume.sinks._bucket import Ints
from rayflume.sinks._complete import Noted
from rayflume.sinks._files import LakeFile
from rayflume.sinks._lake import Lake, OpenFile
from rayflume.sinks._split import Piece, Split
from rayflume.sinks._streams import OTHER_STREAMS, STREAMS_MAX, Origins

EVERY_STREAM = 2**31
_STAGE_THREADS = 4
_KEEP_SHARE = 0.75
_FIXED_SHARE = 0.5
FOOTERS_FREE = 32 << 20
"""What the footers of a delivery's files may take beside the budget, so that a small budget does
not end all its files.
"""

Key: TypeAlias = "tuple[str, str]"
"""("rows", bucket), ("dead", "") or ("poison", reason)."""


class LakeDelivery:
    """A DeliveryWriter. `write` in one thread, then `stage` in any other; `abandon` at any time
    when neither runs.

    A Retry from `write` means: abandon this delivery and release its rows, unless `broken` is
    false; then the same call may be made again.
    """

    def __init__(self, lake: Lake, delivery: str) -> None:
        self._lake = lake
        self._delivery = delivery
        self._times = lake.ingest_times()
        self._begun_ms = self._times.begun_ms
        self._open: dict[Key, OpenFile] = {}
        self._staged: dict[int, StagedFile] = {}
        self._staging = threading.Lock()
        self._numbers = itertools.count()
        self._version = 0
        self._rows = self._written = self._dead = self._late = 0
        self._noted = Noted()
        self._error: Exception | None = None
        self._manifest: Manifest | None = None

    @property
    def broken(self) -> bool:
        return self._error is not None

    def write(self, batch: EventBatch, position: int, poison: str = "") -> None:
        """Decode, split by bucket, encode what is full. Rows: all go to a file or to the dead
        letters. Blocks. Raises SinkParked above the dead-letter limit.
        """
        self._raise_if_broken()
        most = self._lake.rows_at_once(batch)
        if most >= batch.num_rows:
            self._write(batch, position, poison)
            return
        for start in range(0, batch.num_rows, most):
            # What fails behind the first part breaks the delivery: asked again, it would be twice.
            with self._breaking() if start else nullcontext():
                self._write(batch.slice(start, most), position + start, poison)

    def _write(self, batch: EventBatch, position: int, poison: str) -> None:
        if not batch.num_rows:
            return
        if poison:
            with self._breaking():
                dead = DeadRows.all_of(batch, poison)
                self._write_dead(batch, dead, position, ("poison", poison))
        else:
            version, schema, decoded = self._lake.decode(batch)
            with self._breaking():
                self._roll_to(version)
                ms = self._times.at(position, batch.num_rows)
                split = self._lake.splitter.split(batch, decoded, schema, ms)
                self._write_split(batch, split, schema, position)
        self._rows += batch.num_rows
        with self._breaking():
            self._lake.limit.count(self._delivery, self._dead)
            self._keep_to_budget()

    def _write_split(
        self, batch: EventBatch, split: Split, schema: pa.Schema, position: int
    ) -> None:
        origins = Origins(batch)
        for piece in split.pieces:
            self._write_piece(piece, schema, position, origins)
            self._written += piece.table.num_rows
        if len(split.dead):
            self._write_dead(batch, split.dead, position, ("dead", ""))
        self._late += split.late
        self._note(batch, split)

    def _note(self, batch: EventBatch, split: Split) -> None:
        noting, streams_max = self._lake.noting, STREAMS_MAX
        if noting is not None:
            noting.note_partitions(self._noted.partitions, split, self._begun_ms)
            if split.times is not None:
                # Each stream counts; the puts have told the names of all of them, too.
                batch, split = noting.countable(batch, split)
                streams_max = EVERY_STREAM
        if split.times is not None:
            origin = split.time_origin
            note_times(self._noted.times, batch.extents, split.times, origin, streams_max)

    def _write_piece(
        self, piece: Piece, schema: pa.Schema, position: int, origins: Origins
    ) -> None:
        """Rows of one bucket; a file that is full ends, and the next begins with the very next
        row.
        """
        key, done, start = ("rows", piece.directory), 0, position
        rest = piece.table
        while rest.num_rows:
            file, size = self._file(key, schema), int(rest.nbytes)
            room = self._room(file, rest, size)
            part = rest.slice(0, room)
            rest = rest.slice(room)
            first, done = done, done + part.num_rows
            stop = position + origins.rows
            if rest.num_rows:
                stop, size = position + piece.row_at(done), 0
            file.streams.add(origins.of(piece.rows(first, done)))
            file.append(part, start, stop, size)
            start = stop
            self._finish_if_full(key, file)

    def _room(self, file: OpenFile, table: pa.RecordBatch, size: int) -> int:
        """How many of the rows a file still takes; at least one."""
        room, most = file.room(table, size), self._lake.roll.rows
        return min(room, most - file.rows) if most else room

    def _write_dead(self, batch: EventBatch, dead: DeadRows, position: int, key: Key) -> None:
        file = self._file(key, DEAD_SCHEMA)
        table = dead_table(batch, dead, position, self._begun_ms)
        file.append(table, position, position + batch.num_rows)
        self._dead += len(dead)
        self._lake.reasons.note(dead)
        self._finish_if_full(key, file)

    def _file(self, key: Key, schema: pa.Schema) -> OpenFile:
        """The open file of a key, or a new one. Moves it to the end: the first is the one that was
        not used for the longest time.
        """
        file = self._open.pop(key, None)
        if file is None:
            self._make_room_for_one()
            file = self._new_file(key, schema)
        self._open[key] = file
        return file

    def _new_file(self, key: Key, schema: pa.Schema) -> OpenFile:
        (kind, text), number, version = key, next(self._numbers), self._version
        file: OpenFile
        if kind == "rows":
            target = self._lake.target(text, self._delivery, number, self._begun_ms)
            stage, begun_ms = self._stage_file, self._begun_ms
            file = self._lake.rows_file(target, schema, version, stage, begun_ms)
            file.bucket = text
        else:
            target = dead_name(self._delivery, number)
            file = LakeFile(target, schema, version, self._lake.files.plain, self._stage_file)
        file.number = number
        if kind == "poison":
            file.note = {"poison": text}
        return file

    def _stage_file(self, target: str) -> StagedWriter:
        return self._lake.storage.stage(target, self._delivery)

    def _make_room_for_one(self) -> None:
        """End the file that was not used for the longest time, if as many are open as may be."""
        roll = self._lake.roll
        if len(self._open) < roll.open_files:
            return
        if roll.fail:
            raise SinkParked(
                f"more than max_open_files: {roll.open_files} partitions in one delivery, and "
                "`when_too_many_open` is fail; the rows are kept: make partition_by coarser or "
                "raise the bound, and start the sink again"
            )
        self._finish(next(iter(self._open)))

    def _finish_if_full(self, key: Key, file: OpenFile) -> None:
        if file.full or 0 < self._lake.roll.rows <= file.rows:
            self._finish(key)
        elif file.wants_flush:
            self._flush(key)

    def _finish(self, key: Key) -> None:
        file = self._open[key]
        file.note = {**file.note, **self._lake.note(file, self._times)}
        staged = file.finish()
        self._lake.check_placed(file)
        with self._staging:
            self._staged[file.number] = staged
            del self._open[key]

    def _roll_to(self, version: int) -> None:
        """Files have one schema, and so do the dead letters: what is a bad row depends on it."""
        if version != self._version:
            self._finish_all([key for key in self._open if key[0] != "poison"])
            self._version = version

    def _finish_all(self, keys: list[Key]) -> None:
        """Several at once: encoding and uploading leave the interpreter to others."""
        if len(keys) < 2:
            for key in keys:
                self._finish(key)
            return
        threads = min(_STAGE_THREADS, len(keys))
        pool = self._lake.context.threads.pool("stage", threads)
        try:
            for done in [pool.submit(partial(self._finish, key)) for key in keys]:
                done.result()
        finally:
            pool.shutdown()

    def _keep_to_budget(self) -> None:
        """Over the budget, write the largest as row groups; where what only the end of a file sets
        free has become half of it, end the files that hold most of that. So there is always room
        for row groups of a size worth reading.
        """
        allowed = self._lake.budget.allowance(self._delivery)
        held = self._hold()
        if held <= allowed:
            return
        for key in self._largest(lambda file: file.buffered):
            held -= self._flush(key)
            if held <= allowed * _KEEP_SHARE:
                break
        held, fixed = self._hold(), self._fixed()
        if held > allowed or fixed > allowed * _FIXED_SHARE:
            self._end_heaviest(held - allowed * _KEEP_SHARE, fixed - allowed * _FIXED_SHARE / 2)
            self._hold()

    def _end_heaviest(self, excess: float, fixed_excess: float) -> None:
        """End files until so many bytes less are held, and so many less that only this frees."""
        for key in self._largest(lambda file: file.held + file.footer_held):
            if excess <= 0 and fixed_excess <= 0:
                return
            file = self._open[key]
            fixed = file.held + file.footer_held
            excess -= file.buffered + fixed
            fixed_excess -= fixed
            self._finish(key)

    def _largest(self, size: Callable[[OpenFile], int]) -> list[Key]:
        return sorted(self._open, key=lambda key: -size(self._open[key]))

    def _flush(self, key: Key) -> int:
        """Write what a file has buffered, or end it if it would be one upload too many. Bytes that
        are not held any more.
        """
        file = self._open[key]
        before = file.buffered + file.held
        uploads = 0 if file.open_at_store else sum(f.open_at_store for f in self._open.values())
        if uploads >= self._lake.roll.uploads:
            self._finish(key)
            return before
        file.flush()
        return before - file.held

    def _hold(self) -> int:
        held = self._fixed() + sum(file.buffered for file in self._open.values())
        self._lake.budget.hold(self._delivery, held, len(self._open))
        return held

    def _fixed(self) -> int:
        """Bytes that only the end of files sets free; of footers what is above FOOTERS_FREE."""
        files = self._open.values()
        footers = sum(file.footer_held for file in files)
        return sum(file.held for file in files) + max(0, footers - FOOTERS_FREE)

    def stage(self) -> Manifest:
        """End all files. Blocks until every byte is durable at the store."""
        if self._manifest is None:
            self._raise_if_broken()
            self._finish_all(list(self._open))
            self._lake.budget.hold(self._delivery, 0, 0)
            if self._late:
                self._lake.context.metrics.add("EventLateCount", self._late)
            self._manifest = Manifest(
                delivery=self._delivery,
                sink=self._lake.context.part,
                files=tuple(self._staged[number] for number in sorted(self._staged)),
                rows=self._rows,
                written=self._written,
                dead=self._dead,
                event_times=self._noted.times,
                partitions=self._noted.partitions,
            )
        return self._manifest

    def abandon(self) -> None:
        """Delete what was staged, as far as the store answers; the rest is collected later."""
        self._error = self._error or StagingFailed(f"delivery {self._delivery} was given up")
        for file in self._open.values():
            with suppress(RayflumeError):
                file.abort()
        for staged in self._staged.values():
            with suppress(RayflumeError):
                self._lake.storage.discard(staged.handle)
        self._open.clear()
        self._staged.clear()
        self._lake.budget.hold(self._delivery, 0, 0)
        self._lake.limit.abandoned(self._delivery)

    def _raise_if_broken(self) -> None:
        if isinstance(self._error, Retry):
            raise StagingFailed(self._error.message, **self._error.facts) from self._error
        if self._error is not None:
            raise self._error

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._error = error
            raise


def note_times(
    known: dict[str, tuple[int, int]],
    extents: tuple[Extent, ...],
    times: Ints,
    origin: Ints | None,
    streams_max: int = STREAMS_MAX,
) -> None:
    """Widen the lowest and highest event time of each stream. Above `streams_max` streams all
    others share one entry.
    """
    ends = np.cumsum([extent.rows for extent in extents], dtype=np.int64)
    if origin is not None:
        ends = np.searchsorted(origin, ends)
    starts = np.concatenate([[0], ends[:-1]])
    filled = np.flatnonzero(ends > starts)
    if not len(filled):
        return
    lows = np.minimum.reduceat(times, starts[filled]).tolist()
    highs = np.maximum.reduceat(times, starts[filled]).tolist()
    for place, low, high in zip(filled.tolist(), lows, highs, strict=True):
        stream = extents[place].stream
        if stream not in known and len(known) >= streams_max:
            stream = OTHER_STREAMS
        before = known.get(stream, (low, high))
        known[stream] = (min(before[0], low), max(before[1], high))
