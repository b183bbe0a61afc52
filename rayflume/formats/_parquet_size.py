"""What the pages of a Parquet file take in memory, read from their own headers: the footer's sums
are only what the writer says.

Source: parquet-format 2.10, `parquet.thrift`; the compact protocol of Thrift.
"""

from __future__ import annotations

from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.formats._unpacked import VALUE_BYTES

Fields: TypeAlias = "dict[int, int | Fields]"
"""Of a struct: its whole numbers, and the structs inside it."""

_UNPACKED, _PACKED = 2, 3
_PAGES = (5, 7, 8)
"""Headers of pages with values: data, dictionary, data of version 2. Field 1 counts the values."""
_VALUES = 1
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_DEPTH_MAX = 8


def file_bytes(data: pa.Buffer, metadata: pq.FileMetaData) -> int:
    """Bytes of all pages uncompressed, and of the values in them. Raises ValueError."""
    view, total = memoryview(data).cast("B"), 0
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    for group in groups:
        if not group.num_rows:
            continue  # its pages are not read, and its offsets point anywhere
        for column in range(metadata.num_columns):
            chunk = group.column(column)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                start = chunk.dictionary_page_offset
            total += _chunk_bytes(view, start, start + chunk.total_compressed_size)
    return total


def _chunk_bytes(data: memoryview, start: int, stop: int) -> int:
    total = 0
    if not 0 <= start <= stop <= len(data):
        raise ValueError("a column lies outside the file")
    while start < stop:
        reader = _Compact(data, start)
        header = reader.struct()
        packed, unpacked = header.get(_PACKED), header.get(_UNPACKED)
        if (
            not isinstance(packed, int)
            or not isinstance(unpacked, int)
            or min(packed, unpacked) < 0
        ):
            raise ValueError("the header of a page lacks its sizes")
        start = reader.at + packed
        total += unpacked + VALUE_BYTES * _values_of(header)
    return total


def _values_of(header: Fields) -> int:
    count = 0
    for page in _PAGES:
        inner = header.get(page)
        values = inner.get(_VALUES) if isinstance(inner, dict) else None
        count = max(count, values if isinstance(values, int) else 0)
    return count


class _Compact:
    """Reads forward; what is missing is ValueError."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self.at = at

    def struct(self, depth: int = 0) -> Fields:
        if depth > _DEPTH_MAX:
            raise ValueError("the header of a page is nested too deeply")
        found: Fields = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._number()
            value = self._value(head & 15, depth)
            if value is not None:
                found[field] = value
        return found

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ValueError("the header of a page has no end")
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number in the header of a page has no end")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _value(self, kind: int, depth: int) -> int | Fields | None:
        if kind in (_TRUE, _FALSE):
            return None
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == _BYTE:
            self._byte()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self._varint()  # moves the place, too
            self.at += length
        elif kind in (_LIST, _SET):
            self._skip_items(depth)
        elif kind == _MAP or kind == 0 or kind > _STRUCT:
            raise ValueError("the header of a page holds what no such header has")
        else:
            return self._number()
        return None

    def _skip_items(self, depth: int) -> None:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        for _ in range(count):
            if head & 15 in (_TRUE, _FALSE):
                self._byte()
            else:
                self._value(head & 15, depth + 1)
            if self.at > len(self._data):
                raise ValueError("the header of a page has no end")
