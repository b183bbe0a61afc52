"""Rows as one block of bytes, as kernels take them, and the texts that are found in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayflume.batch import body_offsets

Mask = npt.NDArray[np.bool_]


def block_of(body: pa.BinaryArray) -> tuple[pa.Buffer, npt.NDArray[np.int32]]:
    """The bytes of all rows, and the `len + 1` places in them where rows begin and end."""
    offsets = body_offsets(body)
    base, stop = int(offsets[0]), int(offsets[-1])
    values = body.buffers()[2]
    buffer = pa.py_buffer(b"") if values is None else values.slice(base, stop - base)
    return buffer, offsets - base


def no_spans(offsets: npt.NDArray[np.int32], columns: int) -> npt.NDArray[np.int32]:
    """(columns, 2 x rows): an empty text for every row, at its start. Kernels write others."""
    return np.tile(np.repeat(offsets[:-1], 2), (columns, 1))


def texts(buffer: pa.Buffer, spans: npt.NDArray[np.int32], valid: Mask) -> pa.StringArray:
    """The texts of one column, null where not `valid`. `spans`: start and end in the buffer by
    row, ascending.
    """
    found = pieces(buffer, spans)
    return pa.StringArray.from_buffers(len(valid), *found.buffers()[1:], bits(valid))


def pieces(buffer: pa.Buffer, spans: npt.NDArray[np.int32]) -> pa.BinaryArray:
    """The bytes of one column, copied. `spans`: start and end in the buffer by row, ascending."""
    rows = len(spans) // 2
    if rows == 0:
        return pa.array([], pa.binary())
    # Pieces and the gaps between them are one array over the block: every second one is wanted.
    both = pa.BinaryArray.from_buffers(
        pa.binary(), 2 * rows - 1, [None, pa.py_buffer(spans), buffer]
    )
    wanted = np.zeros(2 * rows - 1, dtype=np.bool_)
    wanted[0::2] = True
    return both.filter(pa.array(wanted))


def bits(valid: Mask) -> pa.Buffer | None:
    """A validity bitmap; None when there is no null."""
    return None if valid.all() else pa.array(valid).buffers()[1]


def as_text(body: pa.BinaryArray) -> pa.StringArray:
    """A binary array seen as strings, without a copy and without a look at its bytes."""
    return pa.StringArray.from_buffers(
        len(body), body.buffers()[1], body.buffers()[2], body.buffers()[0], -1, body.offset
    )


def not_utf8(body: pa.BinaryArray) -> Mask:
    """True where a row is not valid UTF-8. Halves what fails, so valid input costs one pass."""
    bad = np.zeros(len(body), dtype=np.bool_)
    text = as_text(body)
    todo = [(0, len(body))]
    while todo:
        start, stop = todo.pop()
        try:
            text.slice(start, stop - start).validate(full=True)
        except pa.ArrowInvalid:
            if stop - start == 1:
                bad[start] = True
            else:
                middle = (start + stop) // 2
                todo += [(start, middle), (middle, stop)]
    return bad
