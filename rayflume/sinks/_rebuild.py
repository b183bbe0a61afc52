"""Files whose staged bytes were lost, built anew from their rows.

What a row becomes depends only on the row, the options, the recorded schema version and the time
the delivery began (kept in each file's handle); so the new file has the very same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from rayflume.batch import EventBatch
from rayflume.dead_letters import DEAD_SCHEMA, DeadRows, dead_table
from rayflume.errors import JournalDamaged
from rayflume.interfaces import Manifest, RowRange, StagedFile, StagedWriter
from rayflume.sinks._files import LakeFile
from rayflume.sinks._ingest import number, timed
from rayflume.sinks._lake import Lake, OpenFile
from rayflume.sinks._streams import Origins

_NOTED = ("begun_ms", "clock", "host", "bucket", "poison")

Read = Callable[[Sequence[RowRange]], Iterable[tuple[int, EventBatch]]]


def rebuild(lake: Lake, manifest: Manifest, lost: Sequence[StagedFile], read: Read) -> Manifest:
    """The manifest with every lost file staged again. Blocks.

    Raises JournalDamaged when the rows of a file cannot be found again.
    """
    built = {file.target: _rebuild_file(lake, manifest.delivery, file, read) for file in lost}
    files = tuple(built.get(file.target, file) for file in manifest.files)
    return replace(manifest, files=files)


def _rebuild_file(lake: Lake, delivery: str, lost: StagedFile, read: Read) -> StagedFile:
    def stage(target: str) -> StagedWriter:
        return lake.storage.stage(target, delivery)

    schema = DEAD_SCHEMA if lost.dead else lake.schema_of(lost.schema_version)
    if schema is None:
        raise JournalDamaged(f"{lost.target} of delivery {delivery} has rows but no schema version")
    file: OpenFile
    if lost.dead:
        file = LakeFile(lost.target, schema, lost.schema_version, lake.files.plain, stage)
    else:
        begun_ms = number(lost.handle.get("begun_ms"))
        file = lake.rows_file(lost.target, schema, lost.schema_version, stage, begun_ms)
        file.bucket = lake.bucket_of(lost)
    file.note = {name: lost.handle[name] for name in _NOTED if name in lost.handle}
    try:
        for position, batch in read(lost.ranges):
            for start, rows, ingest_ms in timed(lost.handle, position, batch):
                _add_rows(lake, (lost, ingest_ms), file, start, rows)
        if file.rows != lost.rows:
            raise JournalDamaged(
                f"{lost.target} of delivery {delivery} had {lost.rows} rows, but {file.rows} were "
                "found again: the options that decide where a row goes must be those it was "
                "written with"
            )
        file.ranges = list(lost.ranges)
        staged = file.finish()
        lake.check_placed(file)
        return staged
    except BaseException:
        file.abort()
        raise


def _add_rows(
    lake: Lake, what: tuple[StagedFile, int], file: OpenFile, position: int, batch: EventBatch
) -> None:
    """`what`: the lost file, and the time of rows without one."""
    lost, ingest_ms = what
    stop = position + batch.num_rows
    begun_ms = number(lost.handle.get("begun_ms"))
    poison = lost.handle.get("poison")
    if isinstance(poison, str):
        dead = DeadRows.all_of(batch, poison)
        file.append(dead_table(batch, dead, position, begun_ms), position, stop)
        return
    schema, decoded = lake.decode_as(batch, lost.schema_version)
    split = lake.splitter_of(lost.handle).split(batch, decoded, schema, ingest_ms)
    if lost.dead:
        if len(split.dead):
            file.append(dead_table(batch, split.dead, position, begun_ms), position, stop)
        return
    origins = Origins(batch)
    for piece in split.pieces:
        if piece.directory == file.bucket:
            file.streams.add(origins.of(piece.origin))
            file.append(piece.table, position, stop)
