"""The state of the sink's half of the path of data: one sink on one channel.

Two threads share it. One drains: `open`, `turn` and `orphans` are its own. The other finishes what
is in `closing`, oldest first. What either gives up is in `dropped` until the channel has heard of
it, which is told by the one that drains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rayflume.batch import EventBatch
from rayflume.clock import Clock
from rayflume.delivery import Delivery
from rayflume.interfaces import Channel, RowRef, Sink
from rayflume.metrics import Metrics
from rayflume.threads import Pool


@dataclass
class Lane:
    """One sink on one channel. `open` is the delivery being filled, `closing` those behind it."""

    name: str
    holder: str
    channel: Channel
    sink: Sink
    read: Callable[[RowRef], EventBatch]
    clock: Clock
    metrics: Metrics
    take_bytes: int = 32 * 2**20
    reader: Pool | None = None  # where `read` is called ahead of the writing; None: not ahead
    open: Delivery | None = None
    closing: list[Delivery] = field(default_factory=list)
    dropped: list[Delivery] = field(default_factory=list)
    """Given up here; the channel has not heard of it yet."""
    turn: int = 1
    """Number of the next take."""
    taken_bytes: int = 0  # of the records of the newest take
    orphans: bool = False
    """Prepared deliveries are to be adopted; the channel has not answered yet."""
    collect_at_ms: int = 0
