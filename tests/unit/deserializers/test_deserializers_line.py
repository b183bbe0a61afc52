"""LINE of Flume's user guide, section Event Deserializers, and what it says of character sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rayflume.deserializer import Settings, Unreadable
from rayflume.deserializers.line import Line
from rayflume.lines import Outcome
from rayflume.transcode import OnError


def rows_of(path: Path, options: dict[str, object], settings: Settings) -> list[bytes]:
    deserializer = Line.model_validate(options).open(settings)
    fd = os.open(path, os.O_RDONLY)
    found: list[bytes] = []
    place, mark, size = 0, "", path.stat().st_size
    try:
        while place < size:
            assert deserializer.read(fd, place, size, mark) is Outcome.ROWS
            rows = deserializer.take(settings.rows_max)
            rows.body.validate(full=True)
            found += rows.body.to_pylist()
            place, mark = rows.pieces[0].end, rows.hashes[0]
    finally:
        os.close(fd)
    return found


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (b"a\nb", {}, [b"a", b"b"]),
        (b"a\r\nb\r\n", {}, [b"a\r", b"b\r"]),
        (b"a\rb\n\n", {}, [b"a\rb", b""]),
        (b"abcde\nf\n", {"max_line_length": 2}, [b"ab", b"cd", b"e", b"f"]),
        # Flume makes an empty event of what is left of a line of exactly that length.
        (b"abcd\nf\n", {"max_line_length": 2}, [b"ab", b"cd", b"f"]),
        ("é€𝄞é\n".encode(), {"max_line_length": 2}, ["é€".encode(), "𝄞é".encode()]),
        ("é€\n".encode(), {"output_charset": "ISO-8859-1"}, [b"\xe9?"]),
        ("é\n".encode(), {"output_charset": "UTF-16LE"}, [b"\xe9\x00"]),
    ],
)
def test_lines(
    tmp_path: Path, data: bytes, options: dict[str, object], expected: list[bytes]
) -> None:
    (tmp_path / "f").write_bytes(data)
    settings = Settings(1000, 0, 1000, False)
    assert rows_of(tmp_path / "f", options, settings) == expected


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        ("iso8859-1", "aé\nb\n\nß".encode("latin-1")),
        ("cp1252", "aé\nb\n\nß".encode("cp1252")),
        ("utf-16", "aé\nb\n\nß".encode("utf-16")),
        ("utf-16", b"\xfe\xff" + "aé\nb\n\nß".encode("utf-16-be")),
        ("utf-16-le", "aé\nb\n\nß".encode("utf-16-le")),
        ("utf-16-be", "aé\nb\n\nß".encode("utf-16-be")),
        ("utf-32", "aé\nb\n\nß".encode("utf-32")),
        ("cp500", "aé\nb\n\nß".encode("cp500")),
        ("shift_jis", "a表\nb\n\nソ".encode("shift_jis")),
        ("gb18030", "aé\nb\n\nß".encode("gb18030")),
    ],
)
@pytest.mark.parametrize("batch_bytes", [4, 1000])
def test_files_of_any_character_set(
    tmp_path: Path, charset: str, data: bytes, batch_bytes: int
) -> None:
    (tmp_path / "f").write_bytes(data)
    settings = Settings(batch_bytes, 0, 1000, True, charset, "fail")
    expected = ["a表", "b", "", "ソ"] if charset == "shift_jis" else ["aé", "b", "", "ß"]
    assert [row.decode() for row in rows_of(tmp_path / "f", {}, settings)] == expected


@pytest.mark.parametrize("charset", ["utf-16-le", "cp500"])
def test_wide_lines_are_parted_and_lose_their_returns(tmp_path: Path, charset: str) -> None:
    text = "abcde\r\nfg\r\nhij"
    (tmp_path / "f").write_bytes(text.encode(charset))
    settings = Settings(1000, 0, 1000, True, charset)
    rows = rows_of(tmp_path / "f", {"max_line_length": 2}, settings)
    assert rows == [b"ab", b"cd", b"e", b"fg", b"hi", b"j"]


def test_a_wide_line_without_end_is_bounded(tmp_path: Path) -> None:
    text = "x" + "𝄞" * 40
    (tmp_path / "f").write_bytes(text.encode("utf-16-le"))
    rows = rows_of(tmp_path / "f", {}, Settings(8, 0, 20, True, "utf-16-le"))
    assert b"".join(rows).decode() == text
    assert len(rows) > 5


@pytest.mark.parametrize(
    ("on_error", "charset", "data", "expected"),
    [
        ("keep", "utf-8", b"a\xff\nb", [b"a\xff", b"b"]),
        ("replace", "utf-8", b"a\xff\nb", ["a\ufffd".encode(), b"b"]),
        ("ignore", "utf-8", b"a\xff\nb", [b"a", b"b"]),
        ("replace", "ascii", b"a\xff\nb", ["a\ufffd".encode(), b"b"]),
        ("replace", "utf-16-le", b"a\x00\x00\xdc\n\x00b\x00", ["a\ufffd".encode(), b"b"]),
        ("ignore", "utf-16-le", b"a\x00\x00\xdc\n\x00b\x00", [b"a", b"b"]),
    ],
)
def test_decode_error_policies(
    tmp_path: Path, on_error: OnError, charset: str, data: bytes, expected: list[bytes]
) -> None:
    (tmp_path / "f").write_bytes(data)
    assert rows_of(tmp_path / "f", {}, Settings(99, 0, 99, True, charset, on_error)) == expected


@pytest.mark.parametrize(
    ("on_error", "charset", "data", "offset"),
    [
        ("fail", "utf-8", b"ok\na\xff\nb", 4),
        ("fail", "ascii", b"ok\n\xe9\n", 3),
        ("keep", "ascii", b"ok\n\xe9\n", 3),
        ("fail", "utf-16-le", b"a\x00\n\x00b\x00\x00\xdc", 6),
    ],
)
def test_fail_names_the_byte(
    tmp_path: Path, on_error: OnError, charset: str, data: bytes, offset: int
) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(Unreadable) as caught:
        rows_of(tmp_path / "f", {}, Settings(99, 0, 99, True, charset, on_error))
    assert (caught.value.piece, caught.value.offset) == (0, offset)
    assert f"byte {offset} is no " in caught.value.text
