"""The clauses of Sink and DeliveryWriter, over every type in `rayflume/sinks/`, and over lakes that
are tables of every type in `rayflume/tables/`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
from http_target import serving

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup, types_of
from rayflume.interfaces import Manifest, RowRange, Sink
from rayflume.metrics import Metrics

JOURNAL = "00112233445566ff"
OPTIONS: dict[str, dict[str, object]] = {
    "parquet": {
        "path": "lake",
        "format": {"type": "text"},
        "partition_by": ["kind=%{kind}"],
    },
}
"""What a type cannot do without; types that need nothing are not listed."""

MakeSink = Callable[[], Sink]


def table_options(kind: str, tmp_path: Path) -> dict[str, object]:
    if kind == "iceberg":
        catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"}
        return {"type": kind, "name": "web.rows", "catalog": catalog}
    return {"type": kind}


@pytest.fixture(params=[*types_of("sink"), *(f"parquet {name}" for name in types_of("table"))])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeSink]:
    name, _, table = request.param.partition(" ")
    cls = lookup("sink", name)
    options = dict(OPTIONS.get(name, {}))
    if table:
        options["table"] = table_options(table, tmp_path)
    made: list[Sink] = []

    def build() -> Sink:
        context = Context("agent", "out", ManualClock(), Metrics(), tmp_path)
        sink: Sink = cls.model_validate(options).build(context)
        sink.open()
        made.append(sink)
        return sink

    with serving() if name == "http" else nullcontext() as target:
        if target is not None:
            options["endpoint"] = target.url
        yield build
        for sink in made:
            sink.close()


def some(first: int, count: int) -> EventBatch:
    bodies = [f"row {i}".encode() for i in range(first, first + count)]
    headers = [{"kind": f"k{i % 3}"} for i in range(first, first + count)]
    return EventBatch.from_events(bodies, headers, (Extent("s", first, first + count, count),))


def read_some(ranges: Sequence[RowRange]) -> Iterable[tuple[int, EventBatch]]:
    return [(start, some(start, stop - start)) for start, stop in ranges]


def filled(sink: Sink, number: int = 1) -> Manifest:
    writer = sink.begin(f"{JOURNAL}-1-{number}")
    writer.write(some(0, 10), 0)
    writer.write(some(10, 5), 10)
    return writer.stage()


def test_w1_every_row_is_accounted_for(make: MakeSink) -> None:
    manifest = filled(make())
    assert manifest.rows == manifest.written == 15
    assert (manifest.dead, manifest.filtered, manifest.sink) == (0, 0, "out")
    assert manifest.delivery == f"{JOURNAL}-1-1"


def test_w1_poisonous_rows_are_accounted_for(make: MakeSink) -> None:
    writer = make().begin(f"{JOURNAL}-1-1")
    writer.write(some(0, 3), 0)
    writer.write(some(3, 1), 3, "killed its sink")
    manifest = writer.stage()
    assert manifest.rows == manifest.written + manifest.dead == 4


def test_w1_an_empty_batch_changes_nothing(make: MakeSink) -> None:
    writer = make().begin(f"{JOURNAL}-1-1")
    writer.write(EventBatch.from_events([], extents=(Extent("s", 0, 9, 0),)), 0)
    assert writer.stage().rows == 0


def test_w2_files_name_the_rows_they_were_chosen_from(make: MakeSink) -> None:
    manifest = filled(make())
    if manifest.files:
        assert sum(file.rows for file in manifest.files) == 15
        assert all(file.ranges == ((0, 15),) for file in manifest.files)
        assert all(file.size > 0 and file.schema_version for file in manifest.files)


def test_w2_nothing_is_visible_before_publish(make: MakeSink, tmp_path: Path) -> None:
    sink = make()
    manifest = filled(sink)
    assert list(tmp_path.rglob("*.parquet")) == []
    sink.publish(manifest)
    assert len(list(tmp_path.rglob("*.parquet"))) == len(manifest.files)


def test_w2_stage_in_another_thread_while_the_next_delivery_fills(make: MakeSink) -> None:
    sink = make()
    for number in range(5):
        first = sink.begin(f"{JOURNAL}-1-{2 * number}")
        first.write(some(0, 300), 0)
        found: list[Manifest] = []
        thread = threading.Thread(target=lambda w=first, f=found: f.append(w.stage()))
        thread.start()
        second = sink.begin(f"{JOURNAL}-1-{2 * number + 1}")
        for batch in range(20):
            second.write(some(batch * 10, 10), batch * 10)
        thread.join(30)
        assert found[0].rows == 300
        assert second.stage().rows == 200


def test_w2_stage_may_be_asked_again(make: MakeSink) -> None:
    writer = make().begin(f"{JOURNAL}-1-1")
    writer.write(some(0, 4), 0)
    assert writer.stage() == writer.stage()


def test_w3_abandon_leaves_nothing_behind(make: MakeSink, tmp_path: Path) -> None:
    sink = make()
    writer = sink.begin(f"{JOURNAL}-1-1")
    writer.write(some(0, 4), 0)
    writer.stage()
    writer.abandon()
    writer.abandon()
    assert list(tmp_path.rglob("*.staged")) == []
    assert filled(sink, 2).rows == 15


def test_k1_publish_twice_by_anyone_is_the_same_as_once(make: MakeSink, tmp_path: Path) -> None:
    manifest = filled(make())
    for _ in range(2):
        assert make().publish(manifest) == []
    assert len(list(tmp_path.rglob("*.parquet"))) == len(manifest.files)


def test_k2_lost_files_are_built_anew(make: MakeSink, tmp_path: Path) -> None:
    manifest = filled(make())
    for path in tmp_path.rglob("*.staged"):
        path.unlink()
    sink = make()
    lost = sink.publish(manifest)
    assert lost == list(manifest.files)
    again = sink.rebuild(manifest, lost, read_some)
    assert [(f.target, f.rows) for f in again.files] == [(f.target, f.rows) for f in manifest.files]
    assert (again.delivery, again.rows) == (manifest.delivery, manifest.rows)
    assert sink.publish(again) == []


def test_k3_garbage_and_nothing_else_is_deleted(make: MakeSink, tmp_path: Path) -> None:
    sink = make()
    kept = filled(sink, 1)
    filled(sink, 2)
    sink.collect(JOURNAL, lambda deliveries: [d for d in deliveries if d.endswith("-2")])
    assert sink.publish(kept) == []
    assert list(tmp_path.rglob("*.staged")) == []


def test_k4_a_delivery_ends_for_some_reason(make: MakeSink) -> None:
    limits = make().limits()
    assert limits.bytes > 0 or limits.rows > 0 or limits.age_ms > 0
