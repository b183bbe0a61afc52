"""What the bench computes from its values: medians, ratios, targets, tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import check, report, targets
from bench.figures import BARE, FILE, MEMORY, Figures, Value, ratio
from bench.inputs import Input
from bench.table import Table
from bench.tasks import TASKS

GB = 10**9


def value(variant: str, seconds: float, task: str = "json", cpu: float = 1.0) -> Value:
    return Value(0, variant, variant, task, 4_000_000, GB, seconds, cpu, 2**30, 2**28)


def row(figures: Figures, what: str) -> tuple[str | float | int | None, ...]:
    return next(r for r in targets.table(figures).rows if str(r[0]).startswith(what))


def test_a_median_is_over_the_rounds_of_one_variant_and_task() -> None:
    figures = Figures([value(FILE, 10), value(FILE, 5), value(FILE, 8), value(FILE, 1, "lines")])
    assert figures.rate("json", FILE) == 125
    assert figures.rows("json", FILE) == 500_000
    assert figures.rate("json", MEMORY) is None
    assert figures.best("json", (FILE, MEMORY)) == 125
    assert figures.peak(FILE) == 1280


def test_a_ratio_to_what_is_not_there_is_none() -> None:
    assert ratio(3, 2) == 1.5
    assert ratio(None, 2) is None
    assert ratio(3, None) is None


def test_targets_are_met_missed_or_not_measured() -> None:
    figures = Figures([value(FILE, 5, cpu=4), value(BARE, 8, cpu=2), value("spark", 10)])
    begin = "clickstream JSON lines to typed, partitioned Parquet, against"
    assert row(figures, f"{begin} Spark")[2:] == (2.0, "no")
    assert row(figures, f"{begin} two bare pyarrow")[2:] == (1.6, "yes")
    assert row(figures, "CPU seconds per GB, clickstream")[1:] == ("at most 1.3 x", 2.0, "no")
    assert row(figures, "peak memory")[2:] == (1.25, "yes")
    assert row(figures, "tiny events")[2:] == (None, "not measured")


def test_flume_counts_with_the_better_of_its_sources() -> None:
    flume = [value(f"flume_{s}_file", n, "lines") for s, n in (("taildir", 40), ("spooldir", 50))]
    figures = Figures([value(FILE, 5), *flume])
    assert row(figures, "clickstream JSON lines to typed, partitioned Parquet, against Flume")[
        2:
    ] == (8.0, "no")


def test_targets_of_experiments_are_read_from_their_tables() -> None:
    latency = Table(
        "From append to visible in the lake",
        ("load", "p99 ms"),
        [("10% of the peak", 900.0), ("50% of the peak", 2100.0)],
    )
    drained = Table(
        "How a backlog drains",
        ("backlog", "first second", "whole"),
        [("none, files lie ready", 50.0, 100.0), ("1 GB", 98.0, 100.0)],
    )
    figures = Figures(tables=[latency, drained])
    assert row(figures, "append to visible")[2:] == (2100.0, "no")
    assert row(figures, "first second of a backlog")[2:] == (0.98, "yes")
    assert figures.cell("From append", "90 %", "p99 ms") is None


def test_medians_of_the_json_file() -> None:
    figures = Figures([value(FILE, 5), value(BARE, 4)])
    found = report.medians(figures)["json"]
    assert found[FILE]["mb_per_second"] == 200
    assert found[FILE]["of_bare_pyarrow"] == pytest.approx(0.8)


def test_a_table_is_markdown() -> None:
    table = Table("Rates", ("who", "MB/s"), [("a", 1234.5), ("b", None), ("c", 3)], "A note.")
    assert table.markdown().splitlines() == [
        "### Rates",
        "",
        "| who | MB/s |",
        "| --- | --- |",
        "| a | 1,234 |",
        "| b | - |",
        "| c | 3 |",
        "",
        "A note.",
    ]


# -- what contenders wrote is counted ----------------------------------------------------------


def clicks(rows: int, dwell: int) -> Input:
    return Input("clicks", (), rows, 230 * rows, {"dwell_ms": dwell})


def write(folder: Path, values: list[int | None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"dwell_ms": pa.array(values, pa.int64())}), folder / "a.parquet")


def test_rows_of_all_files_are_counted_but_not_hidden_ones(tmp_path: Path) -> None:
    write(tmp_path / "dt=2025-11-22" / "hour=06", [1, 2])
    write(tmp_path / "dt=2025-11-22" / "hour=07", [3])
    write(tmp_path / "_staging", [4])
    assert check.parquet(TASKS["json"], clicks(3, 6), tmp_path) == 3


@pytest.mark.parametrize("values", [[1], [1, 2, 2], [1, None], [1, 3]])
def test_lost_doubled_or_wrong_rows_are_found(values: list[int | None], tmp_path: Path) -> None:
    write(tmp_path, values)
    with pytest.raises(check.WrongOutput):
        check.parquet(TASKS["json"], clicks(2, 3), tmp_path)


def test_text_is_counted_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "out.1").write_bytes(b"ab\ncd\n")
    (tmp_path / "out.2").write_bytes(b"ef\n")
    assert check.text(Input("clicks", (), 3, 9, {}), tmp_path) == 3
    with pytest.raises(check.WrongOutput):
        check.text(Input("clicks", (), 3, 10, {}), tmp_path)


def test_lines_are_counted_without_their_newlines(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["ab", "cdé"]}), tmp_path / "a.parquet")
    assert check.parquet(TASKS["lines"], Input("clicks", (), 2, 8, {}), tmp_path) == 2
