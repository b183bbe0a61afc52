from __future__ import annotations

import json
import random
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sinks_support import (
    DELIVERY,
    HOUR,
    T0,
    built,
    context,
    dead_rows,
    deliver,
    lake_rows,
    parquet,
    rows,
)

from rayflume.batch import EventBatch
from rayflume.errors import OptionError, SinkParked, StorageUnavailable
from rayflume.sinks.parquet import Parquet
from rayflume.storage.memory import MemoryWriter, store

HOURS: dict[str, Any] = {"event_time": "ts", "partition_by": ["dt=%Y-%m-%d", "hour=%H"]}


def test_every_row_lands_in_the_hour_it_happened_in(tmp_path: Path) -> None:
    times = [T0, T0 + HOUR, T0 - 1, T0 + 5, T0 + 30 * HOUR]
    batch = rows([{"id": i, "ts": t} for i, t in enumerate(times)])
    manifest = deliver(parquet(tmp_path, **HOURS), [batch])
    got = {place: [row["id"] for row in found] for place, found in lake_rows(tmp_path).items()}
    assert got == {
        "dt=2025-11-22/hour=13": [2],
        "dt=2025-11-22/hour=14": [0, 3],
        "dt=2025-11-22/hour=15": [1],
        "dt=2025-11-23/hour=20": [4],
    }
    assert (manifest.rows, manifest.written, manifest.dead) == (5, 5, 0)
    assert manifest.event_times == {"s": (T0 - 1, T0 + 30 * HOUR)}


def test_rows_keep_their_order_and_values_over_many_batches(tmp_path: Path) -> None:
    chance = random.Random(3)
    batches, want = [], dict[str, list[int]]()
    for number in range(40):
        found = [(number * 100 + i, T0 + chance.randrange(4) * HOUR) for i in range(100)]
        batches.append(rows([{"id": i, "ts": t} for i, t in found], at=number * 100))
        for i, t in found:
            want.setdefault(f"dt=2025-11-22/hour={14 + (t - T0) // HOUR}", []).append(i)
    deliver(parquet(tmp_path, **HOURS, row_group_rows=64), batches)
    got = {place: [row["id"] for row in found] for place, found in lake_rows(tmp_path).items()}
    assert got == want


def test_a_row_without_event_time_goes_to_the_dead_letters(tmp_path: Path) -> None:
    bodies: list[object] = [{"id": 1, "ts": T0}, {"id": 2}, b"{broken", {"id": 3, "ts": T0}, None]
    headers = [{"host": f"h{i}"} if i != 2 else {} for i in range(5)]
    sink = parquet(tmp_path, **HOURS)
    manifest = deliver(sink, [rows(bodies, headers, at=40)])
    assert (manifest.written, manifest.dead) == (2, 3)
    dead = dead_rows(tmp_path)
    assert [row["body"] for row in dead] == [b'{"id": 2}', b"{broken", None]
    assert [row["headers"] for row in dead] == [[("host", "h1")], [], [("host", "h4")]]
    assert [row["position"] for row in dead] == [1, 2, 4]
    assert {(row["stream"], row["offset"]) for row in dead} == {("s", 40)}
    assert dead[0]["reason"] == "no event time 'ts'"
    assert all(row["reason"] for row in dead)


def test_ingest_time_when_the_option_says_so(tmp_path: Path) -> None:
    sink = parquet(tmp_path, **HOURS, event_time_missing="ingest_time")
    manifest = deliver(sink, [rows([{"id": 1}, {"id": 2, "ts": T0 + HOUR}])])
    got = {place: [row["id"] for row in found] for place, found in lake_rows(tmp_path).items()}
    assert got == {"dt=2025-11-22/hour=14": [1], "dt=2025-11-22/hour=15": [2]}
    assert manifest.event_times == {"s": (T0 + HOUR, T0 + HOUR)}
    assert sink._lake.context.metrics.snapshot()["EventLateCount"] == 1


