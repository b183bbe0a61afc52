from __future__ import annotations

import pyarrow as pa
import pytest

from rayflume.transcode import (
    OnError,
    Transcoder,
    Undecodable,
    byte_order_mark,
    parted,
)


def transcoded(rows: list[bytes], source: str, target: str, on_error: OnError) -> list[bytes]:
    # A slice, so that offsets that do not begin at 0 are seen as well.
    body = pa.array([b"before", *rows], pa.binary()).slice(1)
    found = Transcoder(source, target, on_error).rows(body)
    found.validate(full=True)
    return list(found.to_pylist())


@pytest.mark.parametrize(
    ("source", "target", "on_error", "rows", "expected"),
    [
        ("utf-8", "utf-8", "keep", [b"\xff", b""], [b"\xff", b""]),
        ("utf-8", "utf-8", "fail", [b"a", b"", b"\xc3\xa9"], [b"a", b"", b"\xc3\xa9"]),
        ("utf-8", "utf-8", "replace", [b"a\xffb", b"\xe2\x82"], ["a\ufffdb", "\ufffd"]),
        ("utf-8", "utf-8", "ignore", [b"a\xffb", b"\xe2\x82", b""], [b"ab", b"", b""]),
        ("iso8859-1", "utf-8", "keep", [b"\xe9t\xe9", b""], ["été", ""]),
        ("utf-8", "iso8859-1", "fail", ["été".encode(), "€".encode()], [b"\xe9t\xe9", b"?"]),
        ("cp1252", "utf-8", "fail", [b"\x80 5", b"x"], ["€ 5", "x"]),
        ("cp1252", "utf-8", "replace", [b"\x81"], ["\ufffd"]),
        ("shift_jis", "utf-8", "fail", ["表".encode("shift_jis"), b"a"], ["表", "a"]),
        ("gbk", "utf-8", "replace", [b"\x81", b"a"], ["\ufffd", "a"]),
        ("utf-8", "utf-16", "fail", ["aé𝄞".encode(), b""], ["aé𝄞".encode("utf-16-be"), b""]),
        ("utf-8", "utf-16-be", "fail", ["\u0a00".encode(), b"b"], [b"\x0a\x00", b"\x00b"]),
        ("utf-8", "cp500", "fail", [b"ab", b""], ["ab".encode("cp500"), b""]),
        ("ascii", "utf-8", "fail", [b"plain"], [b"plain"]),
        ("utf-8", "utf-8", "replace", [b"a\nb\xff"], ["a\nb\ufffd"]),
    ],
)
def test_rows_of_one_set_in_another(
    source: str, target: str, on_error: OnError, rows: list[bytes], expected: list[bytes | str]
) -> None:
    wanted = [row.encode() if isinstance(row, str) else row for row in expected]
    assert transcoded(rows, source, target, on_error) == wanted


@pytest.mark.parametrize(
    ("codec", "rows", "row", "at"),
    [
        ("utf-8", [b"ok", b"", b"ab\xff"], 2, 2),
        ("utf-8", [b"\xffab", b"ok"], 0, 0),
        ("ascii", [b"ok", b"a\xe9"], 1, 1),
    ],
)
def test_what_is_no_text_names_row_and_byte(
    codec: str, rows: list[bytes], row: int, at: int
) -> None:
    with pytest.raises(Undecodable) as caught:
        transcoded(rows, codec, "utf-8", "fail")
    assert (caught.value.row, caught.value.at) == (row, at)


def test_no_rows_stay_no_rows() -> None:
    assert transcoded([], "utf-8", "utf-16", "fail") == []


def test_parted_by_units_not_by_bytes() -> None:
    assert parted("a\u0a0a\nb".encode("utf-16-le"), "utf-16-le").to_pylist() == [
        "a\u0a0a".encode("utf-16-le"), "b".encode("utf-16-le"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("head", "codec", "expected"),
    [
        (b"\xff\xfea\x00", "utf-16", ("utf-16-le", 2)),
        (b"\xfe\xff\x00a", "utf-16", ("utf-16-be", 2)),
        (b"\x00a", "utf-16", ("utf-16-be", 0)),
        (b"\xff\xfe\x00\x00", "utf-32", ("utf-32-le", 4)),
        (b"\xff\xfea\x00", "utf-16-le", ("utf-16-le", 0)),
        (b"\xef\xbb\xbfa", "utf-8", ("utf-8", 0)),
    ],
)
def test_byte_order(head: bytes, codec: str, expected: tuple[str, int]) -> None:
    assert byte_order_mark(head, codec) == expected
