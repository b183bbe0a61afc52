from __future__ import annotations

import pytest

from rayflume.charsets import codec_of, is_ascii_based


@pytest.mark.parametrize(
    ("java", "python"),
    [
        ("UTF-8", "utf-8"),
        ("utf8", "utf-8"),
        (" UTF-8 ", "utf-8"),
        ("US-ASCII", "ascii"),
        ("ISO-8859-1", "iso8859-1"),
        ("ISO8859_1", "iso8859-1"),
        ("latin1", "iso8859-1"),
        ("windows-1252", "cp1252"),
        ("Cp1252", "cp1252"),
        ("x-windows-949", "cp949"),
        ("windows-31j", "cp932"),
        ("UTF-16LE", "utf-16-le"),
        ("IBM500", "cp500"),
        ("x-MacRoman", "mac-roman"),
        ("GB18030", "gb18030"),
    ],
)
def test_names_of_java(java: str, python: str) -> None:
    assert codec_of(java) == python


@pytest.mark.parametrize("name", ["", "utf-9", "base64", "rot13", "x-nothing", "zlib"])
def test_what_is_no_character_set(name: str) -> None:
    with pytest.raises(ValueError, match="unknown character set"):
        codec_of(name)


def test_a_near_name_is_named() -> None:
    with pytest.raises(ValueError, match="did you mean ISO-8859-1"):
        codec_of("ISO-8859-l")


@pytest.mark.parametrize(
    ("codec", "expected"),
    [("utf-8", True), ("cp1252", True), ("gbk", True), ("utf-16-le", False), ("cp500", False)],
)
def test_where_a_byte_10_is_a_line_feed(codec: str, expected: bool) -> None:
    assert is_ascii_based(codec) is expected
