"""How files look inside and how large they get."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from sinks_support import (
    DELIVERY,
    HOUR,
    T0,
    context,
    dead_rows,
    deliver,
    lake_rows,
    parquet,
    rows,
)

from rayflume.errors import OptionError, SinkParked
from rayflume.interfaces import Json, Manifest
from rayflume.sinks._split import Piece, Splitter
from rayflume.sinks.parquet import Parquet

KIB = 1 << 10


def written(tmp_path: Path, manifest: Manifest, number: int = 0) -> pq.ParquetFile:
    return pq.ParquetFile(tmp_path / "lake" / manifest.files[number].target)


def form(**schema: str) -> dict[str, object]:
    return {"type": "json", "schema": schema}


# -- sizes ---------------------------------------------------------------------------------------


def random_text(chance: random.Random, _: int) -> dict[str, object]:
    return {"s": f"{chance.getrandbits(800):x}"}


def few_values(chance: random.Random, i: int) -> dict[str, object]:
    return {"s": f"user{chance.randrange(50)}", "n": i, "x": chance.random()}


def grows(chance: random.Random, i: int) -> dict[str, object]:
    return {"s": f"{chance.getrandbits(80):x}" * (1 + i // 4000), "n": i % 7}


@pytest.mark.parametrize("make", [random_text, few_values, grows])
@pytest.mark.parametrize("group", ["16KiB", "16MiB"])
@pytest.mark.parametrize("batch", [100, 4000])
def test_a_file_rolled_by_size_is_within_a_tenth_of_its_target(
    make: Callable[[random.Random, int], dict[str, object]],
    group: str,
    batch: int,
    tmp_path: Path,
) -> None:
    chance = random.Random(1)
    sink = parquet(
        tmp_path,
        path=f"memory://{tmp_path.name}",
        format=form(s="string", n="int64", x="double"),
        roll={"bytes": "96KiB"},
        row_group_bytes=group,
    )
    bodies = [make(chance, i) for i in range(16_000)]
    sizes = [
        file.size
        for file in deliver(
            sink, [rows(bodies[at : at + batch], at=at) for at in range(0, 16_000, batch)]
        ).files
    ]
    assert len(sizes) > 2
    assert [size for size in sizes[:-1] if not 86.4 * KIB <= size <= 105.6 * KIB] == []
    assert sizes[-1] <= 105.6 * KIB


def test_the_metric_tells_how_full_files_are(tmp_path: Path) -> None:
    sink = parquet(tmp_path, format=form(s="string"), roll={"bytes": "64KiB"})
    chance = random.Random(2)
    manifest = deliver(sink, [rows([random_text(chance, i) for i in range(3000)])])
    sizes = [file.size for file in manifest.files]
    percent = sink._lake.context.metrics.snapshot()["FileFillPercentage"]
    assert percent == round(100 * sum(sizes) / len(sizes) / (64 * KIB))
    assert 80 < percent <= 105


def test_parts_of_a_batch_in_several_files_have_the_right_ranges(tmp_path: Path) -> None:
    sink = parquet(tmp_path, format=form(s="string"), partition_by=["p=%{p}"], roll={"rows": 3})
    headers = [{"p": "a" if i % 2 else "b"} for i in range(10)]
    manifest = deliver(sink, [rows([{"s": f"{i}"} for i in range(10)], headers)])
    assert [(f.target.partition("/")[0], f.rows, f.ranges) for f in manifest.files] == [
        ("p=b", 3, ((0, 6),)),
        ("p=b", 2, ((6, 10),)),
        ("p=a", 3, ((0, 7),)),
        ("p=a", 2, ((7, 10),)),
    ]


# -- encoding ------------------------------------------------------------------------------------


def test_row_groups_are_sorted_and_say_so(tmp_path: Path) -> None:
    chance = random.Random(4)
    sink = parquet(
        tmp_path,
        format=form(id="int64", user="string", more="string"),
        sort_by=["user", "id", "nowhere"],
        row_group_rows=100,
    )
    bodies: list[object] = [
        {"id": chance.randrange(5), "user": chance.choice(["a", "b", None])} for _ in range(300)
    ]
    file = written(
        tmp_path, deliver(sink, [rows(bodies[i : i + 50], at=i) for i in range(0, 300, 50)])
    )
    assert file.num_row_groups == 3
    names = [file.schema.column(i).path for i in range(3)]
    for number in range(3):
        told = file.metadata.row_group(number).sorting_columns
        assert [names[column.column_index] for column in told] == ["user", "id"]
        assert not any(column.descending or column.nulls_first for column in told)
        found = [(r["user"], r["id"]) for r in file.read_row_group(number).to_pylist()]
        part: list[Any] = bodies[100 * number : 100 * number + 100]
        assert found == sorted(
            ((r["user"], r["id"]) for r in part), key=lambda r: (r[0] is None, r[0] or "", r[1])
        )


def test_the_sorting_column_behind_a_struct_is_the_right_one(tmp_path: Path) -> None:
    sink = parquet(
        tmp_path,
        format={"type": "json", "schema": {"s": {"x": "int64", "y": "int64"}, "k": "int64"}},
        sort_by=["k"],
    )
    file = written(
        tmp_path, deliver(sink, [rows([{"s": {"x": 1, "y": 2}, "k": i} for i in (3, 1)])])
    )
    (told,) = file.metadata.row_group(0).sorting_columns
    assert file.schema.column(told.column_index).path == "k"
    assert file.read()["k"].to_pylist() == [1, 3]


def test_dictionaries_and_statistics_can_be_chosen_by_column(tmp_path: Path) -> None:
    sink = parquet(
        tmp_path,
        format={
            "type": "json",
            "schema": {"few": "string", "many": "string", "s": {"x": "string"}},
        },
        columns={"dictionary": {"few": False, "many": True, "s": True}, "statistics": {"s": False}},
    )
    bodies: list[object] = [
        {"few": f"f{i % 4}", "many": f"m{i}", "s": {"x": f"x{i}"}} for i in range(500)
    ]
    group = written(tmp_path, deliver(sink, [rows(bodies)])).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(3)}
    coded = {p for p, c in columns.items() if any("DICTIONARY" in e for e in c.encodings)}
    assert coded == {"many", "s.x"}
    assert {p for p, c in columns.items() if c.is_stats_set} == {"few", "many"}


def test_a_bloom_filter_has_the_size_that_its_values_need(tmp_path: Path) -> None:
    sink = parquet(
        tmp_path,
        format=form(id="int64", user="string"),
        columns={"bloom_filters": ["user", "nowhere"]},
        row_group_bytes="64KiB",
    )
    bodies: list[object] = [{"id": i, "user": f"u{i}"} for i in range(20_000)]
    manifest = deliver(sink, [rows(bodies[i : i + 2000], at=i) for i in range(0, 20_000, 2000)])
    path = tmp_path / "lake" / manifest.files[0].target
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups > 3
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        assert group.column(0).bloom_filter_length is None
        assert group.num_rows * 0.6 < group.column(1).bloom_filter_length < group.num_rows * 8
    there = (
        f"select bool_or(not bloom_filter_excludes) from parquet_bloom_probe('{path}', 'user', ?)"
    )
    assert duckdb.execute(there, ["u77"]).fetchall() == [(True,)]
    assert duckdb.execute(there, ["nobody"]).fetchall() == [(False,)]


def test_level_and_page_size_are_those_asked_for(tmp_path: Path) -> None:
    chance = random.Random(3)
    words = [f"{chance.getrandbits(40):x}" for _ in range(300)]
    bodies = [{"s": " ".join(chance.choices(words, k=8))} for _ in range(4000)]
    sizes = []
    for number, options in enumerate(
        [{}, {"codec_level": 19}, {"codec_level": 19, "page_bytes": 1024}]
    ):
        sink = parquet(
            tmp_path,
            path=f"memory://{tmp_path.name}",
            format=form(s="string"),
            codec="zstd",
            **options,
        )
        sizes.append(deliver(sink, [rows(bodies)], f"{DELIVERY}{number}").files[0].size)
    assert sizes[1] < 0.95 * sizes[0]
    assert sizes[2] > 1.05 * sizes[1]


def test_what_spark_cannot_read_is_not_written(tmp_path: Path) -> None:
    schema = {"a": "timestamp", "b": "timestamp_ms", "c": "int64", "d": "double", "e": "date"}
    sink = parquet(tmp_path, format={"type": "json", "schema": schema})
    bodies: list[object] = [{"a": "2026-01-02T03:04:05.000006Z", "b": T0, "c": 1}]
    found = written(tmp_path, deliver(sink, [rows(bodies)])).schema
    columns = {found.column(i).name: found.column(i) for i in range(5)}
    for name in ("a", "b"):
        assert columns[name].physical_type == "INT64"
        assert "isAdjustedToUTC=true, timeUnit=microseconds" in str(columns[name].logical_type)
    assert {column.physical_type for column in columns.values()} <= {"INT64", "DOUBLE", "INT32"}


def test_dead_letters_are_written_plainly(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sort_by": ["reason"], "columns": {"bloom_filters": ["body"]}}
    deliver(parquet(tmp_path, format={"type": "json"}, **options), [rows([b"z", {"id": 1}, b"a"])])
    assert [row["body"] for row in dead_rows(tmp_path)] == [b"z", b"a"]


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"codec_level": 3}, "snappy has no levels"),
        ({"codec": "zstd", "codec_level": 23}, "write 1 to 22"),
        ({"codec": "gzip", "codec_level": 0}, "write 1 to 9"),
        ({"round": "61min"}, "1 to 60 minutes"),
        ({"round": 1500}, "1 to 60 seconds"),
        ({"round": "25h"}, "1 to 24 hours"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], wrong: str, tmp_path: Path
) -> None:
    base = {"path": str(tmp_path), "format": {"type": "text"}}
    with pytest.raises(ValidationError, match=wrong):
        Parquet.model_validate({**base, **options})


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"sort_by": ["l"]}, "sort_by names 'l', a column of type list"),
        ({"columns": {"bloom_filters": ["b"]}}, "'b', which is true or false"),
    ],
)
def test_columns_of_a_wrong_type_are_told(
    options: dict[str, Any], wrong: str, tmp_path: Path
) -> None:
    schema: dict[str, Json] = {"l": ["int64"], "b": "bool"}
    base = {"path": str(tmp_path), "format": {"type": "json", "schema": schema}}
    sink = Parquet.model_validate({**base, **options})
    with pytest.raises(OptionError, match=wrong):
        sink.build(context(tmp_path))
    inferred = Parquet.model_validate({**base, "format": {"type": "json"}, **options})
    later = inferred.build(context(tmp_path))
    later.open()
    writer = later.begin(DELIVERY)
    with pytest.raises(SinkParked, match=wrong):
        writer.write(rows([{"l": [1], "b": True}]), 0)


# -- partitions ----------------------------------------------------------------------------------


def test_event_times_are_rounded_in_their_zone(tmp_path: Path) -> None:
    times = [T0 + 59_000, T0 + 9 * 60_000 + 59_999, T0 + 10 * 60_000, T0 + 3 * HOUR]
    sink = parquet(
        tmp_path,
        event_time="ts",
        partition_by=["dt=%Y-%m-%d", "at=%H%M"],
        round="10min",
        time_zone="Asia/Kolkata",
    )
    deliver(sink, [rows([{"id": i, "ts": t} for i, t in enumerate(times)])])
    got = {place: [row["id"] for row in found] for place, found in lake_rows(tmp_path).items()}
    assert got == {
        "dt=2025-11-22/at=1930": [0, 1],
        "dt=2025-11-22/at=1940": [2],
        "dt=2025-11-22/at=2230": [3],
    }


def test_late_rows_go_to_their_own_partition_and_nulls_to_hives(tmp_path: Path) -> None:
    sink = parquet(tmp_path, event_time="ts", partition_by=["%Y-%m-%d", "n=%{id}"])
    day = 24 * HOUR
    deliver(sink, [rows([{"id": 1, "ts": T0}, {"ts": T0}, {"id": 1, "ts": T0 - 9 * day}])])
    assert sorted(lake_rows(tmp_path)) == [
        "2025-11-13/n=1",
        "2025-11-22/n=1",
        "2025-11-22/n=__HIVE_DEFAULT_PARTITION__",
    ]


def test_too_many_open_files_can_be_an_error_that_keeps_the_rows(tmp_path: Path) -> None:
    options: dict[str, Any] = {"partition_by": ["p=%{id}"], "max_open_files": 3}
    sink = parquet(tmp_path, when_too_many_open="fail", **options)
    deliver(sink, [rows([{"id": i % 3} for i in range(9)])], f"{DELIVERY}1")
    writer = sink.begin(f"{DELIVERY}2")
    with pytest.raises(SinkParked, match="more than max_open_files: 3 partitions"):
        writer.write(rows([{"id": i} for i in range(4)]), 0)
    writer.abandon()
    assert sum(map(len, lake_rows(tmp_path).values())) == 9


@pytest.mark.parametrize(
    "partition_by", [["dt=%Y-%m-%d", "hour=%H"], ["i=%{id}"], ["hour=%H", "i=%{id}", "h=%{host}"]]
)
def test_a_row_in_a_wrong_file_is_noticed_before_anything_is_published(
    partition_by: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the partitioning had an error: all rows of a batch go to the directory of its first."""
    right = Splitter._pieces

    def wrong(self: Splitter, table: Any, batch: Any, origin: Any, times: Any) -> list[Piece]:
        first, *_ = right(self, table, batch, origin, times)
        return [Piece(first.directory, table, origin)]

    sink = parquet(tmp_path, event_time="ts", partition_by=partition_by)
    bodies: list[object] = [{"id": 5, "ts": T0}, {"id": 7, "ts": T0 + 2 * HOUR}]
    deliver(sink, [rows(bodies)], f"{DELIVERY}1")
    monkeypatch.setattr(Splitter, "_pieces", wrong)
    writer = sink.begin(f"{DELIVERY}2")
    writer.write(rows(bodies), 0)
    with pytest.raises(SinkParked, match="this is an error of rayflume"):
        writer.stage()