def test_the_header_timestamp_is_the_default_event_time(tmp_path: Path) -> None:
    sink = parquet(tmp_path, partition_by=["hour=%H"])
    batch = rows(
        [{"id": 1}, {"id": 2}, {"id": 3}], [{"timestamp": str(T0)}, {}, {"timestamp": "soon"}]
    )
    deliver(sink, [batch])
    assert list(lake_rows(tmp_path)) == ["hour=14"]
    assert [row["reason"] for row in dead_rows(tmp_path)] == [
        "no event time 'timestamp'",
        "event time 'timestamp' is no time in epoch milliseconds or out of range",
    ]


def test_headers_become_columns_and_partitions(tmp_path: Path) -> None:
    sink = parquet(tmp_path, header_columns=["host"], partition_by=["site=%{site}"])
    batch = rows([{"id": 1}, b"bad", {"id": 3}], [{"host": "a"}, {"host": "b"}, {"host": "c"}])
    deliver(sink, [batch.with_header("site", "../oslo")])
    got = lake_rows(tmp_path)
    assert list(got) == ["site=..%2Foslo"]
    assert [(r["id"], r["host"]) for r in got["site=..%2Foslo"]] == [(1, "a"), (3, "c")]


def test_a_file_that_is_full_ends_and_its_successor_opens(tmp_path: Path) -> None:
    sink = parquet(tmp_path, roll={"rows": 30})
    batches = [rows([{"id": n * 50 + i} for i in range(50)], at=n * 50) for n in range(3)]
    manifest = deliver(sink, batches)
    assert [file.rows for file in manifest.files] == [30, 30, 30, 30, 30]
    assert [file.ranges for file in manifest.files] == [
        ((low, low + 30),) for low in range(0, 150, 30)
    ]
    assert [row["id"] for row in lake_rows(tmp_path)["."]] == list(range(150))


def test_files_tell_where_their_rows_come_from(tmp_path: Path) -> None:
    deliver(parquet(tmp_path), [rows([{"id": 1}]), rows([{"id": 2}])])
    (path,) = (tmp_path / "lake").glob("*.parquet")
    metadata = pq.ParquetFile(path).metadata.metadata
    assert path.name == f"part-{DELIVERY}-0.parquet"
    assert metadata[b"rayflume.agent"] == b"clicks"
    assert metadata[b"rayflume.delivery"] == DELIVERY.encode()
    assert json.loads(metadata[b"rayflume.ranges"]) == [[0, 2]]
    assert metadata[b"rayflume.schema_version"] == b"1"
    assert json.loads(metadata[b"rayflume.streams"]) == {"s": [[0, 1]]}
    assert metadata[b"rayflume.version"] == version("rayflume").encode()


def test_a_new_field_becomes_a_column_with_one_roll(tmp_path: Path) -> None:
    sink = parquet(tmp_path)
    manifest = deliver(
        sink,
        [rows([{"id": 1}]), rows([{"id": 2, "x": "new"}, {"id": 3, "x": None}]), rows([{"id": 4}])],
    )
    assert [(file.rows, file.schema_version) for file in manifest.files] == [(1, 1), (3, 2)]
    assert [row.get("x") for row in lake_rows(tmp_path)["."]] == [None, "new", None, None]
    assert sink.storage.list("_rayflume/schema/") == [
        "_rayflume/schema/1.json",
        "_rayflume/schema/2.json",
    ]


def test_two_sinks_agree_on_one_schema_and_the_loser_decodes_again(tmp_path: Path) -> None:
    first, second = parquet(tmp_path), parquet(tmp_path)
    deliver(first, [rows([{"id": 1, "x": 1.5}])], f"{DELIVERY}1")
    manifest = deliver(second, [rows([{"id": 2, "x": 2, "y": "z"}])], f"{DELIVERY}2")
    assert manifest.files[0].schema_version == 3
    assert lake_rows(tmp_path)["."][1] == {"id": 2, "ts": None, "x": 2.0, "y": "z"}


