"""Which files are merged: pure decisions over listings."""

from __future__ import annotations

import pytest

from rayflume.errors import OptionError
from rayflume.maintenance.plan import (
    FILES_MAX,
    FULL,
    MIB,
    CompactOptions,
    by_partition,
    closed_files,
    groups,
    worth_a_look,
)
from rayflume.naming import COMPACTION, data_name, delivery_id

JOURNAL = "00000000000000aa"
OPTIONS = CompactOptions(target_bytes=100 * MIB)


def path(partition: str, number: int, journal: str = JOURNAL) -> str:
    return f"{partition}/{data_name(delivery_id(journal, 1, number), 0)}".removeprefix("/")


def test_only_data_files_of_rayflume_count() -> None:
    listed = [
        path("dt=1", 1), "dt=1/part-0-foreign.parquet", "dt=1/_SUCCESS", "_rayflume/schema/1.json",
        f"_rayflume/dead_letters/{JOURNAL}-1-1-0.dead", "_rayflume/tombstones/x-0.json",
        path("", 2), path("dt=1", 3, COMPACTION),
    ]  # fmt: skip
    found = by_partition(dict.fromkeys(listed, 5))
    assert found == {
        "": {path("", 2): 5},
        "dt=1": {path("dt=1", 3, COMPACTION): 5, path("dt=1", 1): 5},
    }


def test_groups_are_about_the_target_in_the_order_of_deliveries() -> None:
    files = {path("p", n): 30 * MIB for n in (11, 2, 10, 1, 9, 3, 4)}
    found = groups(files, OPTIONS)
    assert [[int(p.split("-")[3]) for p in group.paths] for group in found] == [
        [1, 2, 3, 4], [9, 10, 11],
    ]  # fmt: skip
    assert [group.bytes for group in found] == [120 * MIB, 90 * MIB]


def test_the_last_group_of_a_partition_is_no_small_file_again() -> None:
    files = {path("p", n): 10 * MIB for n in range(12)}
    assert [group.bytes for group in groups(files, OPTIONS)] == [60 * MIB, 60 * MIB]


def test_large_files_and_single_ones_are_left() -> None:
    assert groups({path("p", 1): 75 * MIB, path("p", 2): 76 * MIB}, OPTIONS) == []
    assert groups({path("p", 1): 5 * MIB, path("p", 2): 76 * MIB}, OPTIONS) == []
    [group] = groups({path("p", 1): 74 * MIB, path("p", 2): 36 * MIB}, OPTIONS)
    assert group.bytes == 110 * MIB <= OPTIONS.target_bytes * FULL


def test_no_group_has_too_many_files() -> None:
    files = {path("p", n): 1 for n in range(2 * FILES_MAX + 1)}
    assert [len(group.paths) for group in groups(files, OPTIONS)] == [FILES_MAX, FILES_MAX]


def test_a_partition_closes_by_its_newest_file_or_its_marker() -> None:
    one, two = path("p", 1), path("p", 2)
    times = {one: 10, two: 20}
    assert closed_files("p", [one, two], times, 19) == []
    assert closed_files("p", [one, two], times, 20) == [one, two]
    assert closed_files("p", [one, two, "p/_SUCCESS"], times, 0) == [one, two]
    assert closed_files("p", [one, two, "p/q/_SUCCESS"], times, 0) == []


def test_an_unpartitioned_lake_closes_file_by_file() -> None:
    one, two = path("", 1), path("", 2)
    assert closed_files("", [one, two], {one: 10, two: 20}, 19) == [one]


def test_a_store_that_knows_no_times_needs_a_marker_or_no_age() -> None:
    one = path("p", 1)
    assert closed_files("p", [one], None, 10**15) == []
    assert closed_files("p", [one, "p/_SUCCESS"], None, 0) == [one]


def test_partitions_are_chosen_by_a_glob() -> None:
    sizes = {path(f"dt=2026-11-{day}", n): 5 for day in (1, 2) for n in range(2)}
    assert worth_a_look(sizes, OPTIONS) == ["dt=2026-11-1", "dt=2026-11-2"]
    assert worth_a_look(sizes, CompactOptions(partitions="dt=*-2")) == ["dt=2026-11-2"]
    assert worth_a_look({path("p", 1): 5}, OPTIONS) == []


def test_senseless_options_are_refused() -> None:
    with pytest.raises(OptionError, match="--target"):
        CompactOptions(target_bytes=1000)
    with pytest.raises(OptionError, match="--keep-tombstones"):
        CompactOptions(keep_tombstones_ms=1000)
