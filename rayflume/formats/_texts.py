"""A block of rows as kernels take it, and the texts they found in it, column by column."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayflume.batch import body_offsets
from rayflume.formats._rows import Mask


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
    rows = len(valid)
    # Texts and the gaps between them are one array over the block: every second one is wanted.
    both = pa.StringArray.from_buffers(2 * rows - 1, pa.py_buffer(spans), buffer)
    wanted = np.zeros(2 * rows - 1, dtype=np.bool_)
    wanted[0::2] = True
    found = both.filter(pa.array(wanted))
    return pa.StringArray.from_buffers(rows, *found.buffers()[1:], bits(valid))


def bits(valid: Mask) -> pa.Buffer | None:
    """A validity bitmap; None when there is no null."""
    return None if valid.all() else pa.array(valid).buffers()[1]
