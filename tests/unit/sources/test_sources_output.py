from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflume.sources._output import OutputLines


def rows_of(pieces: list[bytes], longest: int = 1000, **bounds: int) -> list[bytes]:
    lines = OutputLines(longest)
    found: list[bytes] = []

    def take(ended: bool) -> None:
        while True:
            body = lines.take(bounds.get("rows", 0), bounds.get("bytes", 10_000), ended)
            body.validate(full=True)
            found.extend(body.to_pylist())
            if not len(body):
                return

    for piece in pieces:
        lines.add(piece)
        take(False)
    take(True)
    assert lines.nbytes == 0
    return found


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], []),
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a\nb"], [b"a", b"b"]),
        ([b"a\r\nb\r\n"], [b"a", b"b"]),
        ([b"a\rb\rc"], [b"a", b"b", b"c"]),
        ([b"a\r", b"\nb"], [b"a", b"b"]),
        ([b"a\r", b"b\r\n\r\n"], [b"a", b"b", b""]),
        ([b"a\n", b"\n", b"\n"], [b"a", b"", b""]),
        ([b"\n\r\n\r"], [b"", b"", b""]),
        ([b"a", b"b", b"\n", b"c"], [b"ab", b"c"]),
        ([b"a\nb\r\nc\rd"], [b"a", b"b", b"c", b"d"]),
    ],
)
def test_lines_end_as_java_has_it(pieces: list[bytes], expected: list[bytes]) -> None:
    assert rows_of(pieces) == expected


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"abcdefgh\ni\n"], [b"abc", b"def", b"gh", b"i"]),
        ([b"abcdef\ni\n"], [b"abc", b"def", b"i"]),
        ([b"abcd", b"ef", b"\ni\n"], [b"abc", b"def", b"i"]),
        ([b"abcdefg", b"\n", b"\n"], [b"abc", b"def", b"g", b""]),
        ([b"abcdef", b"g\r\ni"], [b"abc", b"def", b"g", b"i"]),
    ],
)
def test_long_lines_go_on_in_the_next_row(pieces: list[bytes], expected: list[bytes]) -> None:
    assert rows_of(pieces, 3) == expected


@settings(max_examples=60)
@given(
    st.lists(st.binary(max_size=9).map(lambda data: data.translate(b"ab\n\rcd\n\r" * 32))),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_rows_do_not_depend_on_how_the_output_comes(
    pieces: list[bytes], rows: int, size: int
) -> None:
    whole = b"".join(pieces)
    expected = [line.rstrip(b"\r\n") for line in whole.splitlines(keepends=True)]
    assert rows_of(pieces, rows=rows, bytes=size) == expected


def test_a_batch_is_bounded_by_rows_and_bytes() -> None:
    lines = OutputLines(1000)
    lines.add(b"aa\nbb\ncc\ndd\n")
    assert lines.take(1, 100, False).to_pylist() == [b"aa"]
    assert lines.lines == 3
    assert lines.take(0, 7, False).to_pylist() == [b"bb", b"cc"]
    assert lines.take(0, 1, False).to_pylist() == [b"dd"]
    assert not lines.has_rows
