"""Where each record of a block ends, without decoding it: a walk over the types of its schema.

A type is a number; `kinds` says what it is, and `firsts`, `counts` which `children` it has. The
stack holds the types that are being walked and how far each is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rayflume.kernels import kernel, step

NULL, FIXED, NUMBER, BYTES, RECORD, UNION, ARRAY, MAP = range(8)
DEPTH_MAX = 256
_BAD = -1
_VARINT_BYTES_MAX = 10
_STEPS_PER_BYTE = 64
_STEPS_FREE = 2**20
# Items without bytes, such as nulls, could otherwise go on for ever.


@step
def _number(values: npt.NDArray[np.uint8], place: int, end: int) -> tuple[int, int]:
    """A zigzag number and the place behind it, or _BAD."""
    value = np.uint64(0)
    shift = np.uint64(0)
    for index in range(_VARINT_BYTES_MAX):
        if place + index >= end:
            return 0, _BAD
        byte = values[place + index]
        value |= np.uint64(byte & 0x7F) << shift
        if byte < 0x80:
            half = np.int64(value >> np.uint64(1))
            return int(-half - 1 if value & np.uint64(1) else half), place + index + 1
        shift += np.uint64(7)
    return 0, _BAD


@step
def _skip_bytes(values: npt.NDArray[np.uint8], place: int, end: int) -> int:
    """Behind a length and so many bytes, or _BAD."""
    size, behind = _number(values, place, end)
    if behind < 0 or size < 0 or size > end - behind:
        return _BAD
    return behind + size


@step
def _skip(values: npt.NDArray[np.uint8], place: int, kind: int, size: int) -> int:
    """Behind a value of a type that has no parts, or _BAD."""
    end = len(values)
    if kind == FIXED:
        return place + size if size <= end - place else _BAD
    if kind == NUMBER:
        return _number(values, place, end)[1]
    if kind == BYTES:
        return _skip_bytes(values, place, end)
    return place


@kernel
def record_ends(
    values: npt.NDArray[np.uint8],
    types: npt.NDArray[np.int64],
    children: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> int:
    """Fill `ends` with where each record ends; how many were found. `types`: rows of kind, first
    child, number of children (for FIXED: of bytes); the first is the record's.
    """
    node_at = np.zeros(DEPTH_MAX, np.int64)
    done_at = np.zeros(DEPTH_MAX, np.int64)
    place, end = 0, len(values)
    steps = _STEPS_FREE + _STEPS_PER_BYTE * end
    for row in range(len(ends)):
        depth = 1
        node_at[0] = done_at[0] = 0
        while depth > 0:
            top = depth - 1
            node = node_at[top]
            kind = types[node, 0]
            child = -1
            steps -= 1
            if kind == RECORD:
                if done_at[top] < types[node, 2]:
                    child = children[types[node, 1] + done_at[top]]
                    done_at[top] += 1
                else:
                    depth = top
            elif kind == UNION:
                branch, place = _number(values, place, end)
                if place < 0 or branch < 0 or branch >= types[node, 2]:
                    return row
                depth = top
                child = children[types[node, 1] + branch]
            elif kind < ARRAY:
                place = _skip(values, place, kind, types[node, 2])
                depth = top
            elif done_at[top] > 0:
                done_at[top] -= 1
                child = children[types[node, 1]]
                if kind == MAP:
                    place = _skip_bytes(values, place, end)
            else:
                done_at[top], place = _number(values, place, end)
                if place >= 0 and done_at[top] < 0:
                    done_at[top] = 0
                    place = _skip_bytes(values, place, end)
                elif done_at[top] == 0:
                    depth = top
            if place < 0 or steps < 0 or (child >= 0 and depth == DEPTH_MAX):
                return row
            if child >= 0:
                node_at[depth] = child
                done_at[depth] = 0
                depth += 1
        ends[row] = place
    return len(ends)