@pytest.mark.parametrize("missing", [None, "x"])
def test_null_beside_a_value_is_a_row_in_a_wrong_file_too(
    missing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(self: Splitter, table: pa.RecordBatch, *_: Any) -> list[Piece]:
        return [Piece("p=x", table)]

    monkeypatch.setattr(Splitter, "_pieces", one)
    sink = parquet(tmp_path, format=form(u="string"), partition_by=["p=%{u}"])
    writer = sink.begin(DELIVERY)
    writer.write(rows([{"u": "x"}, {"u": missing}]), 0)
    if missing:
        assert writer.stage().written == 2
    else:
        with pytest.raises(SinkParked, match="has rows of"):
            writer.stage()


def test_the_sink_tells_what_it_committed_where(tmp_path: Path) -> None:
    sink = parquet(tmp_path, event_time="ts", partition_by=["hour=%H"])
    deliver(sink, [rows([{"ts": T0}, {"ts": T0 + HOUR}])], f"{DELIVERY}1")
    clock: Any = sink._lake.context.clock
    clock.advance(7_000)
    manifest = deliver(sink, [rows([{"ts": T0 + HOUR}])], f"{DELIVERY}2")
    told = sink.describe()["partitions"]
    assert isinstance(told, list)
    newest, older = told
    assert isinstance(newest, dict) and isinstance(older, dict)
    assert (newest["partition"], newest["rows"], newest["files"]) == ("hour=15", 2, 2)
    assert (newest["commit_age_ms"], older["commit_age_ms"]) == (0, 7_000)
    assert (older["partition"], older["rows"]) == ("hour=14", 1)
    assert isinstance(newest["bytes"], int) and newest["bytes"] > manifest.files[0].size
    assert sink._lake.context.metrics.snapshot()["EventTimeLagMs"] == 0


def test_the_sink_tells_where_its_dead_letters_are_and_why_the_first_is_one(
    tmp_path: Path,
) -> None:
    sink = parquet(tmp_path, format=form(u="int64"))
    path = f"{tmp_path / 'lake'}/_rayflume/dead_letters"
    assert sink.describe()["dead_letters"] == {"path": path, "first_reason": None}
    deliver(sink, [rows([{"u": 1}, {"u": "x"}, {"u": True}])], f"{DELIVERY}1")
    told = sink.describe()["dead_letters"]
    assert isinstance(told, dict) and "expected number, found string" in str(told["first_reason"])
    [file] = Path(path).iterdir()
    reasons = pq.read_table(pa.BufferReader(file.read_bytes())).column("reason").to_pylist()
    assert reasons[0] == told["first_reason"]


def test_files_with_many_row_groups_end_before_their_footers_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayflume.sinks._delivery.FOOTERS_FREE", 0)
    sink = parquet(
        tmp_path,
        path=f"memory://{tmp_path.name}",
        format=form(p="int64", s="string"),
        partition_by=["q=%{p}"],
        buffer_bytes="1MiB",
        row_group_rows=2,
        roll={"bytes": 0},
    )
    writer = sink.begin(DELIVERY)
    for number in range(40):
        bodies: list[object] = [{"p": i % 4, "s": "x" * 10} for i in range(80)]
        writer.write(rows(bodies, at=number * 80), number * 80)
        assert sink._lake.context.metrics.snapshot()["BufferedBytes"] <= 1 << 20
    files = writer.stage().files
    assert sum(file.rows for file in files) == 3200
    assert len(files) > 4
