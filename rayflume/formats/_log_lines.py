"""Plain lines of access logs to columns, by machine code instead of a regular expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rayflume.formats import _log_kernel as kernel
from rayflume.schema import TIMESTAMP
from rayflume.spans import Mask, bits, block_of, no_spans, not_utf8, texts

_TEXTS = (
    "host",
    "ident",
    "user",
    "method",
    "path",
    "protocol",
    "request",
    "referrer",
    "user_agent",
)
_OF_REQUEST = frozenset({"method", "path", "protocol"})
_DASH = ord("-")


@dataclass(frozen=True)
class Plain:
    """`rows`: true where a line was read; `arrays` have those, in order, by column."""

    rows: Mask
    arrays: dict[str, pa.Array]


def read_plain(body: pa.BinaryArray) -> Plain:
    """Read the lines that are plain; tombstones and what is no UTF-8 are not. Blocks."""
    buffer, offsets = block_of(body)
    spans = no_spans(offsets, kernel.TEXTS)
    numbers = np.zeros((kernel.NUMBERS, len(body)), dtype=np.int64)
    times = np.zeros(len(body), dtype=np.int64)
    data = np.frombuffer(buffer, dtype=np.uint8)
    rows = kernel.read_lines(data, offsets, spans, numbers, times) & ~not_utf8(body)
    if body.null_count:
        rows &= np.asarray(body.is_valid())
    if not rows.any():
        return Plain(rows, {})
    arrays = {"time": pa.array(times * 1_000_000, pa.int64()).cast(TIMESTAMP)}
    for slot, name in enumerate(_TEXTS):
        starts, lengths = spans[slot, 0::2], spans[slot, 1::2] - spans[slot, 0::2]
        null = lengths == 0
        if name not in _OF_REQUEST:
            null |= (lengths == 1) & (data[np.minimum(starts, len(data) - 1)] == _DASH)
        arrays[name] = texts(buffer, spans[slot], ~null)
    for slot, (name, kind) in enumerate((("status", pa.int32()), ("bytes", pa.int64()))):
        valid = bits(numbers[slot] >= 0)
        whole = pa.Array.from_buffers(pa.int64(), len(body), [valid, pa.py_buffer(numbers[slot])])
        arrays[name] = whole.cast(kind)
    if not rows.all():
        arrays = {name: array.filter(pa.array(rows)) for name, array in arrays.items()}
    return Plain(rows, arrays)


def prepare() -> None:
    """Load the machine code. Blocks, for seconds when it must be made."""
    read_plain(pa.array([b""], pa.binary()))
