"""A channel reduced to the put rule, and a runner reduced to its loop, to drive sources in
tests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rayflume.batch import EventBatch
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.interfaces import PollableSource, StreamPosition
from rayflume.metrics import Metrics
from rayflume.testing._expect import same, true


@dataclass
class ChannelModel:
    """Clause C1 and the stream table; holds rows by stream."""

    positions: dict[str, StreamPosition] = field(default_factory=dict)
    rows: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    arrived: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str | None]] = field(default_factory=list)

    def put(self, batch: EventBatch) -> tuple[str, int] | None:
        """None when stored, else the stream that is refused and where it stands."""
        same(sum(extent.rows for extent in batch.extents), batch.num_rows)
        standing = {name: position.next for name, position in self.positions.items()}
        for extent in batch.extents:
            next_wanted = standing.get(extent.stream, 0)
            if extent.end > next_wanted:
                if extent.start != next_wanted:
                    return extent.stream, next_wanted
                standing[extent.stream] = extent.end
        bodies = batch.body.to_pylist()
        columns = {name: batch.header(name).to_pylist() for name in batch.header_names()}
        first = 0
        for extent in batch.extents:
            stop = first + extent.rows
            before = self.positions.get(extent.stream, StreamPosition(0))
            if extent.end > before.next:
                true(not before.retired, f"{extent.stream} grows after it was retired")
                self.rows[extent.stream].extend(bodies[first:stop])
                self.arrived.extend(bodies[first:stop])
                for row in range(first, stop):
                    self.headers.append({name: columns[name][row] for name in columns})
                self.positions[extent.stream] = StreamPosition(extent.end, extent.token)
            first = stop
        return None

    def retire(self, streams: list[str]) -> None:
        for stream in streams:
            position = self.positions[stream]
            true(not position.retired, f"{stream} retired twice")
            self.positions[stream] = StreamPosition(position.next, position.token, True)

    @property
    def live(self) -> set[str]:
        return {name for name, position in self.positions.items() if not position.retired}


class Flow:
    """One source and one channel, as the runner drives them; `restart` is a crash of the source."""

    def __init__(self, build: Callable[[Context], PollableSource], directory: Path) -> None:
        self.build = build
        self.directory = directory
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.channel = ChannelModel()
        self.source = self._begin()

    def context(self) -> Context:
        return Context(
            "test", "part", self.clock, self.metrics, directory=self.directory, host_id="host-1"
        )

    def _begin(self) -> PollableSource:
        source = self.build(self.context())
        mine = {
            name: position
            for name, position in self.channel.positions.items()
            if name.startswith(source.prefix)
        }
        source.start(mine)
        return source

    def restart(self) -> None:
        self.source.stop()
        self.source = self._begin()

    def poll(self) -> EventBatch | None:
        return self.source.poll()

    def give(self, batch: EventBatch) -> bool:
        """Put, then accepted or rewind, as the runner does."""
        refused = self.channel.put(batch)
        if refused is None:
            self.source.accepted(batch)
            self.channel.retire(self.source.retired())
            return True
        first: dict[str, int] = {}
        for extent in batch.extents:
            first.setdefault(extent.stream, extent.start)
        for stream, start in first.items():
            self.source.rewind(stream, refused[1] if stream == refused[0] else start)
        return False

    def step(self) -> bool:
        batch = self.poll()
        if batch is None:
            return False
        self.give(batch)
        return True

    def settle(self, ms: int = 1_100) -> None:
        """Let time pass and read until nothing is left."""
        self.clock.advance(ms)
        self._read()
        self.clock.advance(ms)
        self._read()

    def _read(self) -> None:
        for _ in range(100_000):
            if self.step():
                continue
            self.clock.advance(300)
            if not self.step():
                self.channel.retire(self.source.retired())
                return
        raise AssertionError("the source never comes to an end")

    def finish(self, unterminated: bool = True) -> None:
        """Note the end and read to it."""
        self.source.note_end(unterminated)
        for _ in range(100_000):
            if not self.step() and self.source.at_end():
                self.channel.retire(self.source.retired())
                return
        raise AssertionError("the source never comes to its end")
