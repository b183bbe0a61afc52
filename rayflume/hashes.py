"""Hashes of variable-length values: the one loop of a checksum that no numpy function offers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rayflume.kernels import kernel

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_EIGHT = np.uint64(8)
_32 = np.uint64(32)
_29 = np.uint64(29)


@kernel
def hash_values(
    data: NDArray[np.uint8], offsets: NDArray[np.int64], hashes: NDArray[np.uint64]
) -> None:
    """Fill `hashes` with one of each value `data[offsets[i]:offsets[i + 1]]`, length included."""
    for i in range(len(hashes)):
        start, stop = offsets[i], offsets[i + 1]
        state = np.uint64(stop - start) + _GAMMA
        at = start
        while at < stop:
            word = np.uint64(0)
            end = min(at + 8, stop)
            for place in range(end - 1, at - 1, -1):
                word = (word << _EIGHT) | np.uint64(data[place])
            state = (state ^ word) * _FIRST
            state = (state ^ (state >> _32)) * _SECOND
            state ^= state >> _29
            at = end
        hashes[i] = state
