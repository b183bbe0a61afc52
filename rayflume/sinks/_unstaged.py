"""Deliveries of sinks that cannot stage: rows are out as soon as they are written, so a crash
before the commit sends them again (at least once).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from rayflume.batch import EventBatch
from rayflume.interfaces import (
    DeliveryLimits,
    DeliveryWriter,
    Manifest,
    RowRange,
    StagedFile,
)

_LIMITS = DeliveryLimits(bytes=64 << 20, age_ms=1_000)
"""There is nothing to collect for a file, so rows are committed soon."""


class UnstagedSink:
    """A Sink that hands each batch to `emit` and has no files. `emit` may be called from several
    threads.
    """

    staged: ClassVar[bool] = False

    def __init__(self, name: str, emit: Callable[[EventBatch], None]) -> None:
        self._name = name
        self._emit = emit

    def open(self) -> None:
        """Nothing to open."""

    def begin(self, delivery: str) -> DeliveryWriter:
        return _UnstagedDelivery(Manifest(delivery, self._name), self._emit)

    def publish(self, manifest: Manifest) -> list[StagedFile]:
        return []

    def rebuild(
        self,
        manifest: Manifest,
        lost: Sequence[StagedFile],
        read: Callable[[Sequence[RowRange]], Iterable[tuple[int, EventBatch]]],
    ) -> Manifest:
        return manifest

    def collect(self, journal: str, garbage: Callable[[Sequence[str]], list[str]]) -> None:
        """Nothing is staged."""

    def limits(self) -> DeliveryLimits:
        return _LIMITS

    def close(self) -> None:
        """Nothing is open."""


class _UnstagedDelivery:
    def __init__(self, empty: Manifest, emit: Callable[[EventBatch], None]) -> None:
        self._empty = empty
        self._emit = emit
        self._rows = 0

    def write(self, batch: EventBatch, position: int, poison: str = "") -> None:
        """Poisonous rows are counted like others: a sink without files has no dead letters."""
        if not poison:
            self._emit(batch)
        self._rows += batch.num_rows

    def stage(self) -> Manifest:
        return Manifest(self._empty.delivery, self._empty.sink, rows=self._rows, written=self._rows)

    def abandon(self) -> None:
        """What is out cannot be taken back."""
