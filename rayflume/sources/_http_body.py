"""Request bodies to rows: Flume's JSON, lines, raw bytes, and gzip. Pure; nothing here waits.

Whatever a client sends ends in rows or in a Refusal; an answer never repeats what was sent.
"""

from __future__ import annotations

import codecs
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import HEADERS_MAX, EventBatch, Header
from rayflume.sources._http_settings import (
    EVENT_FIELDS_MAX,
    INFLATED_BYTES_FREE,
    INFLATED_BYTES_MAX,
    INFLATED_RATIO_MAX,
    OBJECTS_MAX,
)

Body: TypeAlias = "bytes | bytearray"

_STEP_IN = 64 * 2**10
_STEP_OUT = 2**20
_SPARSE_CELLS = 2**16
_NEWLINE, _RETURN = 0x0A, 0x0D
_END = 2**31 - 1
_MARKS = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, "utf-16-be"),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, "utf-32-be"),
}


class Refusal(Exception):
    """A request that is answered with an error: status and one short sentence."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def inflate(data: Body, bytes_max: int) -> bytearray:
    """The content of one gzip member, in bounded steps. Refuses bombs with 413, damage with 400."""
    out, machine = bytearray(), zlib.decompressobj(wbits=31)
    limit = min(bytes_max, INFLATED_BYTES_MAX)
    view, at, rest = memoryview(data), 0, b""
    while not machine.eof:
        given = rest or view[at : at + _STEP_IN]
        at += 0 if rest else len(given)
        try:
            step = machine.decompress(given, _STEP_OUT)
        except zlib.error:
            raise Refusal(400, "the body is not gzip") from None
        if not step and not given:
            raise Refusal(400, "the gzip body ends too early")
        out += step
        if len(out) > limit:
            raise Refusal(413, f"the decompressed body has more than {limit} bytes")
        if len(out) > max(INFLATED_BYTES_FREE, len(data) * INFLATED_RATIO_MAX):
            raise Refusal(413, f"the body is compressed by more than {INFLATED_RATIO_MAX} to 1")
        rest = machine.unconsumed_tail
    if machine.unused_data or at < len(view):
        raise Refusal(400, "bytes follow the end of the gzip body")
    return out


def parse(path: str, data: Body, charset: str, record_bytes_max: int) -> EventBatch:
    """The rows of one request, without extents. Raises Refusal: 400 malformed, 413 event too
    long.
    """
    if path == "/":
        batch = flume_events(data, charset)
    elif path == "/ndjson":
        batch = EventBatch(lines(data))
    else:
        batch = EventBatch(pa.array([bytes(data)], pa.binary()))
    if len(data) > record_bytes_max and batch.num_rows:
        longest = pc.max(pc.binary_length(batch.body)).as_py()
        if longest > record_bytes_max:
            raise Refusal(413, f"an event has more than {record_bytes_max} bytes")
    return batch


def lines(data: Body) -> pa.BinaryArray:
    """One row per line without its LF or CRLF; empty lines are no rows; the last may lack its end.

    Nothing else is looked at: what is wrong with a line is the sink's format to find.
    """
    if not data.endswith(b"\n"):
        data = data + b"\n"
    ends = _ends(data)
    before = np.frombuffer(data, np.uint8)[ends - 1]  # of an LF at 0: the last byte, an LF
    if (before == _RETURN).any():
        data = data.replace(b"\r\n", b"\n")
        ends = _ends(data)
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends + 1
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    body = pc.binary_replace_slice(
        pa.BinaryArray.from_buffers(pa.binary(), len(ends), buffers), -1, _END, b""
    )
    lengths = np.diff(offsets)
    return body if lengths.min() > 1 else body.filter(pa.array(lengths > 1))


def _ends(data: Body) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)


def flume_events(data: Body, charset: str) -> EventBatch:
    """Rows of a list of `{"headers": {...}, "body": "..."}`.

    As in Flume a missing or null body is empty, numbers and truth values become their text, and
    the bytes of a body are its text in the request's own character set. Raises Refusal (400).
    """
    events = _events(data, charset)
    bodies = [_text(event.get("body", "")) for event in events]
    headers = [event.get("headers") for event in events]
    try:
        if charset == "utf-8":
            body = pa.array(bodies, pa.string()).cast(pa.binary())
        else:
            body = pa.array([_encode(text, charset) for text in bodies], pa.binary())
        if all(row is None for row in headers):
            return EventBatch(body)
        columns, more = _columns([_header_row(row) for row in headers])
    except UnicodeEncodeError:
        raise Refusal(400, "a text holds half of a surrogate pair") from None
    return EventBatch(body, columns, (), more)


def _events(data: Body, charset: str) -> list[dict[str, object]]:
    if data.count(b"{") + data.count(b"[") > OBJECTS_MAX:
        # A list of empty objects takes 20 times its text in memory.
        raise Refusal(413, f"the JSON has more than {OBJECTS_MAX} objects and lists")
    try:
        # Numbers keep their text: "1.10" stays "1.10", and none is too long to convert.
        events = json.loads(
            _decode(data, charset), parse_int=str, parse_float=str, parse_constant=str
        )
    except UnicodeDecodeError:
        raise Refusal(400, f"the body is not {charset}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Refusal(400, f"the body is not JSON at {where}") from None
    except RecursionError:
        raise Refusal(400, "the JSON is nested too deeply") from None
    if not isinstance(events, list) or not all(type(event) is dict for event in events):
        raise Refusal(400, "the body is not a JSON list of objects with headers and body")
    return events


def _decode(data: Body, charset: str) -> str:
    marks = _MARKS.get(charset)
    if marks is None:
        return data.decode("utf-8")
    little, big, unmarked = marks
    return data.decode(charset if data.startswith((little, big)) else unmarked)


def _encode(text: str, charset: str) -> bytes:
    """Java's way: UTF-16 is big-endian behind a mark, UTF-32 big-endian without one."""
    encoded = text.encode(_MARKS[charset][2])
    return codecs.BOM_UTF16_BE + encoded if charset == "utf-16" else encoded


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
