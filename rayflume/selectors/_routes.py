"""What selectors that divide a batch share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch

Mask = npt.NDArray[np.bool_]


def rows_where(batch: EventBatch, mask: Mask) -> EventBatch:
    """The rows where the mask is true, with all extents; the batch itself if those are all."""
    return batch if mask.all() else batch.filter(pa.array(mask))


def distinct(batch: EventBatch, header: str) -> tuple[list[str | None], npt.NDArray[np.int64]]:
    """The distinct values of a header (None: a row lacks it), and which of them each row has."""
    column = batch.headers.get(header)
    if isinstance(column, str) and batch.more is None:
        return [column], np.zeros(batch.num_rows, np.int64)
    encoded = pc.dictionary_encode(batch.header(header), null_encoding="encode")
    return encoded.dictionary.to_pylist(), np.asarray(encoded.indices).astype(np.int64)
