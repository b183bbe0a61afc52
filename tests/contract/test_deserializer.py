"""Clauses D1 to D3 of rayflume.deserializer.Deserializer, over every deserializer."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import fastavro
import pytest

from rayflume.component import lookup, types_of
from rayflume.deserializer import Deserializer, DeserializerOptions, Settings
from rayflume.lines import Outcome, fingerprint

LINES = [b"row %05d" % i for i in range(60)]
SCHEMA = {"type": "record", "name": "Row", "fields": [{"name": "text", "type": "string"}]}


def avro_file() -> bytes:
    out = io.BytesIO()
    rows = [{"text": line.decode()} for line in LINES]
    fastavro.writer(out, SCHEMA, rows, sync_interval=40)
    return out.getvalue()


def datum(line: bytes) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, {"text": line.decode()})
    return out.getvalue()


@dataclass(frozen=True)
class Case:
    """A deserializer, a file of 60 rows for it, and how it is set."""

    type: str
    data: Callable[[], bytes]
    rows: list[bytes]
    options: dict[str, object] = field(default_factory=dict)
    charset: str = "utf-8"


CASES = {
    "line": Case("line", lambda: b"\n".join(LINES), LINES),
    "line in utf-16": Case(
        "line", lambda: b"\n".join(LINES).decode().encode("utf-16"), LINES, {}, "utf-16"
    ),
    "line of characters": Case(
        "line",
        lambda: b"\n".join(b"".join(LINES[i : i + 3]) for i in range(0, 60, 3)),
        LINES,
        {"max_line_length": 9},
    ),
    "avro": Case("avro", avro_file, [datum(line) for line in LINES]),
    "blob": Case("blob", lambda: b"".join(LINES), LINES, {"max_blob_length": 9}),
}


def test_every_deserializer_is_here() -> None:
    assert set(types_of("deserializer")) == {case.type for case in CASES.values()}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def file(case: Case, tmp_path: Path) -> Path:
    path = tmp_path / "input"
    path.write_bytes(case.data())
    return path


def opened(case: Case, batch_bytes: int, rows_max: int = 0) -> Deserializer:
    options = lookup("deserializer", case.type).model_validate(case.options)
    assert isinstance(options, DeserializerOptions)
    settings = Settings(batch_bytes, rows_max, 1000, True, case.charset)
    return options.open(settings)


@dataclass
class Read:
    """All rows of a file, and the places between two reads."""

    rows: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=lambda: [0])


def read_all(deserializer: Deserializer, path: Path, rows_max: int = 0) -> Read:
    size, mark, found = path.stat().st_size, "", Read()
    with path.open("rb", 0) as file:
        while found.places[-1] < size:
            place = found.places[-1]
            deserializer.clear()
            assert deserializer.read(file.fileno(), place, size, mark) is Outcome.ROWS
            assert deserializer.pieces == 1
            rows = deserializer.take(rows_max)
            assert deserializer.pieces == 0
            [piece], [mark] = rows.pieces, rows.hashes
            assert piece.start == place < piece.end
            assert rows.rows == [len(rows.body)]
            assert len(rows.offsets) == len(rows.body)
            assert mark == fingerprint(path.read_bytes()[max(0, piece.end - 1024) : piece.end])
            found.rows += rows.body.to_pylist()
            found.places.append(piece.end)
    return found


@pytest.mark.parametrize("batch_bytes", [1, 50, 10_000])
def test_d1_whole_records_however_small_the_batch(case: Case, file: Path, batch_bytes: int) -> None:
    found = read_all(opened(case, batch_bytes), file)
    assert found.rows == case.rows
    assert (len(found.places) == 2) == (batch_bytes == 10_000)


def test_d1_another_file_is_seen(case: Case, file: Path) -> None:
    places = read_all(opened(case, 50), file).places
    deserializer = opened(case, 50)
    with file.open("rb", 0) as opened_file:
        fd, size = opened_file.fileno(), file.stat().st_size
        for place in places[1:-1]:
            assert deserializer.read(fd, place, size, "0" * 32) is Outcome.CHANGED
    assert deserializer.pieces == 0


def test_d2_records_are_the_same_wherever_reading_begins(case: Case, file: Path) -> None:
    places = read_all(opened(case, 50), file).places
    size = file.stat().st_size
    with file.open("rb", 0) as opened_file:
        for place in places[:-1]:
            deserializer = opened(case, 10_000)
            assert deserializer.read(opened_file.fileno(), place, size, "") is Outcome.ROWS
            rows = deserializer.take(0).body.to_pylist()
            assert rows == case.rows[len(case.rows) - len(rows) :]


def test_d2_what_is_read_up_to_an_earlier_place_ends_there(case: Case, file: Path) -> None:
    places = read_all(opened(case, 50), file).places
    deserializer = opened(case, 10_000)
    with file.open("rb", 0) as opened_file:
        assert deserializer.read(opened_file.fileno(), 0, places[3], "") is Outcome.ROWS
    rows = deserializer.take(0)
    assert rows.pieces[0].end == places[3]


@pytest.mark.parametrize("rows_max", [1, 7])
def test_d3_at_most_so_many_rows(case: Case, file: Path, rows_max: int) -> None:
    found = read_all(opened(case, 10_000, rows_max), file, rows_max)
    assert found.rows == case.rows
    records = len(case.rows) // rows_max
    assert len(found.places) - 1 >= records / (10 if case.type == "avro" else 1)


def test_d3_two_files_in_one_batch(case: Case, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(file.read_bytes())
    deserializer = opened(case, 10_000)
    for path in (file, other):
        fd = os.open(path, os.O_RDONLY)
        assert deserializer.read(fd, 0, path.stat().st_size, "") is Outcome.ROWS
        os.close(fd)
    rows = deserializer.take(0)
    assert rows.rows == [len(case.rows)] * 2
    assert rows.body.to_pylist() == case.rows * 2
    assert len(rows.hashes) == 2 and len(rows.offsets) == len(rows.body)
    assert all(len(values) == 2 for values in rows.headers.values())