def test_an_inferred_schema_is_kept_for_the_next_sink(tmp_path: Path) -> None:
    options: dict[str, Any] = {"format": {"type": "json"}, "header_columns": ["host"]}
    deliver(parquet(tmp_path, **options), [rows([{"a": 1}], [{"host": "h"}])], f"{DELIVERY}1")
    deliver(parquet(tmp_path, **options), [rows([{"a": "text"}, {"a": 2}])], f"{DELIVERY}2")
    assert lake_rows(tmp_path)["."] == [{"a": 1, "host": "h"}, {"a": 2, "host": None}]
    assert [row["body"] for row in dead_rows(tmp_path)] == [b'{"a": "text"}']


def test_a_declared_type_that_differs_from_the_lakes_is_an_error(tmp_path: Path) -> None:
    parquet(tmp_path)
    other = built(tmp_path, format={"type": "json", "schema": {"id": "double"}})
    with pytest.raises(
        OptionError, match="'id' is declared as float64, but in this lake it is int64"
    ):
        other.open()


def test_columns_of_the_lake_stay_when_they_are_not_declared_any_more(tmp_path: Path) -> None:
    parquet(tmp_path)
    deliver(
        parquet(tmp_path, format={"type": "json", "schema": {"x": "int64"}}), [rows([{"x": 1}])]
    )
    assert lake_rows(tmp_path)["."] == [{"id": None, "ts": None, "x": 1}]


def test_the_sink_parks_above_its_dead_letter_limit(tmp_path: Path) -> None:
    sink = parquet(tmp_path, dead_letter_limit=3)
    deliver(sink, [rows([b"bad", b"bad"])], f"{DELIVERY}1")
    writer = sink.begin(f"{DELIVERY}2")
    writer.write(rows([b"bad"]), 0)
    with pytest.raises(SinkParked, match="4 rows would be dead letters"):
        writer.write(rows([b"bad"]), 1)
    writer.abandon()
    assert len(dead_rows(tmp_path)) == 2
    deliver(sink, [rows([b"bad", {"id": 1}])], f"{DELIVERY}3")


def test_poisonous_rows_are_not_decoded(tmp_path: Path) -> None:
    sink = parquet(tmp_path)
    writer = sink.begin(DELIVERY)
    writer.write(rows([{"id": 1}]), 0)
    writer.write(rows([{"id": 2}], at=1), 1, "killed 3 sinks")
    manifest = writer.stage()
    sink.publish(manifest)
    assert (manifest.written, manifest.dead) == (1, 1)
    assert dead_rows(tmp_path)[0]["reason"] == "killed 3 sinks"
    assert [file.ranges for file in manifest.files] == [((0, 1),), ((1, 2),)]


def test_the_least_recently_used_file_ends_when_too_many_are_open(tmp_path: Path) -> None:
    sink = parquet(tmp_path, partition_by=["p=%{id}"], max_open_files=3)
    manifest = deliver(sink, [rows([{"id": i % 5} for i in range(20)]), rows([{"id": 4}])])
    assert sorted(file.rows for file in manifest.files) == [4, 4, 4, 4, 5]
    assert sum(len(found) for found in lake_rows(tmp_path).values()) == 21


def test_the_budget_flushes_the_largest_files(tmp_path: Path) -> None:
    sink = parquet(
        tmp_path,
        format={"type": "json", "schema": {"p": "int64", "s": "string"}},
        partition_by=["q=%{p}"],
        buffer_bytes="1MiB",
    )
    writer = sink.begin(DELIVERY)
    metrics = sink._lake.context.metrics
    for number in range(30):
        bodies: list[object] = [{"p": i % 3, "s": "x" * 900} for i in range(300)]
        writer.write(rows(bodies, at=number * 300), number * 300)
        assert metrics.snapshot()["BufferedBytes"] <= 1 << 20
    assert metrics.snapshot()["OpenFileCount"] == 3
    manifest = writer.stage()
    assert metrics.snapshot()["BufferedBytes"] == metrics.snapshot()["OpenFileCount"] == 0
    assert sorted(file.rows for file in manifest.files) == [3000, 3000, 3000]


