"""Blocks of whole lines of many senders, and their split into rows. Pure; nothing here waits.

Whole lines lie back to back in one buffer, each with its LF (which is put behind a line that came
without one), so the newlines are looked for once for all senders, and cutting them off copies the
bodies into memory of their own: the buffer is free for the next block.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.sources._line_protocol import LineSettings, Peer, Received

_NEWLINE = 0x0A
_TO_THE_END = 2**31 - 1

Ends = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Sender:
    """`refused`: a line of it was too long, and nothing that came behind it counts."""

    peer: Peer
    refused: bool = False


@dataclass(slots=True)
class Piece:
    """What one sender contributed: up to `stop` of the block.

    `cut`: its last line goes on in a later piece. Known after the split: `lines`, those that were
    taken, and `refuse`: a line behind those was too long (the receiver may know it before).
    """

    sender: Sender
    stop: int
    cut: bool = False
    refuse: bool = False
    lines: int = 0


@dataclass(slots=True)
class Block:
    """`data[:used]` holds whole lines, of `pieces` in order."""

    data: bytearray
    used: int = 0
    pieces: list[Piece] = field(default_factory=list)
    view: memoryview = field(init=False)
    is_newline: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.view = memoryview(self.data)
        self.is_newline = np.empty(len(self.data), np.bool_)

    @property
    def room(self) -> int:
        return len(self.data) - self.used

    def clear(self) -> None:
        self.used, self.pieces = 0, []


def split(block: Block, settings: LineSettings) -> Received:
    """The lines of a block that count, with what became of each piece noted in it."""
    data = np.frombuffer(block.data, np.uint8)[: block.used]
    mask = block.is_newline[: block.used]
    np.equal(data, _NEWLINE, out=mask)
    ends: Ends = np.flatnonzero(mask).astype(np.int64, copy=False) + 1
    stops = np.array([piece.stop for piece in block.pieces], np.int64)
    cut = None
    lengths = np.diff(ends, prepend=0) - 1
    too_long = len(lengths) > 0 and int(lengths.max()) > settings.line_max
    if settings.cut and (too_long or any(piece.cut for piece in block.pieces)):
        data, ends, stops, cut = _cut(data, ends, block.pieces, settings.line_max)
    rows = np.diff(np.searchsorted(ends, stops, side="right"), prepend=0)
    body = _bodies(data, ends)
    if settings.text:
        body = _as_text(body, data, ends)
    if not settings.cut:
        long_rows = _too_long(body, settings) if too_long else np.empty(0, np.int64)
        body = _refuse(body, rows, block.pieces, long_rows)
    for piece, count in zip(block.pieces, rows.tolist(), strict=True):
        piece.lines = count
    return Received(body, [p.sender.peer for p in block.pieces], rows.tolist(), cut)


def _bodies(data: npt.NDArray[np.uint8], ends: Ends) -> pa.BinaryArray:
    if len(ends) == 0:
        return pa.array([], pa.binary())
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    whole = pa.BinaryArray.from_buffers(pa.binary(), len(ends), buffers)
    return pc.binary_replace_slice(whole, -1, _TO_THE_END, b"")


def _cut(
    data: npt.NDArray[np.uint8], ends: Ends, pieces: list[Piece], line_max: int
) -> tuple[npt.NDArray[np.uint8], Ends, Ends, npt.NDArray[np.bool_]]:
    """The same bytes with a newline more at each place where a line is cut.

    Returns them, all ends, the ends of the pieces, and which lines go on in the next one.
    """
    starts = ends - np.diff(ends, prepend=0)
    counts = np.maximum(ends - 1 - starts - 1, 0) // line_max
    first = np.repeat(np.cumsum(counts) - counts, counts)
    number = np.arange(len(first), dtype=np.int64) - first + 1
    places = np.repeat(starts, counts) + number * line_max
    more = np.insert(data, places, _NEWLINE)
    # The end of each line moves by the newlines before it; each cut ends a line of its own.
    old_stops = np.array([piece.stop for piece in pieces], np.int64)
    stops = old_stops + np.searchsorted(places, old_stops, side="left")
    cut_ends = places + np.arange(1, len(places) + 1)
    line_ends = ends + np.searchsorted(places, ends, side="left")
    all_ends = np.concatenate([line_ends, cut_ends])
    order = np.argsort(all_ends, kind="stable")
    is_cut = order >= len(line_ends)
    all_ends = all_ends[order]
    unfinished = stops[[piece.cut for piece in pieces]]
    is_cut[np.searchsorted(all_ends, unfinished)] = True
    return more, all_ends, stops, is_cut


def _as_text(body: pa.BinaryArray, data: npt.NDArray[np.uint8], ends: Ends) -> pa.BinaryArray:
    """Bytes that are not UTF-8 become U+FFFD, as Java's decoders do. A newline never goes with
    them.
    """
    try:
        body.cast(pa.string())
    except pa.ArrowInvalid:
        mended = np.frombuffer(data.tobytes().decode("utf-8", "replace").encode("utf-8"), np.uint8)
        found: Ends = np.flatnonzero(mended == _NEWLINE).astype(np.int64, copy=False) + 1
        assert len(found) == len(ends)
        return _bodies(mended, found)
    return body


def _too_long(body: pa.BinaryArray, settings: LineSettings) -> Ends:
    """Which rows are longer than the limit."""
    rows: Ends = np.flatnonzero(
        np.asarray(pc.greater(pc.binary_length(body), settings.line_max))
    ).astype(np.int64, copy=False)
    if not settings.characters or not len(rows):
        return rows
    long = body.take(pa.array(rows))
    values = np.frombuffer(long.buffers()[2], np.uint8)
    offsets = np.frombuffer(long.buffers()[1], np.int32)[: len(long) + 1]
    # UTF-16 has a code unit for each character, and two for those of four bytes in UTF-8.
    units = ((values & 0xC0) != 0x80).astype(np.int64) + (values >= 0xF0)
    longer: npt.NDArray[np.bool_] = (
        np.add.reduceat(units, offsets[:-1].astype(np.int64)) > settings.line_max
    )
    return rows[longer]


def _refuse(
    body: pa.BinaryArray, rows: Ends, pieces: list[Piece], long_rows: Ends
) -> pa.BinaryArray:
    """Leave out what came from a sender behind its first line that is too long.

    `rows`: of each piece; becomes what is left of it.
    """
    if not len(long_rows) and not any(piece.sender.refused for piece in pieces):
        for piece in pieces:
            piece.sender.refused |= piece.refuse
        return body
    stops = np.cumsum(rows)
    starts = stops - rows
    keep = np.ones(len(body), np.bool_)
    first_long = np.searchsorted(long_rows, starts)
    for i, piece in enumerate(pieces):
        at = int(first_long[i])
        if piece.sender.refused:
            kept, piece.refuse = int(starts[i]), False
        elif at < len(long_rows) and long_rows[at] < stops[i]:
            kept, piece.refuse = int(long_rows[at]), True
        else:
            kept = int(stops[i])
        keep[kept : stops[i]] = False
        piece.sender.refused |= piece.refuse
        rows[i] = kept - starts[i]
    return body.filter(pa.array(keep))
