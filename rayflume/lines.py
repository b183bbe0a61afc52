"""Blocks of files to rows: one reused buffer, no Python per row.

Whole lines of one or many files lie back to back in the buffer, so the newlines are looked for once
for all of them. Cutting the line ends off copies the bodies into memory of their own, and the
buffer is free for the next batch.

A line longer than `line_bytes_max` goes on in the next row, as in Flume. A line end directly behind
such a piece (or behind a last line that was read before it was ended) ends the piece and makes no
row; whether `start` lies behind such a piece is seen in the file itself, so it is the same after a
restart.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import Header

TAIL_BYTES = 1024
"""So many bytes before a place are hashed to know it again."""
_NEWLINE, _RETURN = 10, 13
_TO_THE_END = 2**31 - 1
_READ_BYTES_MIN = 2**16


def fingerprint(tail: bytes | memoryview) -> str:
    """Hash of the last up to TAIL_BYTES bytes before a place; "" at the beginning of a file."""
    return hashlib.blake2b(tail, digest_size=16).hexdigest() if len(tail) else ""


class Outcome(Enum):
    """What one read gave."""

    ROWS = auto()
    PARTIAL = auto()
    """No whole line up to the place where to stop."""
    NO_ROOM = auto()
    """The line is longer than what is left of the buffer."""
    CHANGED = auto()
    """The bytes before `start` are not those that were read there: this is another file."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read of one file: `[start, end)` of it became `[at, stop)` of the buffer.

    `base`: the file offset of buffer place `at`; `before`: the up to TAIL_BYTES bytes before it.
    `whole`: everything up to the place where to stop was looked at.
    """

    start: int
    base: int
    at: int
    stop: int
    before: bytes
    whole: bool

    @property
    def end(self) -> int:
        return self.base + self.stop - self.at


@dataclass(slots=True)
class Rows:
    """Rows, and how many of them came of each piece. `offsets`: where each row starts in its file.

    `hashes`: fingerprint at the end of each piece. `headers`: name -> value for each piece.
    """

    body: pa.BinaryArray
    pieces: list[Piece]
    rows: list[int]
    offsets: npt.NDArray[np.int64]
    hashes: list[str]
    headers: dict[str, list[str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CharacterCut:
    """Parts lines that have more than `limit` characters. `codec`: one based on ASCII."""

    limit: int
    codec: str = "utf-8"

    def places(
        self,
        block: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        stops: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Where in lines `[start, stop)`, which are without their ends, new rows begin."""
        if self.codec == "utf-8":
            at = np.flatnonzero((block & 0xC0) != 0x80).astype(np.int64, copy=False)
            first, behind = np.searchsorted(at, starts), np.searchsorted(at, stops)
            return at[self._multiples(first, behind)]
        if _has_single_bytes(self.codec):
            return self._multiples(starts, stops)
        found = [
            self._places_of_one(block[start:stop]) + start
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        ]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def _multiples(
        self, first: npt.NDArray[np.int64], behind: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """`first + limit`, `first + 2 * limit` and so on below `behind`, of each range."""
        counts = np.maximum(behind - first - 1, 0) // self.limit
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        places: npt.NDArray[np.int64] = np.repeat(first, counts) + self.limit * number
        return places

    def _places_of_one(self, line: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        text = line.tobytes().decode(self.codec, "surrogateescape")
        pieces = [text[at : at + self.limit] for at in range(0, len(text), self.limit)]
        sizes = [len(piece.encode(self.codec, "surrogateescape")) for piece in pieces[:-1]]
        return np.cumsum(np.array(sizes, dtype=np.int64))


@cache
def _has_single_bytes(codec: str) -> bool:
    return len(bytes(range(256)).decode(codec, "replace")) == 256 and codec != "utf-7"


class LineBuffer:
    """Collects whole lines of files until it is full or taken.

    With `cut`, lines are parted by characters; `line_bytes_max` must hold more of them than a row
    may have, and bounds only what is held of one line.
    """

    def __init__(
        self,
        batch_bytes: int,
        line_bytes_max: int,
        strip_return: bool,
        cut: CharacterCut | None = None,
    ) -> None:
        self._line_bytes_max = line_bytes_max
        self._row_bytes_max = line_bytes_max if cut is None else cut.limit
        self._cut = cut
        self._strip_return = strip_return
        self._limit = self._batch_bytes = batch_bytes
        self._tail = bytearray(TAIL_BYTES)
        self._pieces: list[Piece] = []
        self._used = 0
        self._space = batch_bytes
        self._allocate(batch_bytes)

    def _allocate(self, size: int) -> None:
        self._data = bytearray(size)
        self._view = memoryview(self._data)
        self._is_newline = np.empty(size, dtype=np.bool_)

    @property
    def room(self) -> int:
        """Bytes that still fit into this batch."""
        return self._limit - self._used

    @property
    def pieces(self) -> int:
        return len(self._pieces)

    def clear(self) -> None:
        self._pieces, self._used, self._space = [], 0, self._limit

    def read(self, fd: int, start: int, stop: int, expect: str, *, flush: bool) -> Outcome:
        """Read whole lines of `[start, stop)` of a file behind what is there already. Blocks.

        `expect`: the fingerprint at `start`. `flush`: an unterminated line at `stop` is a row.
        Raises OSError. Nothing is kept unless the outcome is ROWS.
        """
        outcome = self._read(fd, start, stop, expect, flush)
        while outcome is Outcome.NO_ROOM and self._used == 0:
            self._grow()
            outcome = self._read(fd, start, stop, expect, flush)
        return outcome

    def _read(self, fd: int, start: int, stop: int, expect: str, flush: bool) -> Outcome:
        length = min(TAIL_BYTES, start)
        tail = memoryview(self._tail)[:length]
        # One call, so that no truncation can come between the check and the rows.
        target = self._view[self._used : min(self._space, self._used + stop - start)]
        got = os.preadv(fd, [tail, target], start - length)
        if got < length or (expect and fingerprint(tail) != expect):
            return Outcome.CHANGED
        got -= length
        skipped = self._skip_line_end(tail, got)
        before = bytes(tail) + self._skipped(skipped)
        got -= skipped
        at_stop = skipped + got == stop - start
        rows = self._whole_rows(got, flush and at_stop)
        if rows == 0 and skipped == 0:
            # A file that has become shorter than `stop` is seen by its size, not here.
            room_is_why = got == len(target) and not at_stop
            return Outcome.NO_ROOM if room_is_why else Outcome.PARTIAL
        at, self._used = self._used, self._used + rows
        base = start + skipped
        whole = at_stop and self._space == self._limit
        self._pieces.append(Piece(start, base, at, self._used, before[-TAIL_BYTES:], whole))
        return Outcome.ROWS

    def _skip_line_end(self, tail: memoryview, got: int) -> int:
        if not tail or tail[-1] == _NEWLINE or got == 0:
            return 0
        head = bytes(self._view[self._used : self._used + min(got, 2)])
        length = 1 if head[:1] == b"\n" else 2 if self._strip_return and head == b"\r\n" else 0
        self._line_end = head[:length]
        if length:
            rest = bytes(self._view[self._used + length : self._used + got])
            self._view[self._used : self._used + len(rest)] = rest
        return length

    def _skipped(self, length: int) -> bytes:
        return self._line_end if length else b""

    def _whole_rows(self, got: int, flush: bool) -> int:
        # Beyond the batch's size room was made for one row only.
        grown = self._space > self._limit
        if flush and not grown:
            return got
        find = self._data.find if grown else self._data.rfind
        rows = find(b"\n", self._used, self._used + got) + 1 - self._used
        if rows > 0:
            return rows
        if flush:
            return got
        return self._whole_pieces(got) if got >= self._line_bytes_max else 0

    def _whole_pieces(self, got: int) -> int:
        """How much of the beginning of a line that is too long is whole rows."""
        if self._cut is None:
            return got - got % self._line_bytes_max
        start = np.frombuffer(self._data, np.uint8)[self._used : self._used + got]
        places = self._cut.places(start, np.array([0]), np.array([got]))
        return int(places[-1]) if len(places) else 0

    def _grow(self) -> None:
        # A line end of two bytes may stand behind the longest line.
        self._space = min(2 * self._space, max(self._space, self._line_bytes_max) + 2)
        if self._space > len(self._data):
            self._allocate(self._space)

    def take(self, rows_max: int = 0) -> Rows:
        """The rows collected so far (at most `rows_max`, 0 = all); the buffer is empty then."""
        block = np.frombuffer(self._data, dtype=np.uint8)[: self._used]
        ends = self._row_ends(block)
        pieces = self._pieces
        if rows_max and len(ends) > rows_max:
            ends = ends[:rows_max]
            pieces = _cut_pieces(pieces, int(ends[-1]))
        if rows_max:
            self._fit(int(ends[-1]) if len(ends) else 0)
        stops = np.array([piece.stop for piece in pieces], dtype=np.int64)
        rows = np.diff(np.searchsorted(ends, stops, side="right"), prepend=0)
        shifts = np.array([piece.base - piece.at for piece in pieces], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])[: len(ends)]
        taken = Rows(
            body=self._bodies(block, starts, ends),
            pieces=pieces,
            rows=rows.tolist(),
            offsets=starts + np.repeat(shifts, rows),
            hashes=[self._hash_at_end(piece) for piece in pieces],
        )
        self.clear()
        return taken

    def _fit(self, taken: int) -> None:
        """Read about as much as so many rows are: what is read beyond is read again."""
        if taken < self._used:
            self._limit = min(self._batch_bytes, max(_READ_BYTES_MIN, taken + taken // 4))
        elif 4 * self._used > 3 * self._limit:
            self._limit = min(self._batch_bytes, 2 * self._limit)

    def _hash_at_end(self, piece: Piece) -> str:
        data = self._view[max(piece.at, piece.stop - TAIL_BYTES) : piece.stop]
        if len(data) == TAIL_BYTES:
            return fingerprint(data)
        return fingerprint((piece.before + bytes(data))[-TAIL_BYTES:])

    def _row_ends(self, block: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        mask = self._is_newline[: len(block)]
        np.equal(block, _NEWLINE, out=mask)
        ends = np.flatnonzero(mask).astype(np.int64, copy=False) + 1
        bare = [p.stop for p in self._pieces if p.stop > p.at and block[p.stop - 1] != _NEWLINE]
        if bare:
            ends = np.insert(ends, np.searchsorted(ends, bare), bare)
        if len(ends) and np.diff(ends, prepend=0).max() > self._row_bytes_max:
            ends = self._split_long(block, ends)
        return ends

    def _split_long(
        self, block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Row ends with more of them inside lines that are too long. Of bytes there are few."""
        starts = np.concatenate([[0], ends[:-1]])
        long = np.flatnonzero(ends - starts > self._row_bytes_max)
        starts, stops = starts[long], ends[long]
        stops = stops - self._line_end_bytes(block, starts, stops)
        if self._cut is not None:
            cuts = self._cut.places(block, starts, stops)
        else:
            each = [
                np.arange(start + self._line_bytes_max, stop, self._line_bytes_max)
                for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
            ]
            cuts = np.concatenate([np.zeros(0, np.int64), *each])
        return np.sort(np.concatenate([ends, cuts]))

    def _line_end_bytes(
        self,
        block: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        newline: npt.NDArray[np.int64] = (block[ends - 1] == _NEWLINE).astype(np.int64)
        if not self._strip_return:
            return newline
        # The first row may be one byte long; what its index -1 reads then does not count.
        returns: npt.NDArray[np.int64] = (
            (newline == 1) & (ends - starts >= 2) & (block[ends - 2] == _RETURN)
        ).astype(np.int64)
        return newline + returns

    def _bodies(
        self,
        block: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
    ) -> pa.BinaryArray:
        if len(ends) == 0:
            return pa.array([], pa.binary())
        offsets = np.concatenate([starts[:1], ends]).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._data)]
        whole = pa.BinaryArray.from_buffers(pa.binary(), len(ends), buffers)
        cut = self._line_end_bytes(block, starts, ends)
        shortest, longest = int(cut.min()), int(cut.max())
        if shortest == longest > 0:
            return pc.binary_replace_slice(whole, -longest, _TO_THE_END, b"")
        without_newline = pc.binary_replace_slice(whole, -1, _TO_THE_END, b"")
        body = pc.if_else(pa.array(cut > 0), without_newline, whole)
        if longest == 2:
            without_both = pc.binary_replace_slice(whole, -2, _TO_THE_END, b"")
            body = pc.if_else(pa.array(cut == 2), without_both, body)
        return body


def _cut_pieces(pieces: list[Piece], end: int) -> list[Piece]:
    kept = [piece for piece in pieces if piece.stop <= end]
    rest = pieces[len(kept) :]
    if rest and rest[0].at < end:
        kept.append(replace(rest[0], stop=end, whole=False))
    return kept


def header_per_piece(values: list[str | None], rows: list[int]) -> Header:
    """One header from a value (None: lacks it) per piece: a constant where all rows agree."""
    first = values[0] if values else None
    if first is not None and all(value == first for value in values):
        return first
    index = np.repeat(np.arange(len(values), dtype=np.int32), rows)
    return pc.take(pa.array(values, pa.string()), pa.array(index))
