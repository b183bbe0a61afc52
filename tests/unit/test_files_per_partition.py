"""Small files: what several sinks make of one partition, and what the selector `hash` does."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fakes import context
from lake_sizes import data_files, files_per_partition, share_of_bytes

from rayflume import flow
from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.clock import ManualClock
from rayflume.component import lookup
from rayflume.flow import Lane, Route, Status
from rayflume.interfaces import RowRef, Selector
from rayflume.journal.reader import decode_rows
from rayflume.metrics import Metrics
from rayflume.selectors.hash import Hash
from rayflume.selectors.replicating import Replicating

COUNTRIES, ROWS, BATCH = 12, 2400, 60


class Agent:
    """One source, its channels, and the sinks on each of them, all writing to one lake."""

    def __init__(self, directory: Path, channels: int, sinks_each: int) -> None:
        self.directory, self.clock = directory, ManualClock()
        self.channels = {f"wal{i}": self._channel(f"wal{i}") for i in range(channels)}
        self.lanes = [
            self._lane(f"{name}-{i}", channel)
            for name, channel in self.channels.items()
            for i in range(sinks_each)
        ]

    def _channel(self, name: str) -> JournaledChannel:
        options: dict[str, object] = {"directory": name, "minimum_required_space": 0}
        part = context(self.directory, name, self.clock)
        channel: JournaledChannel = lookup("channel", "file").model_validate(options).build(part)
        channel.open()
        return channel

    def _lane(self, name: str, channel: JournaledChannel) -> Lane:
        options = {
            "path": "lake",
            "format": {"type": "json", "schema": {"n": "int64"}},
            "partition_by": ["c=%{country}"],
        }
        part = context(self.directory, name, self.clock)
        sink = lookup("sink", "parquet").model_validate(options).build(part)
        sink.open()

        def read(ref: RowRef) -> EventBatch:
            [record] = channel.fetch([ref])
            return decode_rows(record, ref)

        lane = Lane(name, f"{name}/0/life", channel, sink, read, self.clock, Metrics())
        lane.take_bytes = 1  # one put at a time, so that the sinks of a channel take in turn
        return lane

    def put(self, selector: Selector) -> None:
        route = Route("web", [], selector, dict(self.channels), Metrics())
        for start in range(0, ROWS, BATCH):
            numbers = range(start, start + BATCH)
            batch = EventBatch.from_events(
                [b'{"n":%d}' % n for n in numbers],
                [{"country": f"c{n % COUNTRIES}"} for n in numbers],
                (Extent("s", start, start + BATCH, BATCH),),
            )
            flow.ingest(batch, route)

    def deliver(self) -> None:
        """Every sink writes one delivery."""
        found = [Status.READY]
        while Status.READY in found:
            found = [flow.drain(lane, 0) for lane in self.lanes]
        for channel in self.channels.values():
            channel.drain(True)
        for lane in self.lanes:
            flow.drain(lane, 0)
            for delivery in lane.closing:
                flow.finish(lane, delivery)
            lane.sink.close()
        for channel in self.channels.values():
            assert channel.state().waiting == channel.state().leased == 0
            channel.close()


def run(directory: Path, channels: int, sinks_each: int, selector: Selector) -> Path:
    """The lake, which has every row once."""
    agent = Agent(directory, channels, sinks_each)
    agent.put(selector)
    agent.deliver()
    lake = directory / "lake"
    found = [
        n for name in data_files(lake) for n in pq.ParquetFile(lake / name).read()["n"].to_pylist()
    ]
    assert sorted(found) == list(range(ROWS))
    return lake


@pytest.fixture
def replicating() -> Selector:
    return Replicating()


@pytest.fixture
def by_country() -> Selector:
    return Hash(headers=["country"])


def test_one_sink_writes_one_file_per_partition(tmp_path: Path, replicating: Selector) -> None:
    assert set(files_per_partition(run(tmp_path, 1, 1, replicating)).values()) == {1}


def test_four_sinks_on_one_channel_write_four(tmp_path: Path, replicating: Selector) -> None:
    counts = files_per_partition(run(tmp_path, 1, 4, replicating))
    assert len(counts) == COUNTRIES
    assert set(counts.values()) == {4}


def test_four_sinks_behind_a_hash_write_one_again(tmp_path: Path, by_country: Selector) -> None:
    lake = run(tmp_path, 4, 1, by_country)
    assert files_per_partition(lake) == {f"c=c{i}": 1 for i in range(COUNTRIES)}
    writers = {name.rpartition("/")[2].split("-")[1] for name in data_files(lake)}
    assert len(writers) == 4


def test_the_share_of_bytes_in_large_files(tmp_path: Path) -> None:
    for name, size in (("a/x.parquet", 70), ("b/y.parquet", 20), ("_rayflume/z.parquet", 500)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"0" * size)
    (tmp_path / "a" / "notes.txt").write_bytes(b"0" * 900)
    assert share_of_bytes(tmp_path, 64) == 70 / 90
    assert share_of_bytes(tmp_path, 20) == 1.0
    assert share_of_bytes(tmp_path, 71) == 0.0
    with pytest.raises(ValueError, match="no file of rows"):
        share_of_bytes(tmp_path / "b" / "none", 1)
