"""Character sets: whole columns of those with one byte to a character, single values of others."""

from __future__ import annotations

import codecs
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import body_offsets

_WIDE = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, "utf-16-be"),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, "utf-32-be"),
}


def decode_value(value: bytes, charset: str) -> str | None:
    """Its text; None if it cannot be read. Without a mark UTF-16 and UTF-32 are big-endian, as in
    Java. Single bytes that are no text become half surrogates, where the set allows it.
    """
    if charset in _WIDE and not value.startswith(_WIDE[charset][:2]):
        charset = _WIDE[charset][2]
    try:
        return value.decode(charset, "surrogateescape")
    except UnicodeDecodeError:
        return None


def encode_value(text: str, charset: str) -> bytes:
    """Java's way: UTF-16 is big-endian behind a mark, UTF-32 big-endian without one; what the set
    lacks is `?`.
    """
    mark = codecs.BOM_UTF16_BE if charset == "utf-16" else b""
    name = _WIDE[charset][2] if charset in _WIDE else charset
    try:
        return mark + text.encode(name, "surrogateescape")
    except UnicodeEncodeError:
        return mark + text.encode(name, "replace")


@cache
def one_byte_each(charset: str) -> bool:
    """Whether every byte is one character, whatever stands beside it."""
    return len(bytes(range(256)).decode(charset, "replace")) == 256


def decoded(body: pa.BinaryArray, charset: str) -> pa.StringArray:
    """Values in such a set as strings. Raises UnicodeDecodeError for a byte that is none of it."""
    offsets = body_offsets(body) if len(body) else np.zeros(1, np.int32)
    given = body.buffers()[2]
    data = b"" if given is None else given.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    text = str(memoryview(data), charset).encode()
    starts = np.flatnonzero((np.frombuffer(text, np.uint8) & 0xC0) != 0x80)
    places = np.append(starts, len(text))[offsets - offsets[0]].astype(np.int32)
    return _of(pa.string(), body, places, text)


def encoded(text: pa.StringArray, charset: str) -> pa.BinaryArray:
    """Strings in such a set; a character that it lacks becomes `?`, as in Java."""
    offsets = body_offsets(text) if len(text) else np.zeros(1, np.int32)
    given = text.buffers()[2]
    data = b"" if given is None else given.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    view = np.frombuffer(data, np.uint8)
    before = np.append(0, np.cumsum((view & 0xC0) != 0x80, dtype=np.int32)).astype(np.int32)
    values = str(memoryview(data), "utf-8").encode(charset, "replace")
    return _of(pa.binary(), text, before[offsets - offsets[0]], values)


def _of(
    kind: pa.DataType, given: pa.Array, offsets: np.ndarray[tuple[int], np.dtype[np.int32]],
    data: bytes,
) -> pa.Array:  # fmt: skip
    """An array with the nulls of another."""
    plain = pa.Array.from_buffers(
        kind, len(given), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    if not given.null_count:
        return plain
    return pc.if_else(given.is_valid(), plain, pa.scalar(None, kind))
