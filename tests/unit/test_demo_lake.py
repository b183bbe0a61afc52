"""The end of the demo: it counts for itself and says so when rows are missing."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayflume import demo_lake
from rayflume.naming import DEAD_LETTERS, data_name, dead_name, delivery_id

DELIVERY = delivery_id("0123456789abcdef", 1, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A demo of four lines: three clicks in two hours, and one dead letter."""
    clicks = tmp_path / "clicks"
    clicks.mkdir()
    (clicks / "clicks-0000.jsonl").write_text("{}\n{}\n")
    (clicks / "clicks-0001.jsonl").write_text("{}\nlast line without an end")
    for hour, users in (("06", [1, 2]), ("07", [3])):
        place = tmp_path / "lake" / "clicks" / "dt=2025-11-22" / f"hour={hour}"
        place.mkdir(parents=True)
        rows = {
            "ts": [dt.datetime(2025, 11, 22, int(hour), tzinfo=dt.UTC)] * len(users),
            "user_id": users,
            "event": ["view"] * len(users),
            "url": ["/"] * len(users),
            "price": [1.5] * len(users),
        }
        pq.write_table(pa.table(rows), place / data_name(DELIVERY, int(hour)))
    (tmp_path / "lake" / "clicks" / DEAD_LETTERS).mkdir(parents=True)
    dead = pa.table({"body": [b"last line without an end"]})
    pq.write_table(dead, tmp_path / "lake" / "clicks" / dead_name(DELIVERY, 9))
    return tmp_path


def shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["demo_lake", str(folder)])
    return demo_lake.main()


def test_both_ends_are_counted(folder: Path) -> None:
    counted = demo_lake.count(folder)
    assert (counted.lines, counted.rows, counted.dead, counted.files) == (4, 3, 1, 2)
    assert counted.whole


def test_rows_and_their_hours_are_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(folder, monkeypatch) == 0
    out = capsys.readouterr().out
    assert "4 lines went in, 3 rows are in the lake (2 files" in out
    assert "2025-11-22   06" in out and "2025-11-22   07" in out


def test_a_missing_row_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (folder / "clicks" / "clicks-0000.jsonl").open("a") as file:
        file.write("{}\n")
    assert shown(folder, monkeypatch) == 1
    assert "does not add up" in capsys.readouterr().err


def test_no_demo_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(tmp_path, monkeypatch) == 2
    assert "`make demo` writes it" in capsys.readouterr().err
