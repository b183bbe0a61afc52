from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflume.lines import CharacterCut, LineBuffer, Outcome, fingerprint, header_per_piece


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "input"


def read_all(
    path: Path, buffer: LineBuffer, *, flush: bool = True, rows_max: int = 0
) -> tuple[list[bytes], list[int], int]:
    """Rows, where each starts, and where reading stopped."""
    size = path.stat().st_size
    fd = os.open(path, os.O_RDONLY)
    rows: list[bytes] = []
    offsets: list[int] = []
    place, mark = 0, ""
    try:
        while place < size:
            outcome = buffer.read(fd, place, size, mark, flush=flush)
            if outcome is Outcome.PARTIAL:
                break
            assert outcome is Outcome.ROWS
            lines = buffer.take(rows_max)
            rows += lines.body.to_pylist()
            offsets += lines.offsets.tolist()
            assert lines.pieces[0].start == place
            assert lines.rows == [len(lines.body)]
            place, mark = lines.pieces[0].end, lines.hashes[0]
            before = path.read_bytes()[max(0, place - 1024) : place]
            assert mark == fingerprint(before)
    finally:
        os.close(fd)
    return rows, offsets, place


def split(data: bytes, longest: int, strip: bool = True) -> list[bytes]:
    """What rows the lines of a file are, one by one in Python."""
    rows: list[bytes] = []
    lines = data.split(b"\n")
    for i, line in enumerate(lines):
        if i == len(lines) - 1 and line == b"":
            break
        if strip and i < len(lines) - 1 and line.endswith(b"\r"):
            line = line[:-1]
        rows += [line[at : at + longest] for at in range(0, len(line), longest)] or [b""]
    return rows


@pytest.mark.parametrize(
    "data",
    [
        b"a\nbb\n\nccc\n",
        b"\n",
        b"\n\n\n",
        b"a",
        b"a\r\nb\r\n\r\nc\r\n",
        b"mixed\r\nplain\n\rnot at end\nx\ry\n",
        b"nul\x00byte\n\xff\xfe\n",
        b"\r\n",
        b"last without end\r\nlast",
    ],
)
def test_lines_are_those_of_python(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    rows, offsets, place = read_all(file, LineBuffer(4096, 1000, True))
    assert rows == split(data, 1000)
    assert place == len(data)
    assert offsets == starts(data)


def starts(data: bytes) -> list[int]:
    places = [0] + [i + 1 for i, byte in enumerate(data) if byte == 10]
    return [place for place in places if place < len(data)]


def test_carriage_return_is_kept_if_asked(file: Path) -> None:
    file.write_bytes(b"a\r\nb\n")
    assert read_all(file, LineBuffer(64, 64, False))[0] == [b"a\r", b"b"]


def test_unterminated_line_waits_unless_flushed(file: Path) -> None:
    file.write_bytes(b"one\ntwo")
    rows, _, place = read_all(file, LineBuffer(64, 64, True), flush=False)
    assert (rows, place) == ([b"one"], 4)


def test_line_end_behind_a_delivered_piece_makes_no_row(file: Path) -> None:
    file.write_bytes(b"half")
    buffer = LineBuffer(64, 64, True)
    assert read_all(file, buffer)[0] == [b"half"]
    file.write_bytes(b"half\r\nnext\n")
    fd = os.open(file, os.O_RDONLY)
    outcome = buffer.read(fd, 4, 11, fingerprint(b"half"), flush=False)
    os.close(fd)
    lines = buffer.take()
    assert outcome is Outcome.ROWS
    assert lines.body.to_pylist() == [b"next"]
    assert (lines.pieces[0].start, lines.pieces[0].end) == (4, 11)
    assert lines.offsets.tolist() == [6]


def test_other_bytes_before_the_place_are_noticed(file: Path) -> None:
    file.write_bytes(b"xbcd\nefgh\n")
    buffer = LineBuffer(64, 64, True)
    fd = os.open(file, os.O_RDONLY)
    assert buffer.read(fd, 5, 10, fingerprint(b"abcd\n"), flush=False) is Outcome.CHANGED
    assert buffer.read(fd, 50, 60, fingerprint(b"abcd\n"), flush=False) is Outcome.CHANGED
    os.close(fd)


def test_rows_max_cuts_the_batch(file: Path) -> None:
    data = b"".join(b"%d\n" % i for i in range(100))
    file.write_bytes(data)
    rows, offsets, place = read_all(file, LineBuffer(4096, 100, True), rows_max=7)
    assert rows == [b"%d" % i for i in range(100)]
    assert place == len(data)
    assert offsets == starts(data)


def test_huge_line_does_not_grow_the_buffer_without_bound(file: Path) -> None:
    file.write_bytes(b"x" * 100_000 + b"\nshort\n")
    buffer = LineBuffer(64, 1000, True)
    rows, _, _ = read_all(file, buffer)
    assert rows == [b"x" * 1000] * 100 + [b"short"]
    assert len(buffer._data) <= 1002


def test_several_files_share_one_buffer(tmp_path: Path) -> None:
    buffer = LineBuffer(1000, 100, True)
    contents = [b"a\nb\n", b"c", b"d\r\ne", b"\n"]
    for i, content in enumerate(contents):
        path = tmp_path / str(i)
        path.write_bytes(content)
        fd = os.open(path, os.O_RDONLY)
        assert buffer.read(fd, 0, len(content), "", flush=True) is Outcome.ROWS
        os.close(fd)
    lines = buffer.take()
    assert lines.body.to_pylist() == [b"a", b"b", b"c", b"d", b"e", b""]
    assert lines.rows == [2, 1, 2, 1]
    assert lines.offsets.tolist() == [0, 2, 0, 0, 3, 0]


def test_bodies_outlive_the_next_batch(file: Path) -> None:
    file.write_bytes(b"first\n" * 5)
    buffer = LineBuffer(64, 64, True)
    fd = os.open(file, os.O_RDONLY)
    buffer.read(fd, 0, 30, "", flush=False)
    first = buffer.take().body
    file.write_bytes(b"OTHER\n" * 5)
    buffer.read(fd, 0, 30, "", flush=False)
    buffer.take()
    os.close(fd)
    assert first.to_pylist() == [b"first"] * 5


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=12),
    ends=st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=12, max_size=12),
    terminated=st.booleans(),
    batch=st.integers(1, 40),
    longest=st.integers(2, 20),
    rows_max=st.integers(0, 3),
)
def test_any_file_in_any_block_size(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    ends: list[bytes],
    terminated: bool,
    batch: int,
    longest: int,
    rows_max: int,
) -> None:
    data = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    if not terminated:
        data = data[:-1]
    path = tmp_path_factory.mktemp("any") / "input"
    path.write_bytes(data)
    rows, _, place = read_all(path, LineBuffer(batch, longest, False), rows_max=rows_max)
    assert place == len(data)
    assert rows == split(data, longest, strip=False)
    stripped, _, place = read_all(path, LineBuffer(batch, longest, True), rows_max=rows_max)
    assert place == len(data)
    if max((len(row) for row in rows), default=0) < longest - 1:
        assert stripped == split(data, longest)


