"""Gaps and overlaps: what the ranges of files prove."""

from __future__ import annotations

from rayflume.maintenance.footers import Footer, origins_in, overlaps
from rayflume.maintenance.inspect import LARGE_BYTES, Overlap, Report, inspect, worth_reading
from rayflume.naming import data_name, dead_name, delivery_id
from rayflume.ranges import joined

JOURNAL = "00000000000000aa"
Range = tuple[int, int]


def delivery(number: int) -> str:
    return delivery_id(JOURNAL, 1, number)


def footer(partition: str, number: int, *ranges: Range, part: int = 0, size: int = 10) -> Footer:
    path = f"{partition}/{data_name(delivery(number), part)}"
    return Footer(path, size, "", 5, {}, {delivery(number): ranges})


def merged(partition: str, **origins: tuple[Range, ...]) -> Footer:
    named = {delivery(int(name[1:])): ranges for name, ranges in origins.items()}
    return Footer(f"{partition}/merged.parquet", 10, "", 5, {}, named)


def of(*footers: Footer) -> Report:
    return inspect(footers)


def test_rows_that_are_all_there_once_are_proven() -> None:
    found = of(footer("p", 1, (0, 10)), footer("q", 1, (0, 10)), footer("p", 2, (10, 25)))
    assert found.proven
    [journal] = found.journals
    assert (journal.ranges, journal.deliveries, journal.files) == ([(0, 25)], 2, 3)


def test_gaps_are_between_files_and_before_the_first() -> None:
    [journal] = of(footer("p", 1, (5, 10)), footer("p", 3, (20, 30))).journals
    assert journal.gaps == [(0, 5), (10, 20)]
    assert not of(footer("p", 1, (5, 10))).proven


def test_dead_letters_fill_gaps() -> None:
    dead = Footer(dead_name(delivery(2), 0), 10, "", 3, {}, {delivery(2): ((10, 20),)})
    found = of(footer("p", 1, (0, 10)), dead, footer("p", 3, (20, 30)))
    assert found.proven and found.dead.rows == 3
    assert [partition.name for partition in found.partitions] == ["p"]


def test_two_deliveries_with_one_row_overlap_in_any_partition() -> None:
    one, two = footer("p", 1, (0, 10)), footer("q", 2, (8, 20))
    [journal] = of(one, two).journals
    assert journal.overlaps == [Overlap(8, 10, (one.path, two.path))]
    assert journal.gaps == []


def test_two_files_of_one_delivery_and_partition_overlap() -> None:
    one, two = footer("p", 1, (0, 10)), footer("p", 1, (9, 12), part=1)
    assert of(one, two).journals[0].overlaps == [Overlap(9, 10, (one.path, two.path))]
    assert of(one, footer("q", 1, (9, 12), part=1)).journals[0].overlaps == []


def test_a_merged_file_beside_what_it_was_made_of_overlaps() -> None:
    both = merged("p", d1=((0, 10),), d2=((10, 20),))
    assert of(both).proven
    [journal] = of(both, footer("p", 2, (10, 20))).journals
    assert [(o.start, o.stop) for o in journal.overlaps] == [(10, 20)]
    assert of(both, footer("q", 2, (10, 20))).proven


def test_a_merged_file_that_names_only_journals_is_judged_in_its_partition() -> None:
    known = Footer("p/merged.parquet", 10, "", 5, {}, {JOURNAL: ((0, 20),)})
    assert of(known, footer("q", 2, (10, 20))).proven
    assert not of(known, footer("p", 2, (10, 20))).proven


def test_damaged_and_foreign_files_are_told() -> None:
    found = of(Footer("p/a.parquet", 3, "no whole Parquet file"), Footer("p/b.parquet", 3))
    assert found.damaged == [("p/a.parquet", "no whole Parquet file")]
    assert found.foreign == ["p/b.parquet"] and not found.proven


def test_the_share_of_large_files() -> None:
    assert of().large_share == 1.0
    small = footer("p", 2, (1, 2), size=LARGE_BYTES // 4)
    found = of(footer("p", 1, (0, 1), size=LARGE_BYTES), small)
    assert found.large_share == 0.8


def test_only_lake_files_are_read() -> None:
    dead = dead_name(delivery(1), 0)
    listed = ["p/a.parquet", "_rayflume/schema/1.json", dead, "p/_SUCCESS", "_delta_log/1.parquet"]
    assert worth_reading(listed) == ["p/a.parquet", dead]


def test_ranges() -> None:
    assert joined([(5, 7), (0, 2), (2, 3), (6, 9)]) == [(0, 3), (5, 9)]
    assert overlaps([(0, 5), (5, 9)]) == []
    assert overlaps([(0, 5), (3, 9), (4, 6)]) == [(3, 6)]
    assert overlaps([(0, 0), (0, 5)]) == []


def test_origins_of_metadata() -> None:
    assert origins_in({}) is None
    plain = {"rayflume.delivery": delivery(1), "rayflume.ranges": "[[3, 5], [0, 1]]"}
    assert origins_in(plain) == {delivery(1): ((0, 1), (3, 5))}
    assert origins_in({**plain, "rayflume.merged": '{"a": [[0, 1]]}'}) == {"a": ((0, 1),)}
    for bad in ('{"rayflume.merged": 3}', "[1]", '[["a", 1]]', "3", "x"):
        try:
            origins_in({**plain, "rayflume.ranges": bad})
        except ValueError:
            continue
        raise AssertionError(bad)
