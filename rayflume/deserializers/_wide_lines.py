"""Lines of character sets in which a line feed is not the byte 10: UTF-16, UTF-32, EBCDIC.

They are rare, so what is simple goes before what is fast: still no Python per line, but the text is
made and measured as a whole.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa

from rayflume.deserializer import Settings, Unreadable, read_behind, tail_of
from rayflume.lines import Outcome, Piece, Rows, fingerprint
from rayflume.transcode import Transcoder, byte_order_mark, encoded, line_feed, parted

_MARK_BYTES_MAX = 4
_READ_BYTES = 2**18
_HANDLERS = {"keep": "strict", "fail": "strict", "replace": "replace", "ignore": "ignore"}


class WideLines:
    """Implements rayflume.deserializer.Deserializer.

    A batch takes `rows_max` lines; where long ones are parted, it has more rows.
    """

    def __init__(self, characters_max: int, settings: Settings, transcoder: Transcoder) -> None:
        self._settings = settings
        self._transcoder = transcoder
        self._width = np.dtype(line_feed(settings.charset)[0]).itemsize
        self._long = None
        if characters_max:
            self._long = re.compile(rf"([^\n]{{{characters_max}}})(?=[^\n])")
        self.clear()

    def clear(self) -> None:
        self._bodies: list[pa.BinaryArray] = []
        self._pieces: list[Piece] = []
        self._hashes: list[str] = []
        self._used = self._count = 0

    @property
    def room(self) -> int:
        rows_max = self._settings.rows_max
        is_full = rows_max and self._count >= rows_max
        return 0 if is_full else self._settings.batch_bytes - self._used

    @property
    def pieces(self) -> int:
        return len(self._pieces)

    def read(self, fd: int, start: int, stop: int, expect: str) -> Outcome:
        codec, mark = byte_order_mark(os.pread(fd, _MARK_BYTES_MAX, 0), self._settings.charset)
        skip = mark if start == 0 else 0
        room = min(self.room, _READ_BYTES) if self._settings.rows_max else self.room
        length = max(room, self._width + skip)
        while True:
            found = read_behind(fd, start, min(length, stop - start), expect)
            if found is None:
                return Outcome.CHANGED
            before, data = found
            rows = self._whole_lines(data[skip:], codec, start + len(data) == stop)
            if rows or self._pieces or start + len(data) == stop:
                break
            length *= 2
        if not rows and skip + rows < stop - start:
            return Outcome.NO_ROOM
        self._add(data[skip : skip + rows], codec, start + skip)
        end = skip + rows
        whole = start + end == stop
        self._pieces.append(Piece(start, start, self._used, self._used + end, before, whole))
        self._hashes.append(fingerprint(tail_of(before, data[:end])))
        self._used += end
        return Outcome.ROWS

    def _whole_lines(self, data: bytes, codec: str, at_stop: bool) -> int:
        """How many bytes of the beginning are rows."""
        width, most = self._width, self._settings.line_bytes_max
        dtype, feed = line_feed(codec)
        units = np.frombuffer(data, dtype, len(data) // width)
        ends = (np.flatnonzero(units == feed) + 1) * width
        rows_max = self._settings.rows_max
        if rows_max and len(ends) >= rows_max - self._count:
            return int(ends[rows_max - self._count - 1])
        if at_stop:
            return len(data)
        if len(ends):
            return int(ends[0] if len(data) > self._settings.batch_bytes else ends[-1])
        if len(data) < most:
            return 0
        cut = most - most % (2 * width)
        # A character of two units must not be parted.
        is_pair = width == 2 and 0xD800 <= int(units[cut // 2 - 1]) < 0xDC00
        return cut - width if is_pair else cut

    def _add(self, data: bytes, codec: str, place: int) -> None:
        on_error = self._settings.on_error
        try:
            text = data.decode(codec, _HANDLERS[on_error])
        except UnicodeDecodeError as error:
            offset = place + error.start
            text = f"byte {offset} is no {codec}"
            raise Unreadable(text, len(self._pieces), offset) from None
        if self._settings.strip_return:
            text = text.replace("\r\n", "\n")
        if self._long is not None:
            text = self._long.sub("\\1\n", text)
        target = self._transcoder.target
        rows = parted(encoded(text, target), target)
        if not text or text.endswith("\n"):
            rows = rows.slice(0, len(rows) - 1)
        self._bodies.append(rows)
        self._count += len(rows)

    def take(self, rows_max: int) -> Rows:
        body = pa.concat_arrays(self._bodies) if self._bodies else pa.array([], pa.binary())
        rows = [len(rows) for rows in self._bodies]
        starts = np.array([piece.start for piece in self._pieces], np.int64)
        found = Rows(
            body, [replace(piece) for piece in self._pieces], rows, np.repeat(starts, rows),
            self._hashes,
        )  # fmt: skip
        self.clear()
        return found
