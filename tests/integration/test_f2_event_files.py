"""F2 for the sink `hdfs` on a local disk: death at each call that changes the disk, for the kinds
of files that Flume's sink writes, and staged files that vanish after their delivery was prepared.
"""

from __future__ import annotations

import collections
import gzip
import io
import re
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fakes import context
from lakes import LakeWorld, LocalPlace, to_prepare
from test_f2_local_failpoints import Chosen, age_leftovers
from traced_os import Killed, TracedOs

from rayflume import flow
from rayflume.batch import EventBatch, Extent
from rayflume.component import lookup
from rayflume.errors import Refused
from rayflume.flow import Route
from rayflume.metrics import Metrics
from rayflume.sinks._sink import LakeSink

ROWS = 6
KINDS: dict[str, dict[str, object]] = {
    "text": {"file_type": "DataStream", "serializer": {"type": "header_and_text"}},
    "avro": {"file_type": "DataStream", "serializer": {"type": "avro_event"}},
    "gzip": {"file_type": "CompressedStream", "codec": "gzip"},
    "sequence": {"file_type": "SequenceFile"},
    "local time": {"use_local_time_stamp": True},
}


class EventWorld(LakeWorld):
    """Its lake is one of events: two rows share a file, every third has no time."""

    def __init__(self, directory: Path, kind: str) -> None:
        directory.mkdir()
        place = LocalPlace(directory / "lake")
        super().__init__(directory, place)
        self.options = {"path": f"{place.path}/%Y%m%d%H%M%S/%{{key}}", **KINDS[kind]}
        self.put(0, ROWS)

    def put(self, start: int, stop: int, field: str = "", size: int = 1) -> None:
        selector = lookup("selector", "replicating")().build(context(self.directory, "route"))
        route = Route("web", [], selector, {"wal": self.channel}, Metrics())
        bodies = [b"row %d." % n for n in range(start, stop)]
        headers = [
            {"key": str(n // 2)} | ({} if n % 3 == 2 else {"timestamp": "1763820000000"})
            for n in range(start, stop)
        ]
        extents = (Extent("s", start, stop, stop - start),)
        flow.ingest(EventBatch.from_events(bodies, headers, extents), route)

    def sink(self) -> LakeSink:  # type: ignore[override]
        around = context(self.directory, "lake", self.clock)
        sink: LakeSink = lookup("sink", "hdfs").model_validate(self.options).build(around)
        self.sinks.append(sink)  # type: ignore[arg-type]
        return sink

    def rows(self) -> collections.Counter[int]:
        seen: collections.Counter[int] = collections.Counter()
        for path, data in self.place.files().items():
            if path.endswith(".gz"):
                data = gzip.decompress(data)
            elif path.endswith(".dead"):
                data = str(pq.read_table(io.BytesIO(data))["body"].to_pylist()).encode()
            seen.update(int(n) for n in re.findall(rb"row (\d+)\.", data))
        return seen

    def judge_events(self) -> None:
        assert self.rows() == collections.Counter(range(ROWS))
        named = {file.target for m in self.prepared.values() for file in m.files}
        assert set(self.place.files()) == named
        assert self.place.leftovers() == []


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> TracedOs:
    return TracedOs(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "after"), [("gzip", True), ("sequence", False)])
def test_f2_death_at_each_call_with_files_of_events(
    tmp_path: Path, traced: TracedOs, kind: str, after: bool
) -> None:
    number, hit = 0, True
    while hit:
        world = EventWorld(tmp_path / str(number), kind)
        chosen = Chosen(number, after, traced.die)
        traced.at = chosen.at
        with suppress(Killed, Refused):
            world.run()
        traced.revive()
        hit = chosen.site is not None
        if hit:
            age_leftovers(world)
            world.clock.advance(1_500)
            world.collect()
        world.judge_events()
        world.close()
        traced.revive()
        number += 1
    assert number > 25


@pytest.mark.parametrize("kind", KINDS)
def test_f2_files_of_events_that_vanish_are_built_anew_byte_by_byte(
    tmp_path: Path, kind: str
) -> None:
    """The same names, and the same bytes at another time."""
    world = EventWorld(tmp_path / "world", kind)
    sink = world.sink()
    sink.open()
    lane = world.lane(sink)  # type: ignore[arg-type]
    delivery = world.fill(lane)
    to_prepare(lane, delivery)
    lake = world.directory / "lake"
    staged = sorted(path for path in lake.rglob("*.staged"))
    before = sorted(path.read_bytes() for path in staged)
    for path in staged:
        path.unlink()
    world.clock.advance(90_000)
    flow.finish(lane, delivery)
    # Dead letters are Parquet, in which the time of rebuilding stands nowhere either.
    assert sorted(world.place.files().values()) == before
    world.judge_events()
    world.close()
