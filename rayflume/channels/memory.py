"""The channel in memory: fast, and gone with its process; only positions survive."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import ClassVar

from isal.isal_zlib import crc32
from pydantic import field_validator

from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import ChannelSetup, JournaledChannel
from rayflume.channels.file import Capacity
from rayflume.component import Component, Context, component, option
from rayflume.interfaces import PutOutcome, PutRequest
from rayflume.journal.disk import LocalDisk, MemoryDisk
from rayflume.journal.ledger import Ledger, LedgerLimits
from rayflume.journal.options import JournalOptions
from rayflume.units import Millis

_TABLE_SEGMENT_BYTES = 4 * 2**20
_ROWS_SEGMENT_BYTES = 16 * 2**20


@component
class Memory(Component):
    """Channel in memory: rows are lost when its process dies.

    Only the table of streams is kept on disk and moved on when rows are committed, so a replayable
    source reads again what was not committed (at least once); rows of a socket are lost.
    """

    durable: ClassVar[bool] = False
    adjusts: ClassVar[bool] = True
    """Its options can change while it holds rows: see MemoryChannel.adjust."""

    capacity: Capacity = option(
        "Rows and bytes the channel may hold, or only a number of rows as in Flume. (Flume's "
        "default of 100 rows would hold not one batch.)",
        factory=lambda: Capacity(events=1_000_000, bytes=256 * 2**20),
        example={"events": 1_000_000, "bytes": "256MiB"},
    )
    lease_timeout: Millis = option(
        "After so long without a sign of life a sink loses the rows it took but did not prepare.",
        default=30_000,
        ge=1_000,
        example="30s",
    )

    @field_validator("capacity", mode="before")
    @classmethod
    def _rows_only(cls, value: object) -> object:
        if isinstance(value, int):
            return {"events": value, "bytes": 256 * 2**20}
        return value

    def build(self, context: Context) -> MemoryChannel:
        """The channel, not yet open."""
        return MemoryChannel(self, context)


def _limits(options: Memory) -> LedgerLimits:
    return LedgerLimits(options.capacity.events, options.capacity.bytes, options.lease_timeout)


class MemoryChannel(JournaledChannel):
    """A journal on a disk in memory, beside a small durable journal that holds only positions."""

    def __init__(self, options: Memory, context: Context) -> None:
        directory = context.path(str(context.state_dir)) / context.agent / context.part
        limits = _limits(options)
        self._table = JournaledChannel(
            LocalDisk(directory, _TABLE_SEGMENT_BYTES),
            JournalOptions(limits, _TABLE_SEGMENT_BYTES),
            context,
            ChannelSetup(durable=True),
        )
        self._behind: deque[tuple[int, Extent]] = deque()
        self._extents_behind: Counter[str] = Counter()
        """Stream -> how many of its extents are in `_behind`."""
        self._retiring: set[str] = set()
        """Streams to retire once none of their extents is behind any more."""
        self._settled: set[str] = set()
        """Those of them that have none."""
        setup = ChannelSetup(False, False, 0, self._load, self._note_put, self._move_on)
        super().__init__(MemoryDisk(), JournalOptions(limits, _ROWS_SEGMENT_BYTES), context, setup)

    @property
    def journal_directory(self) -> Path | None:
        """That of the table of streams."""
        return self._table.journal_directory

    def adjust(self, options: Memory) -> None:
        """Take other options from now on; the rows stay (as in Flume, which re-uses a memory
        channel when the configuration is loaded anew).
        """
        self.resize(_limits(options))

    def open(self) -> None:
        self._table.open()
        with self._table._open_ledger() as table:
            # So that what earlier lives staged is known to be this channel's, and is collected.
            stamp = self._table._journal.stamp()
            self._journal.identity = table.journal, table.epoch, stamp
        super().open()

    def _load(self, ledger: Ledger) -> None:
        with self._table._open_ledger() as table:
            ledger.streams.update(table.streams)
            ledger.retired_ms.update(table.retired_ms)
            ledger.keys.load(table.keys.to_json())

    def _note_put(self, stop: int, extents: tuple[Extent, ...]) -> None:
        for extent in extents:
            last_stop, last = self._behind[-1] if self._behind else (-1, extent)
            if last_stop == stop and _goes_on(last, extent):
                # Rows that interceptors dropped, or a selector sent elsewhere, take no room.
                self._behind[-1] = stop, replace(extent, start=last.start, rows=0)
                continue
            self._behind.append((stop, replace(extent, rows=0)))
            self._extents_behind[extent.stream] += 1
            self._settled.discard(extent.stream)

    def _move_on(self, ledger: Ledger) -> None:
        """Note durably the extents all of whose rows are committed."""
        first = ledger.unfinished.first
        committed = takewhile(lambda item: first is None or item[0] <= first, self._behind)
        done = [extent for _, extent in committed]
        if done:
            payload = EventBatch.from_events([]).encode()
            request = PutRequest(
                self._context.part, tuple(done), payload, crc32(payload), 0, skip="as taken"
            )
            if self._table.put(request).outcome is not PutOutcome.STORED:
                return  # the disk of the table is full: the next commit tries again
        for extent in done:
            self._behind.popleft()
            self._settle(extent.stream)
        if self._settled:
            self._table.retire(sorted(self._settled))
            self._retiring -= self._settled
            self._settled.clear()

    def _settle(self, stream: str) -> None:
        self._extents_behind[stream] -= 1
        if not self._extents_behind[stream]:
            del self._extents_behind[stream]
            if stream in self._retiring:
                self._settled.add(stream)

    def retire(self, streams: Sequence[str]) -> None:
        super().retire(streams)
        with self._open_ledger() as ledger:
            # In the table a stream is retired once its last rows are committed.
            self._retiring.update(streams)
            self._settled.update(name for name in streams if name not in self._extents_behind)
            self._move_on(ledger)

    def close(self) -> None:
        super().close()
        self._table.close()


def _goes_on(last: Extent, following: Extent) -> bool:
    """Whether two extents are one piece of a stream."""
    if last.keyed or following.keyed:
        return False
    return (last.stream, last.end) == (following.stream, following.start)
