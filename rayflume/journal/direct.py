"""Large records past the page cache (open(2), O_DIRECT), through memory that is used again.

Rows are written once and read once, so pages of the kernel's cache would be filled for one use
each: on a virtual machine, where fresh memory is dear, that took 22 ms of CPU for 8 MiB; past the
cache it takes under 1 ms (measured with a sync after each write). Small records, and file systems
that can't do it, go the ordinary way.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BLOCK_BYTES = 4096
"""Places, lengths and memory of direct calls are multiples of this; no device asks for more."""
DIRECT_BYTES_MIN = 2**20
_CHUNK_BYTES = 8 * 2**20
_FREE_MAX = 4
_NOT_SO = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class Memory:
    """Memory at block boundaries that is given out again once nothing refers to it. Thread-safe."""

    def __init__(self) -> None:
        self._free: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> memoryview:
        """`size` bytes with any content, for as long as the view, or what was made of it, lives."""
        room = _up(size, DIRECT_BYTES_MIN)
        with self._lock:
            fitting = [i for i, block in enumerate(self._free) if room <= len(block) <= 2 * room]
            block = self._free.pop(fitting[0]) if fitting else _aligned(room)
        # All that refers to the memory does so through this one array.
        given = block[:size]
        weakref.finalize(given, self._give_back, block).atexit = False
        return given.data

    def _give_back(self, block: npt.NDArray[np.uint8]) -> None:
        with self._lock:
            self._free.append(block)
            del self._free[:-_FREE_MAX]


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _aligned(size: int) -> npt.NDArray[np.uint8]:
    whole = np.empty(size + BLOCK_BYTES, dtype=np.uint8)
    start = -whole.ctypes.data % BLOCK_BYTES
    return whole[start : start + size]


def _open(path: Path, flags: int) -> int | None:
    """A descriptor for direct calls; None where none is to be had."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None


class DirectWriter:
    """Writes the whole blocks of large records of one file. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self._descriptor = _open(path, os.O_WRONLY)
        self._memory: npt.NDArray[np.uint8] | None = None

    def write(self, views: Sequence[memoryview], place: int) -> int:
        """Write bytes that begin at a `place` of the file, up to the last whole block.

        `place` is at the start of a block. Returns how many bytes were written; the caller writes
        the rest the ordinary way, also when the device takes none, or is full.
        """
        total = sum(len(view) for view in views)
        if self._descriptor is None or total < DIRECT_BYTES_MIN:
            return 0
        if self._memory is None:
            self._memory = _aligned(_CHUNK_BYTES)
        done, whole = 0, total - total % BLOCK_BYTES
        while done < whole:
            size = min(_CHUNK_BYTES, whole - done)
            _gather(views, done, self._memory[:size])
            try:
                written = os.pwrite(self._descriptor, self._memory.data[:size], place + done)
            except OSError as error:
                if error.errno == errno.EIO:
                    raise
                break
            done += written
            if written < size:
                break
        return done

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _gather(views: Sequence[memoryview], skip: int, target: npt.NDArray[np.uint8]) -> None:
    """Copy what follows the first `skip` bytes of some views, as much as there is room for."""
    filled = 0
    for view in views:
        part = np.frombuffer(view, dtype=np.uint8)[skip : skip + len(target) - filled]
        skip = max(0, skip - len(view))
        target[filled : filled + len(part)] = part
        filled += len(part)


class DirectReader:
    """Reads large records of one file. One thread at a time."""

    def __init__(self, path: Path, memory: Memory) -> None:
        self._path = path
        self._memory = memory
        direct = _open(path, os.O_RDONLY)
        self._is_direct = direct is not None
        self._descriptor = self._ordinary() if direct is None else direct

    def _ordinary(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, place: int, length: int) -> pa.Buffer:
        """The bytes `[place, place + length)`, fewer at the end of the file. Blocks; OSError."""
        start = place - place % BLOCK_BYTES
        target = self._memory.take(_up(place + length, BLOCK_BYTES) - start)
        got = 0
        # Only at the end of the file is there less than a block.
        while got < len(target) and not got % BLOCK_BYTES:
            more = self._read(target[got:], start + got)
            if not more:
                break
            got += more
        skipped = place - start
        return pa.py_buffer(target).slice(skipped, max(0, min(length, got - skipped)))

    def _read(self, target: memoryview, start: int) -> int:
        try:
            return os.preadv(self._descriptor, [target], start)
        except OSError as error:
            if error.errno not in _NOT_SO or not self._is_direct:
                raise
        # It could be opened so, but wants larger blocks, or can't after all.
        ordinary, self._is_direct = self._ordinary(), False
        os.close(self._descriptor)
        self._descriptor = ordinary
        return os.preadv(self._descriptor, [target], start)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)
