"""Clauses S1 to S7 of interfaces.PollableSource, over every source that is polled."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from channel_model import Flow

from rayflume.batch import EventBatch, Extent
from rayflume.component import Component, lookup, types_of
from rayflume.dead_letters import DeadRows, dead_table
from rayflume.errors import SourceFailed

BATCH_BYTES = 200
LINES = [b"row %05d" % i for i in range(120)]


@dataclass(frozen=True)
class Case:
    """One source with input of 120 rows that takes many batches."""

    options: dict[str, object]
    place: Callable[[Path], object]
    rows: list[bytes]
    row_bytes: int
    prefix: str = "host-1/part/"


def place_logs(directory: Path) -> None:
    for i in range(2):
        (directory / f"{i}.log").write_bytes(b"\n".join(LINES[i * 60 : i * 60 + 60]) + b"\n")


def place_spool(directory: Path) -> None:
    spool = directory / "spool"
    spool.mkdir()
    for i in range(3):
        (spool / f"{i}").write_bytes(b"\n".join(LINES[i * 40 : i * 40 + 40]) + b"\n")
        os.utime(spool / f"{i}", (1_000_000 + i, 1_000_000 + i))


DEAD = [f"_rayflume/dead_letters/0123456789abcdef-1-{i}-0.dead" for i in range(3)]


def place_dead_letters(directory: Path) -> None:
    for i, name in enumerate(DEAD):
        batch = EventBatch.from_events(LINES[i * 40 : i * 40 + 40], (), (Extent("s", 0, 40, 40),))
        table = dead_table(batch, DeadRows.all_of(batch, "no reason"), 0, 0)
        path = directory / "lake" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_batches([table]), path, row_group_size=15)


CASES = {
    "taildir": Case(
        {"paths": ["*.log"], "batch_bytes": BATCH_BYTES, "linger": 0}, place_logs, LINES, 10
    ),
    "spooldir": Case({"spool_dir": "spool", "batch_bytes": BATCH_BYTES}, place_spool, LINES, 10),
    "seq": Case(
        {"total_events": 120, "batch_size": 20},
        lambda directory: None,
        [b"%d" % i for i in range(120)],
        3,
    ),
    "dead_letters": Case(
        {"path": "lake", "files": DEAD, "batch_bytes": BATCH_BYTES},
        place_dead_letters,
        LINES,
        10,
        "dead_letters/",
    ),
}
SERVERS = {
    name for name in types_of("source") if getattr(lookup("source", name), "server", False)
}  # in test_server.py


def test_every_source_is_here() -> None:
    assert set(types_of("source")) == set(CASES) | SERVERS


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def flow(case: Case, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flow]:
    case.place(tmp_path)
    options: type[Component] = lookup("source", request.node.callspec.params["case"])
    flow = Flow(lambda context: options.model_validate(case.options).build(context), tmp_path)
    yield flow
    flow.source.stop()


def batches(flow: Flow, count: int) -> list[EventBatch]:
    """The next batches, without telling the source what became of them."""
    found: list[EventBatch] = []
    for _ in range(10 * count):
        batch = flow.poll()
        flow.clock.advance(50)
        if batch is not None:
            found.append(batch)
        if len(found) == count:
            return found
    raise AssertionError(f"{len(found)} batches instead of {count}")


def test_s1_goes_on_where_the_channel_stands(flow: Flow, case: Case) -> None:
    for _ in range(30):
        for batch in batches(flow, 1):
            flow.give(batch)
        flow.restart()
        if len(flow.channel.arrived) == len(case.rows):
            break
    assert sorted(flow.channel.arrived) == sorted(case.rows)


def test_s1_every_stream_begins_with_the_prefix(flow: Flow, case: Case) -> None:
    flow.finish()
    assert flow.source.prefix == case.prefix
    assert flow.channel.positions
    assert all(name.startswith(flow.source.prefix) for name in flow.channel.positions)


def test_s2_extents_follow_each_other_without_a_gap(flow: Flow, case: Case) -> None:
    ends: dict[str, int] = {}
    for batch in batches(flow, 6):
        assert batch.num_rows > 0
        assert sum(extent.rows for extent in batch.extents) == batch.num_rows
        for extent in batch.extents:
            assert extent.start == ends.get(extent.stream, 0)
            assert extent.end > extent.start
            ends[extent.stream] = extent.end


def test_s2_none_when_there_is_nothing_to_read(flow: Flow) -> None:
    flow.finish()
    assert flow.poll() is None
    assert flow.source.idle_ms > 0


def test_s3_batches_are_bounded(flow: Flow, case: Case) -> None:
    for batch in batches(flow, 6):
        assert batch.nbytes <= BATCH_BYTES + case.row_bytes


@pytest.mark.parametrize("kept", range(4))
def test_s4_rewind_reads_the_same_rows_again(flow: Flow, case: Case, kept: int) -> None:
    found = batches(flow, 4)
    for batch in found[:kept]:
        assert flow.give(batch)
    starts: dict[str, int] = {}
    for batch in found[kept:]:
        for extent in batch.extents:
            starts.setdefault(extent.stream, extent.start)
    for stream, start in starts.items():
        flow.source.rewind(stream, start)
    flow.finish()
    assert sorted(flow.channel.arrived) == sorted(case.rows)


def test_s4_what_is_read_anew_ends_where_it_is_told(flow: Flow) -> None:
    """As when one channel has rows of an earlier life up to there, and another one has none."""
    first = batches(flow, 1)[0].extents[0]
    flow.restart()
    batches(flow, 1)
    stop = first.end - (first.end - first.start) // first.rows
    flow.source.rewind(first.stream, 0, stop)
    anew = [e for batch in batches(flow, 6) for e in batch.extents if e.stream == first.stream]
    assert [(extent.start, extent.end) for extent in anew[:1]] == [(0, stop)]
    assert anew[1].start == stop < anew[1].end


def test_s4_puts_in_the_wrong_order_heal(flow: Flow, case: Case) -> None:
    for batch in reversed(batches(flow, 3)):
        flow.give(batch)
    flow.finish()
    assert sorted(flow.channel.arrived) == sorted(case.rows)


def test_s4_a_place_that_cannot_be_found_is_said_so(flow: Flow) -> None:
    flow.finish()
    with pytest.raises(SourceFailed):
        flow.source.rewind(f"{flow.source.prefix}1-2/3", 4)


def test_s5_input_stays_until_it_is_accepted(flow: Flow, tmp_path: Path) -> None:
    before = {path: path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()}
    flow.source.note_end()
    while not flow.source.at_end():
        flow.poll()
    assert {path: path.stat().st_size for path in before} == before


def test_s6_at_the_end_only_after_all_was_handed_out(flow: Flow, case: Case) -> None:
    assert not flow.source.at_end()
    flow.source.note_end(True)
    rows = 0
    while not flow.source.at_end():
        batch = flow.poll()
        rows += 0 if batch is None else batch.num_rows
    assert rows == len(case.rows)
    assert flow.poll() is None


def test_s6_rewind_behind_the_end_is_no_longer_the_end(flow: Flow, case: Case) -> None:
    flow.source.note_end()
    last = batches(flow, 1)[0]
    while not flow.source.at_end():
        flow.poll()
    stream = last.extents[0].stream
    flow.source.rewind(stream, 0)
    assert not flow.source.at_end()


def test_s7_streams_retire_once_and_only_accepted(flow: Flow, tmp_path: Path) -> None:
    flow.source.note_end()
    handed: list[EventBatch] = []
    while not flow.source.at_end():
        batch = flow.poll()
        if batch is not None:
            handed.append(batch)
    assert flow.source.retired() == []
    for batch in handed:
        assert flow.give(batch)
    retired = [name for name, position in flow.channel.positions.items() if position.retired]
    assert len(retired) == len(set(retired))
    assert flow.source.retired() == []


def test_describe_is_plain_data(flow: Flow) -> None:
    flow.finish()
    assert json.loads(json.dumps(flow.source.describe())) == flow.source.describe()
