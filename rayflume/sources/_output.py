"""Bytes that come in pieces -> rows, one per line. Pure.

A line ends as Java's readers have it: at a line feed, a carriage return, or both together. A line
that is too long goes on in the next row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_FEED, _RETURN = 10, 13
_TO_THE_END = 2**31 - 1


class OutputLines:
    """Collects output until rows are taken. `row_bytes_max`: longest row."""

    def __init__(self, row_bytes_max: int) -> None:
        self._row_bytes_max = row_bytes_max
        self._data = bytearray()
        self._skip_feed = False
        self._is_inside = False
        self.lines = 0
        """About how many rows can be taken."""

    @property
    def nbytes(self) -> int:
        return len(self._data)

    @property
    def has_rows(self) -> bool:
        """Whether there is a whole line, or as much of one as a row may have."""
        return self.lines > 0 or len(self._data) > self._row_bytes_max

    def add(self, data: bytes) -> None:
        if self._skip_feed and data:
            self._skip_feed = False
            if data[:1] == b"\n":
                data = data[1:]
        # Whoever writes a return and waits wants to be heard now, not when a feed follows or not.
        self._skip_feed = self._skip_feed or data.endswith(b"\r")
        self._data += data
        self.lines += data.count(b"\n") + data.count(b"\r")

    def take(self, rows_max: int, bytes_max: int, ended: bool) -> pa.BinaryArray:
        """Whole rows, at most `rows_max` (0: no bound) and `bytes_max` of bodies, but one at least.

        `ended`: what stands behind the last line end is a row too.
        """
        block = np.frombuffer(bytes(self._data), np.uint8)
        ends, stops = self._ends(block, ended)
        if rows_max:
            ends, stops = ends[:rows_max], stops[:rows_max]
        fitting = max(1, int(np.searchsorted(ends, bytes_max, side="right")))
        ends, stops = ends[:fitting], stops[:fitting]
        if not len(ends):
            return pa.array([], pa.binary())
        used = int(ends[-1])
        body = _bodies(block[:used], ends, stops)
        starts_with_end = self._is_inside and len(body[0].as_py()) == 0
        self._is_inside = bool(stops[-1] == ends[-1])
        del self._data[:used]
        self.lines = self._data.count(b"\n") + self._data.count(b"\r") if self.lines else 0
        return body.slice(1) if starts_with_end else body

    def _ends(
        self, block: npt.NDArray[np.uint8], ended: bool
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where each row ends with and without its line end."""
        feeds, returns = block == _FEED, block == _RETURN
        before_feed = np.zeros(len(block), np.bool_)
        before_feed[:-1] = returns[:-1] & feeds[1:]
        ends = np.flatnonzero(feeds | (returns & ~before_feed)).astype(np.int64) + 1
        stops = ends - 1
        with_return = (stops > 0) & feeds[stops] & returns[stops - 1]
        stops = stops - with_return
        tail = len(block) - (int(ends[-1]) if len(ends) else 0)
        if tail and (ended or tail > self._row_bytes_max):
            whole = tail if ended else tail - tail % self._row_bytes_max
            ends = np.append(ends, len(block) - tail + whole)
            stops = np.append(stops, ends[-1])
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        long = np.flatnonzero(stops - starts > self._row_bytes_max)
        if not len(long):
            return ends, stops
        most = self._row_bytes_max
        cuts = [np.arange(starts[i] + most, stops[i], most, dtype=np.int64) for i in long]
        more = np.concatenate(cuts)
        order = np.argsort(np.concatenate([ends, more]), kind="stable")
        return np.concatenate([ends, more])[order], np.concatenate([stops, more])[order]


def _bodies(
    block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> pa.BinaryArray:
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    whole = pa.BinaryArray.from_buffers(pa.binary(), len(ends), buffers)
    cut = ends - stops
    shortest, longest = int(cut.min()), int(cut.max())
    if shortest == longest:
        return pc.binary_replace_slice(whole, -longest, _TO_THE_END, b"") if longest else whole
    # Unequal line ends are rare; then single bytes are picked.
    keep = np.ones(len(block), np.bool_)
    for step in (1, 2):
        keep[ends[cut >= step] - step] = False
    lengths = np.concatenate([[0], np.cumsum(np.diff(offsets) - cut)]).astype(np.int32)
    buffers = [None, pa.py_buffer(lengths), pa.py_buffer(block[keep])]
    return pa.BinaryArray.from_buffers(pa.binary(), len(ends), buffers)
