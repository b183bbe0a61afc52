"""The last step of publishing into a table: the files of a delivery become part of it.

Order: look whether the table has the delivery; make its files visible; read their footers; commit.
So a file that the table's own clean-up removed since is never asked for, and at any crash either
the table has all files of the delivery or none.
"""

from __future__ import annotations

from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.errors import LakeDamaged, PublishUnknown, StorageUnavailable, TableRefused
from rayflume.interfaces import Contract, Manifest, StagedFile
from rayflume.schema import to_json
from rayflume.sinks._parquet_lake import ParquetLake
from rayflume.table import Addition, Table, TableFile, described

_FOOTER_THREADS = 8


class TableCommits:
    """A table over a lake. Thread-safe. All methods block."""

    def __init__(self, table: Table, lake: ParquetLake) -> None:
        self._table = table
        self._lake = lake

    def open(self) -> None:
        """Look at the table, and let the lake have its columns, unless it is frozen: what does not
        fit them is a dead letter from the first row on, and never an obstacle to a commit.

        Raises TableRefused where the lake has other types already, and StorageUnavailable.
        """
        version, schema = self._lake.schemas.current()
        known = self._columns(schema)
        found = self._table.open(known)
        usable = [f for f in found if f.name not in known.names and _is_lake_type(f)]
        frozen = version > 0 and self._lake.schemas.contract is Contract.FREEZE
        if usable and not frozen:
            self._lake.schemas.agree(pa.schema(usable))

    def has(self, manifest: Manifest) -> bool:
        """Whether all of a delivery is done: its dead letters were visible before its commit."""
        return bool(_rows(manifest)) and self._table.committed(manifest.delivery)

    def add(self, manifest: Manifest) -> None:
        """Commit the files of a delivery, which are all visible. Raises Retry: ask again."""
        files = _rows(manifest)
        if not files:
            return
        version = max(file.schema_version for file in files)
        columns = self._columns(self._lake.schemas.version(version))
        now_ms = self._lake.context.clock.now_ms()
        self._table.commit(Addition(manifest.delivery, columns, self._described(files), now_ms))

    def close(self) -> None:
        self._table.close()

    def _columns(self, schema: pa.Schema | None) -> pa.Schema:
        columns = pa.schema([]) if schema is None else schema
        for name in self._lake.splitter.partitioning.names:
            if name in columns.names:
                raise TableRefused(
                    f"the lake has a column {name!r} (in its `_rayflume/schema/`), and a partition "
                    "of a table cannot have its name; name the partition otherwise"
                )
        return columns

    def _described(self, files: list[StagedFile]) -> list[TableFile]:
        pool = self._lake.context.threads.pool("footers", min(_FOOTER_THREADS, len(files)))
        try:
            work = [pool.submit(partial(self._footer, file)) for file in files]
            footers = [done.result() for done in work]
        finally:
            pool.shutdown()
        return [
            TableFile(file.target, file.size, footer)
            for file, footer in zip(files, footers, strict=True)
        ]

    def _footer(self, file: StagedFile) -> pq.FileMetaData:
        try:
            reader = self._lake.storage.open(file.target)
        except KeyError:
            # Published a moment ago: ask again, and if it is lost it will be built anew.
            raise PublishUnknown(f"{file.target} was published and is not there") from None
        try:
            return pq.read_metadata(reader)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise StorageUnavailable(f"{file.target}: {described(error)}") from error
            # Arrow has an OSError of its own for bytes that are no footer.
            raise LakeDamaged(
                f"{file.target} was published and has no footer that can be read "
                f"({described(error)}): restore the file, its delivery is not in the table yet",
                path=file.target,
            ) from error
        finally:
            reader.close()


def _rows(manifest: Manifest) -> list[StagedFile]:
    return [file for file in manifest.files if not file.dead]


def _is_lake_type(field: pa.Field) -> bool:
    try:
        to_json(pa.schema([field]))
    except ValueError:
        return False
    return True