def values() -> Iterator[tuple[list[str | None], list[int], list[str | None]]]:
    yield ["a", "a"], [2, 1], ["a", "a", "a"]
    yield ["a", None], [2, 1], ["a", "a", None]
    yield [None], [2], [None, None]


@pytest.mark.parametrize(("given_values", "rows", "expected"), list(values()))
def test_header_per_piece(
    given_values: list[str | None], rows: list[int], expected: list[str | None]
) -> None:
    header = header_per_piece(given_values, rows)
    if isinstance(header, str):
        assert [header] * sum(rows) == expected
    else:
        assert header.to_pylist() == expected


# -- parted by characters


@pytest.mark.parametrize("codec", ["utf-8", "iso8859-1", "gbk"])
@pytest.mark.parametrize("batch", [7, 40, 10_000])
def test_long_lines_are_parted_between_characters(file: Path, codec: str, batch: int) -> None:
    text = {"utf-8": "aé€𝄞", "iso8859-1": "aéßz", "gbk": "a中文b"}[codec]
    lines = [text, text * 3, "", text * 30, "abc", text[:3]]
    file.write_bytes("\n".join(lines).encode(codec))
    buffer = LineBuffer(batch, 64, True, CharacterCut(3, codec))
    rows, _, end = read_all(file, buffer)
    expected = [line[at : at + 3] for line in lines for at in range(0, max(len(line), 1), 3)]
    assert [row.decode(codec) for row in rows] == expected
    assert end == file.stat().st_size


def test_rows_of_characters_are_the_same_wherever_reading_begins_again(file: Path) -> None:
    file.write_bytes("aé€𝄞b".encode() * 200 + b"\nx\n")
    whole = read_all(file, LineBuffer(10_000, 10_000, True, CharacterCut(4)))
    parts = read_all(file, LineBuffer(33, 40, True, CharacterCut(4)), rows_max=3)
    assert parts == whole


def test_what_is_read_fits_the_rows_that_are_taken(file: Path) -> None:
    """Reading 8 MiB for each 100 rows would read a file a thousand times."""
    file.write_bytes(b"0123456789abcde\n" * 2**17)
    buffer = LineBuffer(2**20, 1000, True)
    with file.open("rb", 0) as opened:
        for _ in range(2):
            buffer.read(opened.fileno(), 0, 2**21, "", flush=True)
            buffer.take(100)
        assert buffer.room == 2**16
        for _ in range(4):
            buffer.read(opened.fileno(), 0, 2**21, "", flush=True)
            assert len(buffer.take(10**6).body)
        assert buffer.room == 2**20
