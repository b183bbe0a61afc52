"""The contract of a sink, and of one delivery that it fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rayflume.batch import EventBatch
from rayflume.interfaces.manifest import Manifest, StagedFile
from rayflume.interfaces.values import RowRange


class DeliveryWriter(Protocol):
    """One delivery being filled. One thread calls it.

    W1  `write` takes the rows (journal positions `[position, position + num_rows)`, extents
        clipped to them) into the delivery. With `poison` they go to the dead letters undecoded,
        with that text as reason. Blocks.
    W2  `stage`: every byte is at the store and durable, nothing is visible; the manifest tells
        all. May be called from another thread than `write`, after the last `write`. May be asked
        again after Retry, but after StagingFailed only abandoned. Blocks.
    W3  `abandon`: give up; staged bytes may be deleted at once, for nothing was prepared. Never
        raises Retry.
    """

    def write(self, batch: EventBatch, position: int, poison: str = "") -> None: ...
    def stage(self) -> Manifest: ...
    def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """When a delivery ends, 0 = never for this reason: body bytes taken, rows, age and idle time
    in ms.
    """

    bytes: int = 0
    rows: int = 0
    age_ms: int = 0
    idle_ms: int = 0


class Sink(Protocol):
    """Delivers rows. Several deliveries may be open at once (one publishing, one filling).

    K1  `publish` makes all files of a Prepared manifest visible, whoever staged them; twice is the
        same as once. Returns the files proven lost. Raises Retry when the outcome is unknown: ask
        again. Blocks.
    K2  `rebuild` stages lost files anew from their rows: `read(ranges)` gives (position, batch)
        pairs. The new manifest has the same delivery, rows and targets.
    K3  `collect` deletes staged bytes of `journal` whose deliveries `garbage` names.
    K4  `limits` says when a delivery of this sink ends; the lane does the deciding.

    One that has more to tell than its metrics has `describe()`, as sources have.
    """

    def open(self) -> None: ...
    def begin(self, delivery: str) -> DeliveryWriter: ...
    def publish(self, manifest: Manifest) -> list[StagedFile]: ...
    def rebuild(
        self,
        manifest: Manifest,
        lost: Sequence[StagedFile],
        read: Callable[[Sequence[RowRange]], Iterable[tuple[int, EventBatch]]],
    ) -> Manifest: ...
    def collect(self, journal: str, garbage: Callable[[Sequence[str]], list[str]]) -> None: ...
    def limits(self) -> DeliveryLimits: ...
    def close(self) -> None: ...