def test_a_dictionary_only_where_values_repeat(tmp_path: Path) -> None:
    schema = {"few": "string", "many": "string"}
    sink = parquet(tmp_path, format={"type": "json", "schema": schema})
    manifest = deliver(sink, [rows([{"few": f"f{i % 4}", "many": f"m{i}"} for i in range(500)])])
    group = pq.ParquetFile(tmp_path / "lake" / manifest.files[0].target).metadata.row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(2)}
    assert any("DICTIONARY" in name for name in encodings["few"])
    assert not any("DICTIONARY" in name for name in encodings["many"])
    assert group.column(1).statistics.min == "m0"


def test_streams_above_the_limit_share_one_entry(tmp_path: Path) -> None:
    batches = [rows([{"id": 1, "ts": T0 + i}], stream=f"s{i}") for i in range(80)]
    times = deliver(parquet(tmp_path, **HOURS), batches).event_times
    assert len(times) == 65
    assert times["s63"] == (T0 + 63, T0 + 63)
    assert times["*"] == (T0 + 64, T0 + 79)


def test_an_empty_delivery_has_no_files(tmp_path: Path) -> None:
    sink = parquet(tmp_path)
    manifest = deliver(sink, [])
    assert (manifest.files, manifest.rows, manifest.sink) == ((), 0, "lake")


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"event_time": None, "partition_by": ["dt=%Y"]}, "event_time is null"),
        ({"partition_by": ["dt=%Q"]}, "no escape"),
        ({"partition_by": ["a=%Y", "a=%m"]}, "there twice"),
        ({"time_zone": "Mars/Base"}, "unknown time zone"),
        ({"roll": {"bytes": "10 parsecs"}}, "not a size"),
        ({"rol": {}}, "Extra inputs"),
        ({"header_columns": ["h", "h"]}, "names 'h' twice"),
        ({"codec": "rar"}, "snappy"),
    ],
)
def test_bad_options_are_errors(options: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=wrong):
        built(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"partition_by": ["id=%{id}"]}, "partition_by: 'id' is also a column"),
        ({"header_columns": ["id"]}, "header_columns: 'id' is also a column"),
        (
            {"event_time": "s", "format": {"type": "json", "schema": {"s": "string"}}},
            "event_time 's' is a column of type string",
        ),
        (
            {"partition_by": ["p=%{s}"], "format": {"type": "json", "schema": {"s": ["int64"]}}},
            "partition_by reads 's', which is a column of type list",
        ),
        ({"path": "gopher://x"}, "gopher"),
    ],
)
def test_what_cannot_go_together_is_told_by_check(
    options: dict[str, Any], wrong: str, tmp_path: Path
) -> None:
    base: dict[str, Any] = {
        "path": str(tmp_path),
        "format": {"type": "json", "schema": {"id": "int64"}},
    }
    (problem,) = Parquet.model_validate({**base, **options}).check(context(tmp_path))
    assert wrong in problem


def test_an_inferred_event_time_of_no_usable_type_parks_the_sink(tmp_path: Path) -> None:
    sink = parquet(tmp_path, format={"type": "json"}, **HOURS)
    with pytest.raises(SinkParked, match="event_time 'ts' is a column of type string"):
        sink.begin(DELIVERY).write(rows([{"ts": "last tuesday"}]), 0)


def test_a_full_store_breaks_the_delivery_and_not_the_sink(tmp_path: Path) -> None:
    name = f"full-{tmp_path.name}"
    sink = parquet(tmp_path, path=f"memory://{name}", row_group_rows=2)
    faults = store(name).faults
    faults.fail("write", times=1)
    writer = sink.begin(f"{DELIVERY}1")
    with pytest.raises(StorageUnavailable):
        writer.write(rows([{"id": 1}, {"id": 2}]), 0)
    with pytest.raises(StorageUnavailable):
        writer.stage()
    writer.abandon()
    assert store(name).uploads == {}
    deliver(sink, [rows([{"id": 1}, {"id": 2}])], f"{DELIVERY}2")
    assert len(store(name).files) == 2


