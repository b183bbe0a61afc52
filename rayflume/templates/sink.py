"""A sink of my own: it hands each batch to a function, here to a file, elsewhere to a service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from rayflume.batch import EventBatch
from rayflume.component import LOCAL_PATH, Component, Context, option
from rayflume.interfaces import DeliveryLimits, Manifest, RowRange, StagedFile


class MySink(Component):
    """Append every body as a line to a file."""

    kind = "sink"
    staged: ClassVar[bool] = False
    """For `rayflume validate`: rows are out at once, so a retry repeats them (at least once)."""

    path: str = option("The file.", example="rows.txt", json_schema_extra=LOCAL_PATH)

    def build(self, context: Context) -> MyDeliverer:
        return MyDeliverer(context.path(self.path), context.part)

    def check(self, context: Context) -> list[str]:
        """What `rayflume validate` says before anything starts, a sentence each."""
        folder = context.path(self.path).parent
        return [] if folder.is_dir() else [f"the directory {folder} does not exist; create it"]


class MyDeliverer:
    """Implements rayflume.interfaces.Sink for what cannot stage."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._lock = threading.Lock()

    def open(self) -> None:
        """Connect. Raise rayflume.errors.Retry when the other end does not answer yet."""

    def send(self, batch: EventBatch) -> None:
        """Put your own sending here. All rows must be safe at the other end when it returns.

        Raise rayflume.errors.Retry when that is not sure: the rows come again. Two threads may
        call it at a time.
        """
        rows = [b"" if body is None else body for body in batch.body.to_pylist()]
        with self._lock, self._path.open("ab") as file:
            file.writelines(row + b"\n" for row in rows)

    def begin(self, delivery: str) -> MyDelivery:
        return MyDelivery(self, delivery, self._name)

    def publish(self, manifest: Manifest) -> list[StagedFile]:
        """There are no files that could be made visible, or be lost."""
        return []

    def rebuild(
        self,
        manifest: Manifest,
        lost: Sequence[StagedFile],
        read: Callable[[Sequence[RowRange]], Iterable[tuple[int, EventBatch]]],
    ) -> Manifest:
        return manifest

    def collect(self, journal: str, garbage: Callable[[Sequence[str]], list[str]]) -> None:
        """Nothing is staged that could be left behind."""

    def limits(self) -> DeliveryLimits:
        """When a delivery is committed: after so many bytes, or so long."""
        return DeliveryLimits(bytes=16 * 2**20, age_ms=1_000)

    def close(self) -> None:
        """Close what is open."""


class MyDelivery:
    """Implements rayflume.interfaces.DeliveryWriter: some rows on their way out, then counted."""

    def __init__(self, sink: MyDeliverer, delivery: str, name: str) -> None:
        self._sink = sink
        self._delivery = delivery
        self._name = name
        self._rows = 0

    def write(self, batch: EventBatch, position: int, poison: str = "") -> None:
        """Rows that ended the process too often come with `poison`, the reason: leave them out."""
        if not poison:
            self._sink.send(batch)
        self._rows += batch.num_rows

    def stage(self) -> Manifest:
        return Manifest(self._delivery, self._name, rows=self._rows, written=self._rows)

    def abandon(self) -> None:
        """What was sent cannot be taken back; the rows come again."""
