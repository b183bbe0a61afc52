"""An interceptor of my own: the length of every body as a header."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rayflume.batch import EventBatch
from rayflume.component import Component, option


class MyInterceptor(Component):
    """Write the length of every body, in bytes, into a header."""

    kind = "interceptor"

    header: str = option("Header to write.", default="length", min_length=1, example="bytes")

    def intercept(self, batch: EventBatch) -> EventBatch:
        """A batch is many rows: use pyarrow.compute, a loop over rows in Python is slow.

        Rows may be left out with `batch.filter(keep)`, which keeps the extents right.
        """
        lengths = pc.binary_length(batch.body).fill_null(0)
        return batch.with_header(self.header, lengths.cast(pa.string()))
