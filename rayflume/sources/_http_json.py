"""Flume's JSON list of events to rows: large ones as columns, all others event by event.

Columns are made of the plain form alone, in which every value is a text or null (see the kernel);
whatever else there is, is read event by event, and that way alone finds words for what is wrong.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import HEADERS_MAX, EventBatch, Header, body_offsets
from rayflume.sources._http_refusal import Refusal
from rayflume.sources._http_settings import EVENT_FIELDS_MAX, OBJECTS_MAX

Body: TypeAlias = "bytes | bytearray"
Bytes: TypeAlias = "npt.NDArray[np.uint8]"
Spans: TypeAlias = "npt.NDArray[np.int32]"
Places: TypeAlias = "npt.NDArray[np.int64]"

_SPARSE_CELLS = 2**16
_QUOTE, _BACKSLASH, _BLANK = 34, 92, 32
COLUMNS_FROM_BYTES = 64 * 2**10 + 1
"""Below, reading event by event is as fast, and is done in the loop, which must not wait for the
kernels to be compiled.
"""
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
"""Numbers keep their text: "1.10" stays "1.10", and none is too long to convert."""
_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, "utf-16-be"),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, "utf-32-be"),
}


class NoEvents(Refusal):
    """Well-formed JSON, or nothing at all, in which Flume's handler stumbles (and answers 500)."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


def flume_events(data: Body, charset: str) -> EventBatch:
    """Rows of a list of `{"headers": {...}, "body": "..."}`.

    As in Flume a missing or null body is empty, numbers and truth values become their text, and
    the bytes of a body are its text in the request's own character set. Raises Refusal (400).
    """
    if len(data) > OBJECTS_MAX and data.count(b"{") + data.count(b"[") > OBJECTS_MAX:
        # A list of empty objects takes 20 times its text in memory.
        raise Refusal(413, f"the JSON has more than {OBJECTS_MAX} objects and lists")
    text = _decode(data, charset)
    if len(data) >= COLUMNS_FROM_BYTES:
        utf8 = data if charset == "utf-8" else text.encode("utf-8", "surrogatepass")
        columns = as_columns(utf8)
        if columns is not None:
            bodies, headers = columns
            return EventBatch(encoded(bodies, charset), headers)
    return _one_by_one(text, charset)


# -- columns ---------------------------------------------------------------------------------------


def as_columns(data: Body) -> tuple[pa.StringArray, dict[str, Header]] | None:
    """Bodies and headers of UTF-8 in the plain form; None for any other."""
    from rayflume.sources import _http_json_kernel as kernels  # compiles with its first call

    given = np.frombuffer(data + b" ", np.uint8)
    bodies = np.empty((data.count(b"{") + 1, 2), np.int32)
    cells = np.empty((data.count(b":") + 1, 5), np.int32)
    marks = np.flatnonzero((given == _QUOTE) | (given == _BACKSLASH) | (given < _BLANK))
    rows, count = kernels.events_of(given, marks, bodies, cells)
    if rows == kernels.OTHER:
        return None
    cells = cells[:count]
    names, which = np.empty((HEADERS_MAX, 2), np.int32), np.empty(count, np.int32)
    found = kernels.names_of(given, cells, names, which)
    if found == kernels.OTHER or found * rows > 4 * count + _SPARSE_CELLS:
        return None
    escapes = marks[given[marks] == _BACKSLASH]
    body = _texts(given, escapes, bodies[:rows])
    headers: dict[str, Header] = {}
    for place in range(found):
        column = _header(given, escapes, cells[which == place], rows)
        if column is None:
            return None
        if column.null_count < rows:
            headers[bytes(given[slice(*names[place])]).decode()] = column
    return None if body is None else (body, headers)


def _texts(data: Bytes, escapes: Places, spans: Spans) -> pa.StringArray | None:
    """The texts that stand at these places; None if one has a wrong escape."""
    from rayflume.sources._http_json_kernel import OTHER, texts_of

    out = np.empty(int((spans[:, 1] - spans[:, 0]).sum()), np.uint8)
    offsets = np.empty(len(spans) + 1, np.int32)
    size = texts_of(data, escapes, spans, out, offsets)
    if size == OTHER:
        return None
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(out[:size])]
    return pa.StringArray.from_buffers(len(spans), buffers[1], buffers[2])


