"""The contract of a storage: a lake on one store, its files on their way and visible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from rayflume.interfaces.values import Json


class StagedWriter(Protocol):
    """One file on its way to the store: written front to back, invisible.

    A writer that keeps bytes in memory until the store has them tells how many in an attribute
    `held_bytes`; sinks count them against their budget.
    """

    def write(self, data: pa.Buffer | bytes | memoryview) -> int: ...
    def finish(self) -> dict[str, Json]:
        """All bytes are at the store and durable. The handle publishes the file from any process.
        Blocks.
        """
        ...

    def abort(self) -> None: ...


class LakeReader(Protocol):
    """A visible file, read at any place; `pyarrow.parquet` takes it. One thread at a time. Blocks.

    It never holds a whole file in memory. A file that was removed since may still be read to its
    end, or a read raises KeyError.
    """

    def read(self, size: int = -1, /) -> bytes | None: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...
    def close(self) -> None: ...


class Published(StrEnum):
    """What became of one staged file: visible (now or before), or proven gone."""

    LANDED = "landed"
    LOST = "lost"


class Storage(Protocol):
    """A lake on one store, below one base path. Paths are relative to it, with `/`. Thread-safe.

    T1  `check` raises StorageDenied with one clear sentence if the base cannot be written to.
    T2  Nothing written through `stage` is visible under its target before `publish`; nothing under
        `_rayflume/staging/` or in unfinished uploads is ever seen by a reader of the lake.
    T3  `publish` never overwrites. A target that already carries this delivery's file counts as
        LANDED; another's raises TargetTaken. All targets are durable when it returns.
        StorageUnavailable: unknown, ask again.
    T4  `discard` deletes staged bytes; unknown or already gone is success.
    T5  `create` is put-if-absent: True if this call made it. `read` raises KeyError when there is
        no such file.
    T6  A path that leaves the base (`..`, absolute, symbolic link) is refused with ValueError.
    T7  `sizes` and `open` show visible files only, as they are when asked. `open` raises KeyError
        when there is no such file.
    T8  `remove` deletes visible files and never anything below `_rayflume/staging/` (ValueError,
        and then nothing is removed). Gone already is success. Durable when it returns.

    One that can tell how large staged bytes are has `staged_size(handle)`: `rayflume gc` shows it.
    One that knows when a file became visible has `modified(prefix)`: path -> epoch milliseconds by
    the store's clock; `rayflume compact` tells closed partitions by it.
    """

    def check(self) -> None: ...
    def stage(self, target: str, delivery: str) -> StagedWriter: ...
    def publish(self, handles: Sequence[Mapping[str, Json]]) -> list[Published]: ...
    def discard(self, handle: Mapping[str, Json]) -> None: ...
    def staged(self, journal: str) -> list[tuple[str, dict[str, Json]]]:
        """(delivery id, handle) of all staged bytes whose delivery id starts with `journal`."""
        ...

    def create(self, path: str, data: bytes) -> bool: ...
    def read(self, path: str) -> bytes: ...
    def list(self, prefix: str) -> list[str]:
        """Paths of the visible files below `prefix`, sorted."""
        ...

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each visible file below `prefix`, sorted by path. Blocks."""
        ...

    def open(self, path: str) -> LakeReader: ...
    def remove(self, paths: Sequence[str]) -> None: ...
    def close(self) -> None: ...
