"""Rows from one character set into another, all rows of a batch at once.

Rows hold no line feed, so they are joined with line feeds, changed as one text (which Python's
codecs do in C) and parted again. Where a broken character takes a line feed with it, or a row has
one after all, the rows are changed one by one.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayflume.batch import body_offsets

OnError = Literal["keep", "fail", "replace", "ignore"]
"""What becomes of bytes that are no character: they stay as they are, end the reading, become
U+FFFD, or are left out.
"""
_UTF8 = "utf-8"
_UNMARKED = {"utf-16": "utf-16-be", "utf-32": "utf-32-be", "utf-8-sig": "utf-8"}
_HANDLERS = {"keep": "strict", "fail": "strict", "replace": "replace", "ignore": "ignore"}


class Undecodable(Exception):
    """A row has bytes that are no character of its character set."""

    def __init__(self, row: int, at: int, codec: str) -> None:
        super().__init__(f"byte {at} of the row is no {codec}")
        self.row = row
        self.at = at


@dataclass(frozen=True)
class Transcoder:
    """Rows of the character set `source` become rows of `target`; Python's names.

    With `keep`, rows pass untouched if both are the same, else as with `fail`. A character that
    `target` does not have becomes `?`, as in Java. Raises Undecodable.
    """

    source: str
    target: str = _UTF8
    on_error: OnError = "keep"

    @property
    def is_idle(self) -> bool:
        return self.on_error == "keep" and self.source == self.target

    def rows(self, body: pa.BinaryArray) -> pa.BinaryArray:
        if self.is_idle or len(body) == 0 or self._is_right_already(body):
            return body
        joined = _joined(body)
        try:
            text = joined.decode(self.source, _HANDLERS[self.on_error])
        except UnicodeDecodeError as error:
            raise self._undecodable(body, error) from None
        found = parted(encoded(text, self.target), self.target)
        return found if len(found) == len(body) else self._one_by_one(body)

    def _is_right_already(self, body: pa.BinaryArray) -> bool:
        if self.source not in (_UTF8, "ascii") or self.target not in (_UTF8, "ascii"):
            return False
        offsets = body_offsets(body)
        values = np.frombuffer(body.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        if len(values) == 0 or int(values.max()) < 128:
            return True
        if self.source != self.target:
            return False
        try:
            body.cast(pa.string())
        except pa.ArrowInvalid:
            return False
        return self.source == _UTF8

    def _undecodable(self, body: pa.BinaryArray, error: UnicodeDecodeError) -> Undecodable:
        starts = body_offsets(body).astype(np.int64)
        starts = starts - starts[0] + np.arange(len(starts))
        row = int(np.searchsorted(starts, error.start, side="right")) - 1
        return Undecodable(row, error.start - int(starts[row]), self.source)

    def _one_by_one(self, body: pa.BinaryArray) -> pa.BinaryArray:
        handler = _HANDLERS[self.on_error]
        rows = [encoded(row.decode(self.source, handler), self.target) for row in body.to_pylist()]
        return pa.array(rows, pa.binary())


def encoded(text: str, codec: str) -> bytes:
    """Text as bytes without a byte order mark (each row would have one), big-endian then, as Java
    reads it; `?` for what is not in the character set.
    """
    return text.encode(_UNMARKED.get(codec, codec), "replace")


def line_feed(codec: str) -> tuple[npt.DTypeLike, int]:
    """The unit of a character set as a number type, and the value of a line feed in it."""
    unit = encoded("\n", codec)
    kind = {1: "u1", 2: "u2", 4: "u4"}[len(unit)]
    order = ">" if len(unit) > 1 and unit[-1] == 10 else "<"
    dtype = np.dtype(order + kind)
    return dtype, int(np.frombuffer(unit, dtype)[0])


def parted(data: bytes, codec: str) -> pa.BinaryArray:
    """The rows between line feeds; there is one more than there are line feeds."""
    dtype, feed = line_feed(codec)
    width = np.dtype(dtype).itemsize
    ends = np.flatnonzero(np.frombuffer(data, dtype) == feed).astype(np.int64) * width
    if len(data) >= 2**31:
        raise OverflowError("a batch of rows has at most 2 GiB")
    return _between(data, np.append(ends, len(data)), width)


def _between(data: bytes, ends: npt.NDArray[np.int64], width: int) -> pa.BinaryArray:
    """Rows that end at `ends`, each but the last followed by a separator of `width` bytes."""
    keep = np.ones(len(data), np.bool_)
    for step in range(width):
        keep[ends[:-1] + step] = False
    offsets = np.concatenate([[0], ends - width * np.arange(len(ends))]).astype(np.int32)
    values = np.frombuffer(data, np.uint8)[keep]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(ends), buffers)


def _joined(body: pa.BinaryArray) -> bytes:
    """All rows with a line feed (the byte 10) between two."""
    offsets = body_offsets(body).astype(np.int64)
    values = np.frombuffer(body.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    joined = np.insert(values, offsets[1:-1] - offsets[0], 10)
    return joined.tobytes()


def byte_order_mark(head: bytes, codec: str) -> tuple[str, int]:
    """The character set as the first bytes of a file tell its byte order, and the length of that
    mark. UTF-16 and UTF-32 without a mark are big-endian, as in Java (Python: as the machine).
    """
    for marked, mark, ordered in (
        ("utf-32", codecs.BOM_UTF32_LE, "utf-32-le"), ("utf-32", codecs.BOM_UTF32_BE, "utf-32-be"),
        ("utf-16", codecs.BOM_UTF16_LE, "utf-16-le"), ("utf-16", codecs.BOM_UTF16_BE, "utf-16-be"),
    ):  # fmt: skip
        if codec == marked and head.startswith(mark):
            return ordered, len(mark)
    return _UNMARKED.get(codec, codec), 0
