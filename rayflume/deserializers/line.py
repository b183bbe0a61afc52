"""Text files as one row per line."""

from __future__ import annotations

import numpy as np

from rayflume.charsets import Charset, is_ascii_based
from rayflume.component import component, option
from rayflume.deserializer import Deserializer, DeserializerOptions, Settings, Unreadable
from rayflume.deserializers._wide_lines import WideLines
from rayflume.lines import CharacterCut, LineBuffer, Outcome, Rows
from rayflume.transcode import Transcoder, Undecodable

_CHARACTER_BYTES_MAX = 4


@component
class Line(DeserializerOptions):
    """One row per line. The last line of a file needs no newline.

    Lines end at line feeds. A longer line than `max_line_length` goes on in the next row; nothing
    is cut off. Where the character set of the files and that of the bodies are the same, bodies are
    the file's own bytes.
    """

    max_line_length: int = option(
        "Most characters of a row, 0 for no bound but the source's `max_line_bytes`. Flume's "
        "default is 2048. A character counts as one (Flume counts one beyond U+FFFF as two).",
        default=0,
        ge=0,
        le=2**26,
        example=2048,
    )
    output_charset: Charset = option(
        "Character set of the bodies, by its name in Java or IANA. What it does not have becomes "
        "`?`. Formats such as `json` read UTF-8.",
        default="UTF-8",
        validate_default=True,
    )

    def open(self, settings: Settings) -> Deserializer:
        transcoder = Transcoder(settings.charset, self.output_charset, settings.on_error)
        if is_ascii_based(settings.charset):
            return LineDeserializer(self.max_line_length, settings, transcoder)
        return WideLines(self.max_line_length, settings, transcoder)


class LineDeserializer:
    """Implements rayflume.deserializer.Deserializer for character sets that are based on ASCII."""

    def __init__(self, characters_max: int, settings: Settings, transcoder: Transcoder) -> None:
        cut, held = None, settings.line_bytes_max
        if characters_max:
            cut = CharacterCut(characters_max, settings.charset)
            held = max(held, _CHARACTER_BYTES_MAX * (characters_max + 1))
        self._buffer = LineBuffer(settings.batch_bytes, held, settings.strip_return, cut)
        self._transcoder = transcoder

    @property
    def room(self) -> int:
        return self._buffer.room

    @property
    def pieces(self) -> int:
        return self._buffer.pieces

    def clear(self) -> None:
        self._buffer.clear()

    def read(self, fd: int, start: int, stop: int, expect: str) -> Outcome:
        return self._buffer.read(fd, start, stop, expect, flush=True)

    def take(self, rows_max: int) -> Rows:
        rows = self._buffer.take(rows_max)
        try:
            rows.body = self._transcoder.rows(rows.body)
        except Undecodable as error:
            piece = int(np.searchsorted(np.cumsum(rows.rows), error.row, side="right"))
            offset = int(rows.offsets[error.row]) + error.at
            text = f"byte {offset} is no {self._transcoder.source}"
            raise Unreadable(text, piece, offset) from None
        return rows
