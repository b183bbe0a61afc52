"""Request bodies to rows: lines, raw bytes, blobs, and gzip. Pure; nothing here waits.

Whatever a client sends ends in rows or in a Refusal; an answer never repeats what was sent.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch
from rayflume.sources._http_json import Body, flume_events
from rayflume.sources._http_refusal import Refusal
from rayflume.sources._http_settings import (
    INFLATED_BYTES_FREE,
    INFLATED_BYTES_MAX,
    INFLATED_RATIO_MAX,
)

_STEP_IN = 64 * 2**10
_STEP_OUT = 2**20
_FEW_BYTES = 2 * 2**10
"""Few lines are cut faster without columns, whose every step has a cost of its own."""
_NEWLINE, _RETURN = 0x0A, 0x0D
_END = 2**31 - 1
BLOB = "blob"
"""In place of a path: the body as one event, cut to its limit already."""


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
    elif path == BLOB:
        return EventBatch(pa.array([bytes(data)], pa.binary()))
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
    if len(data) <= _FEW_BYTES:
        found = data.replace(b"\r\n", b"\n").split(b"\n")
        return pa.array([bytes(line) for line in found if line], pa.binary())
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