def _header(data: Bytes, escapes: Places, cells: Spans, rows: int) -> pa.StringArray | None:
    """One header of all rows, null where a row lacks it; None if a text has a wrong escape, or a
    row has the header twice.
    """
    places = cells[:, 0]
    if len(places) > 1 and not (np.diff(places) > 0).all():
        return None
    spans, missing = np.zeros((rows, 2), np.int32), np.ones(rows, np.bool_)
    valid = cells[:, 3] >= 0
    spans[places[valid]] = cells[valid, 3:5]
    missing[places[valid]] = False
    column = _texts(data, escapes, spans)
    if column is None or not missing.any():
        return column
    return pc.if_else(pa.array(~missing), column, pa.scalar(None, pa.string()))


def encoded(text: pa.StringArray, charset: str) -> pa.BinaryArray:
    """Texts as bytes, Java's way: UTF-16 is big-endian behind a mark, UTF-32 without one."""
    if charset == "utf-8":
        return text.cast(pa.binary())
    offsets = body_offsets(text)
    values = text.buffers()[2]
    utf8 = values.slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes()
    given = np.frombuffer(utf8, np.uint8)
    width = 4 if charset == "utf-32" else 2
    units = ((given & 0xC0) != 0x80).astype(np.int64)
    if width == 2:
        units += given >= 0xF0  # beyond the plane of 16 bits: a pair
    before = np.append(0, np.cumsum(units)) * width
    places = before[offsets - offsets[0]].astype(np.int32)
    wide = utf8.decode().encode(_MARKS[charset][2])
    body = pa.Array.from_buffers(
        pa.binary(), len(text), [None, pa.py_buffer(places), pa.py_buffer(wide)]
    )
    if width == 4:
        return body
    mark = pa.scalar(codecs.BOM_UTF16_BE, pa.binary())
    return pc.binary_join_element_wise(mark, body, pa.scalar(b"", pa.binary()))


# -- event by event --------------------------------------------------------------------------------


def _one_by_one(text: str, charset: str) -> EventBatch:
    events = _events(text)
    bodies = [_text(event.get("body")) for event in events]
    headers = [_header_row(event.get("headers")) for event in events]
    try:
        if charset == "utf-8":  # without a cast, which takes longer than all else of a small list
            body = pa.array(bodies, pa.binary())
        else:
            body = encoded(pa.array(bodies, pa.string()), charset)
        if not any(headers):
            return EventBatch(body)
        columns, more = _columns(headers)
    except UnicodeEncodeError:
        raise Refusal(400, "a text holds half of a surrogate pair") from None
    return EventBatch(body, columns, (), more)


def _events(text: str) -> list[dict[str, object]]:
    try:
        events = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise NoEvents("the body is empty") from None
        where = f"line {error.lineno} column {error.colno}"
        raise Refusal(400, f"the body is not JSON at {where}") from None
    except RecursionError:
        raise Refusal(400, "the JSON is nested too deeply") from None
    if isinstance(events, list) and set(map(type, events)) <= {dict}:
        return events
    if events is None or (isinstance(events, list) and None in events):
        raise NoEvents("the body is null, or has an event that is null")
    raise Refusal(400, "the body is not a JSON list of objects with headers and body")


def _decode(data: Body, charset: str) -> str:
    marks = _MARKS.get(charset)
    try:
        if marks is None:
            return data.decode("utf-8")
        little, big, unmarked = marks
        return data.decode(charset if data.startswith((little, big)) else unmarked)
    except UnicodeDecodeError:
        raise Refusal(400, f"the body is not {charset}") from None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    raise Refusal(400, "a body or header is not a text, but a list or an object")


def _header_row(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(400, "the headers of an event are not an object")
    if len(value) > EVENT_FIELDS_MAX:
        raise Refusal(400, f"an event has more than {EVENT_FIELDS_MAX} headers")
    return {name: _text(text) for name, text in value.items() if text is not None}


def _columns(rows: Sequence[Mapping[str, str]]) -> tuple[dict[str, Header], pa.MapArray | None]:
    """A column per header name, or one map column for many names that few rows have."""
    if len(rows) == 1 and len(rows[0]) <= HEADERS_MAX:
        for text in (*rows[0], *rows[0].values()):
            text.encode()
        return dict(rows[0]), None
    names = sorted({name for row in rows for name in row})
    "".join(names).encode()
    cells = sum(len(row) for row in rows)
    if len(names) > HEADERS_MAX or len(names) * len(rows) > 4 * cells + _SPARSE_CELLS:
        kind = pa.map_(pa.string(), pa.string())
        return {}, pa.array([list(row.items()) for row in rows], kind)
    return {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}, None