def test_a_schema_that_cannot_be_agreed_on_now_breaks_nothing(tmp_path: Path) -> None:
    name = f"agree-{tmp_path.name}"
    sink = parquet(tmp_path, path=f"memory://{name}")
    writer = sink.begin(DELIVERY)
    store(name).faults.fail("create", after=True)
    batch: EventBatch = rows([{"id": 1, "x": 2}])
    with pytest.raises(StorageUnavailable):
        writer.write(batch, 0)
    writer.write(batch, 0)
    assert writer.stage().rows == 1


def test_stage_may_be_asked_again_after_the_store_failed_to_finish(tmp_path: Path) -> None:
    name = f"finish-{tmp_path.name}"
    sink = parquet(tmp_path, path=f"memory://{name}", partition_by=["p=%{id}"])
    writer = sink.begin(DELIVERY)
    writer.write(rows([{"id": i % 3} for i in range(9)]), 0)
    store(name).faults.fail("finish", times=2)
    with pytest.raises(StorageUnavailable):
        writer.stage()
    manifest = writer.stage()
    assert [file.rows for file in manifest.files] == [3, 3, 3]
    assert sink.publish(manifest) == []


def test_no_more_uploads_are_open_than_there_are_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayflume.sinks.parquet.uploads_max", lambda: 2)
    schema = {"p": "int64", "s": "string"}
    sink = parquet(
        tmp_path,
        format={"type": "json", "schema": schema},
        partition_by=["q=%{p}"],
        buffer_bytes="1MiB",
    )
    writer = sink.begin(DELIVERY)
    for number in range(8):
        bodies: list[object] = [{"p": i % 10, "s": "x" * 900} for i in range(1000)]
        writer.write(rows(bodies, at=number * 1000), number * 1000)
        files = writer._open.values()  # type: ignore[attr-defined]
        assert sum(file.open_at_store for file in files) <= 2
    manifest = writer.stage()
    assert sum(file.rows for file in manifest.files) == 8000


def test_what_the_stores_client_holds_counts_against_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(writer: MemoryWriter) -> int:
        return len(writer._buffer)

    name = f"held-{tmp_path.name}"
    monkeypatch.setattr(MemoryWriter, "held_bytes", property(held), raising=False)
    chance = random.Random(2)
    schema = {"p": "int64", "s": "string"}
    sink = parquet(
        tmp_path,
        path=f"memory://{name}",
        format={"type": "json", "schema": schema},
        partition_by=["q=%{p}"],
        buffer_bytes="1MiB",
    )
    writer = sink.begin(DELIVERY)
    for number in range(20):
        bodies: list[object] = [
            {"p": i % 4, "s": f"{chance.getrandbits(4000):x}"} for i in range(200)
        ]
        writer.write(rows(bodies, at=number * 200), number * 200)
        assert sink._lake.context.metrics.snapshot()["BufferedBytes"] <= 1 << 20
    manifest = writer.stage()
    assert sum(file.rows for file in manifest.files) == 4000
    assert len(manifest.files) > 4


def test_binary_columns_and_broken_text_can_be_partitions_and_headers(tmp_path: Path) -> None:
    raw = pa.array([b"\xffx", b"ok"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    sink = parquet(
        tmp_path,
        format={"type": "text"},
        header_columns=["h"],
        partition_by=["p=%{body}", "h2=%{h}"],
    )
    deliver(sink, [rows([b"one", b"two"]).with_header("h", broken)])
    assert lake_rows(tmp_path) == {
        "p=one/h2=\ufffdx": [{"body": "one", "h": "\ufffdx"}],
        "p=two/h2=ok": [{"body": "two", "h": "ok"}],
    }
