"""What one TCP connection sends, put into blocks of whole lines. Pure but for the buffers."""

from __future__ import annotations

from enum import Enum

from rayflume.sources._decoders import Decoder
from rayflume.sources._line_block import Block, Piece, Sender
from rayflume.sources._line_protocol import LineSettings

READ_BYTES = 256 * 2**10
_READ_BYTES_MIN = 16 * 2**10
_SPARE = 2
_GROWTH = 4
"""Of text that becomes UTF-8: at most 3 bytes for one, and what the decoder held back."""

_NEWLINE = b"\n"
_LF = _NEWLINE[0]


class Progress(Enum):
    """What came of bytes: at least one whole line, only a part of one, or a line too long."""

    LINES = "lines"
    PART = "part"
    TOO_LONG = "too long"


def block_bytes(settings: LineSettings) -> int:
    """Of a block that has room for the longest line and one read behind it."""
    return max(settings.batch_bytes, settings.line_bytes_max + READ_BYTES + _SPARE)


class LineReader:
    """The unfinished line of one connection.

    `place`, a read into it, `took`: in that order, with the same block. `rest`: the bytes of the
    unfinished line.
    """

    __slots__ = ("_decoder", "_held_max", "_scratch", "_settings", "rest", "sender")

    def __init__(self, sender: Sender, settings: LineSettings, decoder: Decoder | None) -> None:
        self.sender = sender
        self.rest = bytearray()
        self._settings = settings
        self._held_max = settings.line_bytes_max
        self._decoder = decoder
        self._scratch = None if decoder is None else memoryview(bytearray(READ_BYTES // _GROWTH))

    def place(self, block: Block) -> memoryview | None:
        """Where the next bytes are to be read to; None when the block has too little room."""
        room = block.room - len(self.rest) - _SPARE
        if room < min(_READ_BYTES_MIN, READ_BYTES):
            return None
        room = min(room, READ_BYTES)
        if self._scratch is not None:
            return self._scratch[: room // _GROWTH - _GROWTH]
        at = block.used + len(self.rest)
        return block.view[at : at + room]

    def took(self, block: Block, count: int) -> Progress:
        """`count` bytes were read into the place."""
        if self._decoder is not None and self._scratch is not None:
            count = self._decode(block, bytes(self._scratch[:count]), final=False)
        return self._look(block, count)

    def end(self, block: Block) -> Progress:
        """The sender closed in an orderly way. Needs the room that `place` has looked for."""
        if self._decoder is not None:
            self._look(block, self._decode(block, b"", final=True))
        if not self.rest or not self._settings.unterminated:
            return Progress.PART
        self._move_rest(block, len(self.rest), cut=False)
        return Progress.LINES

    def _decode(self, block: Block, data: bytes, *, final: bool) -> int:
        assert self._decoder is not None
        text = self._decoder.decode(data, final).encode("utf-8", "replace")
        at = block.used + len(self.rest)
        block.view[at : at + len(text)] = text
        return len(text)

    def _look(self, block: Block, count: int) -> Progress:
        at = block.used + len(self.rest)
        last = block.data.rfind(_NEWLINE, at, at + count)
        if last < 0:
            self.rest += block.view[at : at + count]
            return self._look_at_length(block, Progress.PART)
        block.view[block.used : at] = self.rest
        self.rest = bytearray(block.view[last + 1 : at + count])
        self._add(block, last + 1)
        return self._look_at_length(block, Progress.LINES)

    def _look_at_length(self, block: Block, progress: Progress) -> Progress:
        if len(self.rest) <= self._held_max:
            return progress
        if self._settings.cut:
            whole = len(self.rest) - 1 - (len(self.rest) - 1) % self._held_max
            self._move_rest(block, whole, cut=True)
            return Progress.LINES
        self.rest = bytearray()
        block.pieces.append(Piece(self.sender, block.used, refuse=True))
        return Progress.TOO_LONG

    def _move_rest(self, block: Block, count: int, *, cut: bool) -> None:
        stop = block.used + count
        block.view[block.used : stop] = self.rest[:count]
        block.data[stop] = _LF
        del self.rest[:count]
        self._add(block, stop + 1)
        block.pieces[-1].cut = cut

    def _add(self, block: Block, stop: int) -> None:
        block.used = stop
        last = block.pieces[-1] if block.pieces else None
        if last is not None and last.sender is self.sender and not last.cut:
            last.stop = stop
        else:
            block.pieces.append(Piece(self.sender, stop))
