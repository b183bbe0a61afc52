"""One channel, one lake and the flow between them, in one thread, for the museum's tests."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from disks import FaultyDisk
from fakes import context, journaled, request

from rayflume import flow
from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.clock import ManualClock
from rayflume.component import lookup
from rayflume.errors import Retry
from rayflume.flow import Lane, Status
from rayflume.interfaces import RowRef, Sink
from rayflume.journal.ledger import LedgerLimits
from rayflume.journal.options import JournalOptions
from rayflume.journal.reader import RowsUnreadable, decode_rows
from rayflume.metrics import Metrics
from rayflume.storage import memory
from rayflume.storage.memory import MemoryStore

_names = itertools.count()


class Lab:
    """A journal on a disk that can fail, and a lake in memory that outlives everything."""

    def __init__(self, directory: Path, segment_bytes: int = 2**20, **limits: int) -> None:
        self.clock = ManualClock()
        self.directory = directory
        self.disk = FaultyDisk()
        self.options = JournalOptions(LedgerLimits(**limits), segment_bytes)
        self.lake = f"museum-{next(_names)}"
        self.lives = itertools.count()
        self.sent = 0
        self.channel = self._open()

    def _open(self) -> JournaledChannel:
        self.context = context(self.directory, "wal", self.clock)
        return journaled(self.disk, self.context, self.options)

    @property
    def store(self) -> MemoryStore:
        return memory.store(self.lake)

    def crash(self) -> None:
        """The machine loses its power: what was not synced is gone."""
        self.disk.power_failure(lambda _: 0)
        self.channel = self._open()

    def put(self, *rows: object) -> None:
        """Rows of one stream; what is not bytes becomes JSON."""
        bodies = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        stop = self.sent + len(rows)
        self.channel.put(request(bodies, [Extent("s", self.sent, stop, len(rows))]))
        self.sent = stop

    def sink(self, **options: object) -> Sink:
        merged = {
            "path": f"memory://{self.lake}",
            "format": {"type": "json", "schema": {"n": "int64"}},
            **options,
        }
        part = lookup("sink", "parquet").model_validate(merged)
        sink: Sink = part.build(context(self.directory, "lake", self.clock))
        sink.open()
        return sink

    def lane(self, replica: int = 0, **options: object) -> Lane:
        """A new life of the sink."""

        def read(ref: RowRef) -> EventBatch:
            [record] = self.channel.fetch([ref])
            try:
                return decode_rows(record, ref)
            except RowsUnreadable as error:
                # As a runner does: the channel sets them aside.
                self.channel.damaged(ref, str(error))
                return EventBatch.from_events([])

        holder = f"lake/{replica}/life{next(self.lives)}"
        sink = self.sink(**options)
        return Lane("lake", holder, self.channel, sink, read, self.clock, Metrics())

    def fill(self, lane: Lane) -> None:
        """Take all that waits, and close the delivery."""
        self.channel.drain(True)
        while not lane.closing:
            flow.drain(lane, 0)
        self.channel.drain(False)

    def deliver(self, lane: Lane | None = None, tries: int = 500) -> None:
        """Recover, then deliver all that waits, asking again as a runner does."""
        lane = lane or self.lane()
        lane.closing += flow.recover(lane)
        self.channel.drain(True)
        for _ in range(tries):
            try:
                done = flow.drain(lane, 0) is Status.DRAINED
                while lane.closing:
                    flow.finish(lane, lane.closing[0])
                    lane.closing.pop(0)
                if done:
                    self.channel.drain(False)
                    return
            except Retry:
                # The runner's: a delivery that was not prepared is given up, its rows come again.
                flow.release(lane)
        raise AssertionError(f"still not delivered after {tries} tries: {self.channel.state()}")

    def files(self, ending: str = ".parquet") -> dict[str, Any]:
        """Path -> table of the visible files."""
        return {
            path: pq.ParquetFile(io.BytesIO(data)).read()
            for path, data in sorted(self.store.files.items())
            if path.endswith(ending)
        }

    def rows(self, column: str = "n") -> list[Any]:
        """One column of all rows in the lake, sorted."""
        tables = self.files().values()
        return sorted(value for table in tables for value in table[column].to_pylist())

    def dead(self) -> list[dict[str, Any]]:
        return [row for table in self.files(".dead").values() for row in table.to_pylist()]


def numbered(rows: Sequence[int]) -> list[dict[str, int]]:
    return [{"n": n} for n in rows]
