"""Decoders for text that comes in pieces and is not UTF-8. What is malformed becomes U+FFFD."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

Decoder: TypeAlias = codecs.IncrementalDecoder

_EVERY_BYTE = bytes(range(256))


def decoder_of(encoding: str) -> Callable[[], Decoder] | None:
    """None for UTF-8 and ASCII, which need none. Raises LookupError for what is no encoding of
    texts.
    """
    found = codecs.lookup(encoding)
    if found.name in ("utf-8", "ascii"):
        return None
    if found.name in _MARKED:
        return _MARKED[found.name]
    make = found.incrementaldecoder
    try:
        # UTF-7 (which Java has not) holds back all of a run that does not end.
        assert make is not None and found.name != "utf-7"
        # A few, such as idna, fail at bytes although they are told to replace them.
        assert isinstance(make("replace").decode(_EVERY_BYTE, True), str)
    except (AssertionError, UnicodeError, TypeError, ValueError):
        raise LookupError(f"unknown encoding: {encoding}") from None
    return lambda: make("replace")


class _Marked(codecs.BufferedIncrementalDecoder):
    """Text that may begin with a byte order mark and is big-endian without one, as in Java."""

    width = 2
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    names = ("utf-16-le", "utf-16-be")

    def __init__(self) -> None:
        super().__init__("replace")
        self._decode: Callable[..., tuple[str, int]] | None = None

    def _buffer_decode(self, input: Buffer, errors: str, final: bool) -> tuple[str, int]:
        # The names of the parameters are those of codecs.
        data = bytes(input)
        skipped = 0
        if self._decode is None:
            if len(data) < self.width and not final:
                return "", 0
            little, big = self.marks
            order = 0 if data.startswith(little) else 1
            skipped = self.width if data.startswith((little, big)) else 0
            codec = getattr(codecs, self.names[order].replace("-", "_") + "_decode")
            self._decode = codec
        text, used = self._decode(data[skipped:], errors, final)
        return text, skipped + used


class _Marked32(_Marked):
    width = 4
    marks = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
    names = ("utf-32-le", "utf-32-be")


_MARKED: dict[str, Callable[[], Decoder]] = {"utf-16": _Marked, "utf-32": _Marked32}
