"""A sink that stages files of a delivery, and then makes all of them visible: the steps that do not
depend on what is in the files.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from rayflume import tombstones
from rayflume.batch import EventBatch
from rayflume.component import Context
from rayflume.directories import unwritable
from rayflume.errors import RayflumeError
from rayflume.interfaces import (
    DeliveryLimits,
    DeliveryWriter,
    Json,
    Manifest,
    Published,
    RowRange,
    StagedFile,
    Storage,
)
from rayflume.lake import storage_for, storage_type
from rayflume.sinks._delivery import LakeDelivery
from rayflume.sinks._lake import Lake
from rayflume.sinks._rebuild import rebuild


class LakeSink:
    """A Sink. Thread-safe but for its deliveries, of which each has one writer at a time."""

    staged: ClassVar[bool] = True

    def __init__(self, lake: Lake, limits: DeliveryLimits) -> None:
        self._lake = lake
        self._limits = limits

    @property
    def storage(self) -> Storage:
        return self._lake.storage

    def open(self) -> None:
        """Check that the lake can be written to. Blocks. Raises StorageDenied and
        StorageUnavailable.
        """
        self._lake.open()

    def begin(self, delivery: str) -> DeliveryWriter:
        return LakeDelivery(self._lake, delivery)

    def known(self, manifest: Manifest) -> bool:
        """Whether something else than the files says that the delivery was published. Blocks."""
        return False

    def landed(self, manifest: Manifest) -> None:
        """All files of a delivery are visible; this may be told again. Blocks."""

    def publish(self, manifest: Manifest) -> list[StagedFile]:
        """As K1. A file that is gone, but which a tombstone names, had been published."""
        if not manifest.files:
            return []
        if self.known(manifest):
            self._note_published(manifest)
            return []
        outcomes = self._lake.storage.publish([file.handle for file in manifest.files])
        lost = [
            file
            for file, outcome in zip(manifest.files, outcomes, strict=True)
            if outcome is Published.LOST
        ]
        if lost:
            # Whoever removes a file first makes its tombstone durable, so this look is not early.
            gone = tombstones.removed(self._lake.storage, [file.target for file in lost])
            lost = [file for file in lost if file.target not in gone]
        if not lost:
            self.landed(manifest)
            self._note_published(manifest)
        return lost

    def _note_published(self, manifest: Manifest) -> None:
        self._lake.limit.published(manifest.delivery)
        self._lake.published(manifest)

    def rebuild(
        self,
        manifest: Manifest,
        lost: Sequence[StagedFile],
        read: Callable[[Sequence[RowRange]], Iterable[tuple[int, EventBatch]]],
    ) -> Manifest:
        return rebuild(self._lake, manifest, lost, read)

    def collect(self, journal: str, garbage: Callable[[Sequence[str]], list[str]]) -> None:
        """Delete staged bytes that nobody will publish. Blocks."""
        staged = self._lake.storage.staged(journal)
        dead = set(garbage(sorted({delivery for delivery, _ in staged})))
        for delivery, handle in staged:
            if delivery in dead:
                self._lake.storage.discard(handle)

    def limits(self) -> DeliveryLimits:
        return self._limits

    def describe(self) -> dict[str, Json]:
        """What was committed to the partitions that were written last. Does not block."""
        return self._lake.describe()

    def close(self) -> None:
        self._lake.storage.close()


def refusals(path: str, options: Mapping[str, object], context: Context) -> list[str]:
    """Why the lake at `path` cannot be written to, a sentence each; a remote store is asked.

    Raises ConfigError: wrong storage options.
    """
    if storage_type(path) == "local":
        return unwritable("path", context.path(path.removeprefix("file://")))
    storage = storage_for(path, options, context)
    try:
        storage.check()
    except RayflumeError as error:
        return [error.message]
    finally:
        storage.close()
    return []


def uploads_max() -> int:
    """A quarter of the descriptors of this process: two deliveries may be open, and others live
    here, too.
    """
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, soft // 4) if soft != resource.RLIM_INFINITY else 1 << 16
