"""Blocks of lines without sockets: splitting, cutting, refusing, mending; whatever the chunks."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.sources._decoders import decoder_of
from rayflume.sources._line_block import Block, Sender, split
from rayflume.sources._line_protocol import LineSettings, Listener, Peer, Received
from rayflume.sources._line_reader import LineReader, Progress, block_bytes

SETTINGS = LineSettings((Listener("127.0.0.1", 0),), "s", "h/s/life/", 10, batch_bytes=64 * 1024)
CUT = replace(SETTINGS, cut=True)
TEXT_ENCODINGS = [
    "iso-8859-1", "utf-16", "utf-32", "Shift_JIS", "iso2022_jp", "gb18030", "big5", "hz",
    "cp037", "euc_kr",
]  # fmt: skip
TEXT = replace(SETTINGS, text=True, characters=True)


class Wire:
    """Senders whose bytes come in chunks, and the block they fill."""

    def __init__(self, settings: LineSettings, encoding: str = "utf-8") -> None:
        self.settings = settings
        self.block = Block(bytearray(block_bytes(settings)))
        make = decoder_of(encoding)
        self.readers = {
            name: LineReader(Sender(Peer(name, 1, 2)), settings, None if make is None else make())
            for name in "abc"
        }

    def chunk(self, name: str, data: bytes) -> Progress:
        place = self.readers[name].place(self.block)
        assert place is not None
        place[: len(data)] = data
        return self.readers[name].took(self.block, len(data))

    def end(self, name: str) -> Progress:
        assert self.readers[name].place(self.block) is not None
        return self.readers[name].end(self.block)

    def take(self) -> Received:
        received = split(self.block, self.settings)
        assert sum(received.rows) == len(received.body)
        assert [piece.lines for piece in self.block.pieces] == list(received.rows)
        return received


def rows_of(received: Received, name: str) -> list[bytes]:
    found: list[bytes] = []
    bodies, at = received.body.to_pylist(), 0
    for peer, rows in zip(received.peers, received.rows, strict=True):
        found += bodies[at : at + rows] if peer.address == name else []
        at += rows
    return found


@pytest.mark.parametrize(
    ("chunks", "rows"),
    [
        ([b"one\ntwo\n"], [b"one", b"two"]),
        ([b"on", b"e\ntw", b"o\n"], [b"one", b"two"]),
        ([b"\n\n"], [b"", b""]),
        ([b"a\r\n"], [b"a\r"]),
        ([b"0123456789\n"], [b"0123456789"]),
        ([b"\0\xff\n"], [b"\0\xff"]),
        ([b"no end"], []),
        ([b""], []),
    ],
)
def test_lines_without_their_newlines(chunks: list[bytes], rows: list[bytes]) -> None:
    wire = Wire(SETTINGS)
    for chunk in chunks:
        wire.chunk("a", chunk)
    assert wire.take().body.to_pylist() == rows


def test_an_unterminated_line_counts_only_if_asked_for() -> None:
    for unterminated, rows in ((True, [b"x", b"last"]), (False, [b"x"])):
        wire = Wire(replace(SETTINGS, unterminated=unterminated))
        wire.chunk("a", b"x\nlast")
        wire.end("a")
        assert wire.take().body.to_pylist() == rows


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=12)), max_size=30),
    st.sampled_from(["plain", "cut"]),
)
def test_chunks_do_not_matter(chunks: Sequence[tuple[str, bytes]], how: str) -> None:
    """What each sender gets is what splitting all of its bytes at once would give."""
    chunks = [(name, data.replace(b"\x01", b"\n")) for name, data in chunks]
    settings = replace(CUT, line_max=5) if how == "cut" else replace(SETTINGS, line_max=1000)
    wire = Wire(settings)
    for name, data in chunks:
        wire.chunk(name, data)
    for name in "abc":
        wire.end(name)
    received = wire.take()
    for name in "abc":
        data = b"".join(data for who, data in chunks if who == name)
        whole = data.split(b"\n")
        whole = whole if whole[-1] else whole[:-1]
        if how == "cut":
            whole = [line[i : i + 5] for line in whole for i in range(0, len(line) or 1, 5)]
        assert rows_of(received, name) == whole


@given(st.lists(st.integers(0, 23), min_size=1, max_size=8), st.integers(1, 40))
def test_cut_lines_say_that_they_go_on(lengths: list[int], step: int) -> None:
    settings = replace(CUT, line_max=5)
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    wire = Wire(settings)
    for at in range(0, len(data), step):
        wire.chunk("a", data[at : at + step])
    received = wire.take()
    expected = [at + 5 < length for length in lengths for at in range(0, max(length, 1), 5)]
    cut = received.cut.tolist() if received.cut is not None else [False] * len(received.body)
    assert cut == expected


def test_a_line_of_many_megabytes_is_cut_as_it_comes() -> None:
    wire, count, block = Wire(replace(CUT, line_max=2500)), 0, 100 * 1024
    for _ in range(200):
        wire.chunk("a", b"x" * block)
        assert len(wire.readers["a"].rest) <= 2500
        received = wire.take()
        assert received.cut is None or received.cut.all()
        assert set(map(len, received.body.to_pylist())) <= {2500}
        count += received.body.nbytes and sum(map(len, received.body.to_pylist()))
        wire.block.clear()
    assert count + len(wire.readers["a"].rest) == 200 * block


# -- refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"ok\n0123456789x\nlost\n", [b"ok"]),
        (b"0123456789x\n0123456789y\n", []),
        (b"ok\n" + b"x" * 50_000, [b"ok"]),
    ],
)
def test_behind_a_line_that_is_too_long_nothing_counts(data: bytes, rows: list[bytes]) -> None:
    wire = Wire(SETTINGS)
    wire.chunk("b", b"before\n")
    wire.chunk("a", data)
    wire.chunk("b", b"behind\n")
    received = wire.take()
    assert rows_of(received, "a") == rows
    assert rows_of(received, "b") == [b"before", b"behind"]
    assert [p.sender.peer.address for p in wire.block.pieces if p.refuse] == ["a"]
    wire.block.clear()
    wire.chunk("a", b"more\n")
    wire.chunk("b", b"more\n")
    received = wire.take()
    assert (rows_of(received, "a"), rows_of(received, "b")) == ([], [b"more"])
    assert not any(piece.refuse for piece in wire.block.pieces)


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("x" * 10, True),
        ("x" * 11, False),
        ("ø" * 10, True),  # 20 bytes
        ("ø" * 11, False),
        ("€" * 10, True),  # 30 bytes
        ("😀" * 5, True),  # two UTF-16 code units each
        ("😀" * 5 + "x", False),
    ],
)
def test_the_limit_counts_characters_as_java_does(line: str, fits: bool) -> None:
    wire = Wire(TEXT)
    wire.chunk("a", f"ab\n{line}\n".encode())
    received = wire.take()
    assert received.body.to_pylist() == [b"ab", line.encode()][: 2 if fits else 1]


# -- text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"\xff", b"a\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xed\xa0\x80"]
)
def test_s5_what_is_not_utf_8_is_mended_and_harms_no_other_line(line: bytes) -> None:
    wire = Wire(TEXT)
    wire.chunk("b", b"good \xe2\x82\xac\n")
    wire.chunk("a", b"1\n" + line + b"\n2\n")
    received = wire.take()
    mended = line.decode("utf-8", "replace").encode()
    assert received.body.to_pylist() == [b"good \xe2\x82\xac", b"1", mended, b"2"]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("iso-8859-1", "blåbær\nø\n"),
        ("windows-1252", "€ – “\n"),
        ("utf-16-le", "blåbær\n😀\nĊ\n"),  # U+010A has a byte like a newline
        ("Shift_JIS", "日本\n語\n"),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_other_encodings_become_utf_8(encoding: str, text: str, step: int) -> None:
    data = text.encode(encoding)
    wire = Wire(TEXT, encoding)
    for at in range(0, len(data), step):
        wire.chunk("a", data[at : at + step])
    assert wire.take().body.to_pylist() == text.encode().split(b"\n")[:-1]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("UTF-16", "aø\n".encode("utf-16-be")),
        ("UTF-16", codecs.BOM_UTF16_BE + "aø\n".encode("utf-16-be")),
        ("UTF-16", codecs.BOM_UTF16_LE + "aø\n".encode("utf-16-le")),
        ("UTF-32", "aø\n".encode("utf-32-be")),
        ("UTF-32", codecs.BOM_UTF32_LE + "aø\n".encode("utf-32-le")),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_a_byte_order_mark_is_followed_and_its_want_is_big_endian(
    encoding: str, data: bytes, step: int
) -> None:
    wire = Wire(TEXT, encoding)
    for at in range(0, len(data), step):
        wire.chunk("a", data[at : at + step])
    assert wire.take().body.to_pylist() == ["aø".encode()]


@pytest.mark.parametrize(
    "name", ["idna", "punycode", "rot13", "base64", "utf-7", "no-such", "zlib"]
)
def test_what_is_no_encoding_of_texts_is_refused(name: str) -> None:
    with pytest.raises(LookupError):
        decoder_of(name)


@given(st.sampled_from(TEXT_ENCODINGS), st.lists(st.binary(max_size=9), max_size=9))
def test_s5_no_bytes_break_a_decoder(encoding: str, chunks: list[bytes]) -> None:
    wire = Wire(TEXT, encoding)
    for chunk in chunks:
        wire.chunk("a", chunk)
    wire.end("a")
    for body in wire.take().body.to_pylist():
        body.decode("utf-8")


def test_an_unfinished_character_at_the_end_is_mended() -> None:
    wire = Wire(TEXT, "utf-16-le")
    wire.chunk("a", "ab".encode("utf-16-le") + b"x")
    wire.end("a")
    assert wire.take().body.to_pylist() == ["ab\ufffd".encode()]


def test_headers_are_per_sender() -> None:
    wire = Wire(SETTINGS)
    for name, data in (("a", b"1\n2\n"), ("b", b"3\n"), ("a", b"4\n")):
        wire.chunk(name, data)
    received = wire.take()
    addresses = [peer.address for peer in received.peers]
    assert received.header(addresses).to_pylist() == ["a", "a", "b", "a"]  # type: ignore[union-attr]


def test_a_full_block_says_so() -> None:
    wire, reader = Wire(SETTINGS), None
    for _ in range(10_000):
        reader = wire.readers["a"]
        if reader.place(wire.block) is None:
            break
        wire.chunk("a", b"012345678\n" * 100)
    else:
        raise AssertionError("the block never filled")
    assert wire.block.room > 0
    wire.take()
    wire.block.clear()
    assert reader.place(wire.block) is not None
