"""A message form of the user's own: Flume's `format.regex`, `.search`, `.replace`, `.dateFormat`.

The expression is tried before the two RFCs on each message whose priority can be read. Its groups
are, by their order, priority, version, time, host and message.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.sources._syslog_times import LocalTimes
from rayflume.spans import Mask


@dataclass(frozen=True)
class CustomRows:
    """Which rows had the form, and their parts, in the order of the groups: an array per part with
    a value per row of the block. `timed`: the time could be read; it is in `millis`.
    """

    rows: Mask
    parts: tuple[pa.BinaryArray, ...]
    timed: Mask
    millis: npt.NDArray[np.int64]

    def filled(self, slot: int) -> Mask:
        """Rows with a part that is not empty."""
        return np.asarray(pc.greater(pc.binary_length(self.parts[slot]), 0))

    def over(self, slot: int, others: pa.BinaryArray) -> pa.BinaryArray:
        """The part where a row had the form, and what `others` have elsewhere."""
        return pc.if_else(pa.array(self.rows), self.parts[slot], others)


@dataclass(frozen=True)
class CustomFormat:
    def find(
        self, lines: pa.BinaryArray, readable: Mask, times: LocalTimes, now_ms: int
    ) -> CustomRows:
        raise NotImplementedError
