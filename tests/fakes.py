"""Small real-enough parts for tests: a context, a channel; rows are made in the package."""

from __future__ import annotations

from pathlib import Path

from rayflume.channels._journaled import ChannelSetup, JournaledChannel
from rayflume.clock import Clock, ManualClock, SystemClock
from rayflume.component import Context
from rayflume.journal.options import JournalOptions
from rayflume.journal.seam import Disk
from rayflume.metrics import Metrics
from rayflume.testing._rows import (
    Leased,
    bodies_of,
    deliver,
    manifest_of,
    numbers,
    put_numbers,
    request,
    take_all,
    take_rows,
)

__all__ = [
    "Leased",
    "bodies_of",
    "context",
    "deliver",
    "journaled",
    "manifest_of",
    "manual",
    "numbers",
    "put_numbers",
    "request",
    "take_all",
    "take_rows",
]


def context(directory: Path, part: str = "wal", clock: Clock | None = None) -> Context:
    """A context for one part, with relative paths below `directory`."""
    return Context("test", part, clock or SystemClock(), Metrics(), directory)


def manual(directory: Path, part: str = "wal") -> tuple[Context, ManualClock]:
    """A context whose clock is walked by hand."""
    clock = ManualClock()
    return Context("test", part, clock, Metrics(), directory), clock


def journaled(
    disk: Disk, around: Context, options: JournalOptions | None = None
) -> JournaledChannel:
    """An open channel, as the file channel makes it, on any disk."""
    setup = ChannelSetup(durable=True)
    channel = JournaledChannel(disk, options or JournalOptions(), around, setup)
    channel.open()
    return channel
