"""The contracts between a source and its channels: interceptor and selector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rayflume.batch import EventBatch


class Interceptor(Protocol):
    """Changes or drops rows of a batch, vectorised.

    I1  Rows keep their order; the extents still cover all that was read (use the methods of
        EventBatch).
    I2  Never raises for what a body holds.
    """

    def intercept(self, batch: EventBatch) -> EventBatch: ...


@dataclass(frozen=True, slots=True)
class Share:
    """What one channel gets of a batch. A required channel gets every extent, with no rows if need
    be.
    """

    channel: str
    batch: EventBatch
    required: bool = True


class Selector(Protocol):
    """Decides which channels get which rows of a batch.

    L1  Each required channel appears once, with all extents of the batch.
    """

    def select(self, batch: EventBatch, channels: Sequence[str]) -> list[Share]: ...
    def required(self, channels: Sequence[str]) -> list[str]:
        """Names of the channels without which a batch is not accepted."""
        ...
