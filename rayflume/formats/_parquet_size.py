"""What the pages of a Parquet file take in memory, read from their own headers: the footer's sums
are only what the writer says.

Footer and headers are read here and not by pyarrow, whose metadata objects end the process for a
footer that contradicts itself (`terminate called`, version 26). Source: parquet-format 2.10,
`parquet.thrift`; the compact protocol of Thrift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from rayflume.formats._unpacked import VALUE_BYTES

Value: TypeAlias = "int | bytes | bool | float | list[Value] | dict[int, Value]"
Fields: TypeAlias = "dict[int, Value]"
"""Of a struct, by their numbers."""

_MAGIC = b"PAR1"
_TAIL_BYTES = 4 + len(_MAGIC)
_ROW_GROUPS = 4
_CHUNKS, _ROWS = 1, 3
_CHUNK_META = 3
_TYPE, _ENCODINGS, _PATH, _PACKED_BYTES, _DATA_AT, _WORDS_AT = 1, 2, 3, 7, 9, 11
_BYTE_ARRAY = 6
_READ_AS_WORDS: tuple[Value, ...] = (0, 2, 3, 4, 8)
"""Encodings: plain, dictionary, and those of levels."""
_UNPACKED, _PACKED = 2, 3
_PAGES = (5, 7, 8)
"""Headers of pages with values: data, dictionary, data of version 2. Field 1 counts the values."""
_VALUES = 1
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_DEPTH_MAX = 8
_STEPS_MAX = 500_000
"""Values in a footer, or in the header of a page."""


@dataclass(frozen=True)
class Size:
    """`total`: bytes of all pages uncompressed, and of the values in them. `words`: the columns of
    texts that can be read as dictionaries, by their paths.
    """

    total: int
    words: tuple[str, ...]


def size_of(data: pa.Buffer) -> Size:
    """Raises ValueError for what is no Parquet file, or says that its pages are elsewhere."""
    view = memoryview(data).cast("B")
    total = 0
    words: set[str] = set()
    others: set[str] = set()
    for chunk in _chunks(_footer(view)):
        start = _int(chunk, _DATA_AT)
        if 0 < _int(chunk, _WORDS_AT) < start:
            start = _int(chunk, _WORDS_AT)
        total += _chunk_bytes(view, start, start + _int(chunk, _PACKED_BYTES))
        path = b".".join(name for name in _list(chunk, _PATH) if isinstance(name, bytes))
        plain = all(encoding in _READ_AS_WORDS for encoding in _list(chunk, _ENCODINGS))
        (words if plain and _int(chunk, _TYPE) == _BYTE_ARRAY else others).add(
            path.decode("utf-8", "replace")
        )
    return Size(total, tuple(sorted(words - others)))


def _footer(view: memoryview) -> Fields:
    length = len(view)
    if length < _TAIL_BYTES or bytes(view[-len(_MAGIC) :]) != _MAGIC:
        raise ValueError("it does not end as a Parquet file does")
    start = length - _TAIL_BYTES - int.from_bytes(view[-_TAIL_BYTES : -len(_MAGIC)], "little")
    if start < 0:
        raise ValueError("its footer has no place in it")
    return _Compact(view, start).struct()


def _chunks(footer: Fields) -> Iterator[Fields]:
    """The columns of all row groups. Of a group without rows no page is read, and its offsets point
    anywhere.
    """
    for group in _structs(footer, _ROW_GROUPS):
        if _int(group, _ROWS):
            for chunk in _structs(group, _CHUNKS):
                yield _struct(chunk.get(_CHUNK_META))


def _chunk_bytes(data: memoryview, start: int, stop: int) -> int:
    total = 0
    if not 0 <= start <= stop <= len(data):
        raise ValueError("a column lies outside the file")
    while start < stop:
        reader = _Compact(data, start)
        header = reader.struct()
        packed, unpacked = _int(header, _PACKED), _int(header, _UNPACKED)
        if min(packed, unpacked) < 0:
            raise ValueError("a page has less than no bytes")
        start = reader.at + packed
        pages = [_struct(header[page]) for page in _PAGES if page in header]
        total += unpacked + VALUE_BYTES * max((_int(page, _VALUES) for page in pages), default=0)
    return total


def _int(fields: Fields, number: int) -> int:
    value = fields.get(number, 0)
    if not isinstance(value, int):
        raise ValueError("a number is something else")
    return value


def _struct(value: Value | None) -> Fields:
    if not isinstance(value, dict):
        raise ValueError("a part of the footer is missing")
    return value


def _list(fields: Fields, number: int) -> list[Value]:
    values = fields.get(number, [])
    return values if isinstance(values, list) else []


def _structs(fields: Fields, number: int) -> list[Fields]:
    return [_struct(value) for value in _list(fields, number)]


class _Compact:
    """Reads forward; what is missing is ValueError."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self._steps = 0
        self.at = at

    def struct(self, depth: int = 0) -> Fields:
        if depth > _DEPTH_MAX:
            raise ValueError("it is nested too deeply")
        found: Fields = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._number()
            kind = head & 15
            found[field] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return found

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ValueError("it ends too early")
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number has no end")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _bytes(self, length: int) -> bytes:
        start = self.at
        if length > len(self._data) - start:
            raise ValueError("it ends too early")
        self.at += length
        return bytes(self._data[start : self.at])

    def _value(self, kind: int, depth: int) -> Value:
        self._steps += 1
        if self._steps > _STEPS_MAX:
            raise ValueError(f"it has more than {_STEPS_MAX:,} values beside its rows")
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_TRUE, _FALSE, _BYTE):  # booleans in a list have a byte each
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == 0 or kind >= _MAP:
            raise ValueError("it holds what no Parquet file has")
        return self._number()

    def _list(self, depth: int) -> list[Value]:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        return [self._value(head & 15, depth + 1) for _ in range(count)]
