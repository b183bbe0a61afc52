"""The bench's input: the same bytes from the same seed, of the size that was asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench import inputs
from bench.settings import SCHEMA, WIDE_SCHEMA
from rayflume.formats import combined_log

SIZE = 400_000
LARGE = 2_000_000


def size_of(kind: str) -> int:
    return LARGE if kind == "large" else SIZE


def content(made: inputs.Input) -> bytes:
    return b"".join(path.read_bytes() for path in made.files)


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_the_same_seed_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    first = inputs.make(kind, size_of(kind), tmp_path / "a", files=3)
    again = inputs.make(kind, size_of(kind), tmp_path / "b", files=3)
    other = inputs.make(kind, size_of(kind), tmp_path / "c", files=3, seed=8)
    assert content(first) == content(again) != content(other)
    assert first.sums == again.sums


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_size_and_rows_are_as_told(kind: str, tmp_path: Path) -> None:
    made = inputs.make(kind, size_of(kind), tmp_path, files=4)
    whole = content(made)
    assert len(made.files) == 4
    assert len(whole) == made.bytes == pytest.approx(size_of(kind), rel=0.05)
    assert whole.count(b"\n") == made.rows
    assert whole.endswith(b"\n")
    sizes = [path.stat().st_size for path in made.files]
    assert max(sizes) < 1.2 * min(sizes)


def test_what_is_finished_is_used_again(tmp_path: Path) -> None:
    made = inputs.make("tiny", SIZE, tmp_path)
    times = [path.stat().st_mtime_ns for path in made.files]
    assert inputs.make("tiny", SIZE, tmp_path) == made
    assert [path.stat().st_mtime_ns for path in made.files] == times
    made.files[0].unlink()
    assert inputs.make("tiny", SIZE, tmp_path) == made
    assert made.files[0].is_file()


def test_clicks_have_the_fields_of_the_schema_and_their_sum(tmp_path: Path) -> None:
    made = inputs.make("clicks", SIZE, tmp_path)
    rows = [json.loads(line) for line in content(made).splitlines()]
    assert all(list(row) == list(SCHEMA) for row in rows)
    assert sum(row["dwell_ms"] for row in rows) == made.sums["dwell_ms"]


def test_wide_rows_have_a_hundred_fields_of_their_types(tmp_path: Path) -> None:
    made = inputs.make("wide", SIZE, tmp_path)
    rows = [json.loads(line) for line in content(made).splitlines()]
    kinds = {"int64": int, "timestamp_ms": int, "double": float, "string": str, "boolean": bool}
    assert len(WIDE_SCHEMA) == 100
    for row in rows:
        assert {name: type(value) for name, value in row.items()} == {
            name: kinds[kind] for name, kind in WIDE_SCHEMA.items()
        }
    assert sum(row["i00"] for row in rows) == made.sums["i00"]


def test_access_lines_match_the_format_whole(tmp_path: Path) -> None:
    made = inputs.make("access", SIZE, tmp_path)
    line = re.compile(combined_log._LINE)
    found = [line.match(text) for text in content(made).decode().splitlines()]
    assert all(match and match["user_agent"] for match in found)
    assert sum(int(match["bytes"]) for match in found if match) == made.sums["bytes"]


def test_tiny_and_large_lines_have_one_length(tmp_path: Path) -> None:
    for kind, length in (("tiny", 20), ("large", 100_000)):
        made = inputs.make(kind, size_of(kind), tmp_path)
        lines = content(made).splitlines(keepends=True)
        assert {len(line) for line in lines} == {length}
        assert len(set(lines)) == made.rows
