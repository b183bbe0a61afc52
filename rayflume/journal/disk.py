"""The byte seam of the journal: a local directory, or memory. The only journal file that touches
files.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from rayflume.errors import NO_ROOM, JournalLocked
from rayflume.journal.direct import BLOCK_BYTES, DIRECT_BYTES_MIN, DirectWriter

LOCK_NAME = "in_use.lock"
RESERVE_NAME = "reserve.bin"
_IOV_MAX = 512
_REWRITE_BYTES = 2**20
RESERVE_BYTES = 32 * 2**20
ROOM_STEP_BYTES = 2**20
"""A full disk is given back at least so much of the reserve at a time, and no more than needed."""
_KEEP_SIZE = 1
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_LIBC = ctypes.CDLL(None, use_errno=True)


class LocalFile:
    """An append-only file. See journal.seam.AppendFile.

    Blocks are reserved ahead of the writes, behind the end of the file: with them a synced append
    of 8 MiB is four times as fast (measured on ext4), for the sync then allocates nothing.

    On a full disk `make_room` is asked for so many bytes (True: there is more room now), and the
    write goes on. If that does not help, `close` cuts off what was never synced: nobody was
    promised it, and its blocks are needed.

    `direct` (None: never) writes the whole blocks of large records.
    """

    def __init__(
        self,
        descriptor: int,
        make_room: Callable[[int], bool] = lambda wanted: False,
        direct: DirectWriter | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._make_room = make_room
        self._direct = direct
        self._size = self._reserved = self._synced = 0
        self._no_room = False

    def write(self, buffers: Sequence[pa.Buffer | bytes | memoryview]) -> None:
        views = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
        place, self._size = self._size, self._size + sum(len(view) for view in views)
        if self._size > self._reserved:
            _reserve(self._descriptor, self._reserved, self._size + RESERVE_BYTES)
            self._reserved = self._size + RESERVE_BYTES
        if self._direct is not None and self._size - place >= DIRECT_BYTES_MIN:
            # Only whole blocks can be written so; the rest goes through the page cache.
            self._write(_cut(views, -place % BLOCK_BYTES), place)
            place = self._size - sum(len(view) for view in views)
            place += _dropped(views, self._direct.write(views, place))
        self._write(views, place)

    def _write(self, views: list[memoryview], place: int) -> None:
        while views:
            written = self._writev(views[:_IOV_MAX], place)
            _dropped(views, written)
            place += written

    def _writev(self, views: list[memoryview], place: int) -> int:
        while True:
            try:
                return os.pwritev(self._descriptor, views, place)
            except OSError as error:
                wanted = sum(len(view) for view in views) + ROOM_STEP_BYTES
                if error.errno not in NO_ROOM or not self._make_room(wanted):
                    self._no_room = error.errno in NO_ROOM
                    raise
                # Who filled the disk is at it still: most of the room is taken at once. Not all: a
                # file may need a block more than was given back, and would then get none.
                _reserve(self._descriptor, place, place + wanted - ROOM_STEP_BYTES // 2)

    def sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._no_room = error.errno in NO_ROOM
            raise
        self._synced = self._size

    def close(self) -> None:
        with contextlib.suppress(OSError):
            # Gives back what was reserved and not used.
            size = os.fstat(self._descriptor).st_size
            os.ftruncate(self._descriptor, self._synced if self._no_room else size)
        os.close(self._descriptor)
        if self._direct is not None:
            self._direct.close()


def _dropped(views: list[memoryview], count: int) -> int:
    """Take the first bytes off some views; how many those were."""
    left = count
    while views and left >= len(views[0]):
        left -= len(views.pop(0))
    if left:
        views[0] = views[0][left:]
    return count


def _cut(views: list[memoryview], count: int) -> list[memoryview]:
    """The same, and those bytes."""
    cut: list[memoryview] = []
    left = count
    for view in views:
        cut.append(view[:left])
        left -= len(cut[-1])
    _dropped(views, count)
    return [view for view in cut if len(view)]


def _reserve(descriptor: int, start: int, stop: int) -> None:
    """fallocate(2) of `[start, stop)` without changing the size; where it can't be had, nothing."""
    _LIBC.fallocate(
        descriptor,
        _KEEP_SIZE,
        ctypes.c_int64(start),
        ctypes.c_int64(stop - start),
    )


class _Reserve:
    """A file that only takes up room, so that a full disk has some for the records which free it.

    `missing`: bytes that it should have and has not.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self.missing = size

    def fill(self, free: int) -> None:
        """Take the room if so much is free. On a file system that can't: have no reserve."""
        if not self.missing or free <= self.missing:
            return
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                code = _take_blocks(descriptor, self._size)
                self.missing = self._size - _blocks(descriptor) if code in NO_ROOM else 0
            finally:
                os.close(descriptor)

    def give_back(self, wanted: int) -> bool:
        """Free some of the room; False when there was none."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                had = min(_blocks(descriptor), os.fstat(descriptor).st_size)
                left = max(0, had - wanted)
                os.ftruncate(descriptor, left)
            finally:
                os.close(descriptor)
            self.missing = max(0, self._size - left)
            return had > 0
        return False


def _blocks(descriptor: int) -> int:
    return os.fstat(descriptor).st_blocks * 512


def _take_blocks(descriptor: int, size: int) -> int:
    """fallocate(2) of a whole file; the error's number, 0 if it was done."""
    failed = _LIBC.fallocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size))
    return ctypes.get_errno() if failed else 0


class _Opened:
    """A file kept open for reading, until the last one who uses it lets go of it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class LocalDisk:
    """One directory of this host, mode 0700, locked for life with flock. See journal.seam.Disk.

    `reserve_bytes` are kept back while it is locked and after, and given back to whoever writes
    when the disk is full; `free_bytes` does not count them, and counts nothing before they are
    there again. `direct`: large records are written past the page cache.
    """

    def __init__(self, directory: Path, reserve_bytes: int = 0, *, direct: bool = False) -> None:
        self._directory = directory
        self._direct = direct
        self._lock: int | None = None
        self._kept = _Reserve(directory / RESERVE_NAME, reserve_bytes)
        self._opened: _Opened | None = None

    def lock(self, holder: str) -> None:
        make_directory(self._directory)
        path = self._directory / LOCK_NAME
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(descriptor, 256, 0).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise JournalLocked(
                f"the journal in {self._directory} is in use by {other}: stop it, or give this "
                "channel a directory of its own",
                holder=other,
            ) from None
        with contextlib.suppress(OSError):
            # In this order it needs no new block, should the disk be full.
            os.ftruncate(descriptor, os.pwrite(descriptor, holder.encode(), 0))
        self._lock = descriptor
        self._kept.fill(self._available())

    def names(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self._directory) if entry.is_file())

    def size(self, name: str) -> int:
        return (self._directory / name).stat().st_size

    def read(self, name: str, offset: int, length: int) -> pa.Buffer:
        # One is kept open, for opening costs more than all else when 100,000 heads are read.
        opened = self._opened
        if opened is None or opened.name != name:
            self._opened = opened = _Opened(self._directory / name)
        return pa.py_buffer(os.pread(opened.descriptor, length, offset))

    def _let_go(self, name: str) -> None:
        """Of a file that is removed: an open one would keep its blocks."""
        if self._opened is not None and self._opened.name == name:
            self._opened = None

    def create(self, name: str) -> LocalFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._let_go(name)
        try:
            descriptor = os.open(self._directory / name, flags, 0o600)
        except OSError as error:
            if error.errno not in NO_ROOM or not self._kept.give_back(ROOM_STEP_BYTES):
                raise
            descriptor = os.open(self._directory / name, flags, 0o600)
        direct = DirectWriter(self._directory / name) if self._direct else None
        return LocalFile(descriptor, self._kept.give_back, direct)

    def sync(self, name: str, start: int = 0) -> None:
        with (self._directory / name).open("r+b", buffering=0) as file:
            descriptor, stop = file.fileno(), os.fstat(file.fileno()).st_size
            while start < stop:
                data = os.pread(descriptor, min(_REWRITE_BYTES, stop - start), start)
                start += os.pwrite(descriptor, data, start) if data else stop
            os.fsync(descriptor)

    def unlink(self, name: str) -> None:
        self._let_go(name)
        (self._directory / name).unlink()

    def keep_as(self, name: str, other: str) -> None:
        """Give a file a second, new name, under which its bytes stay whatever becomes of the first.

        Where there are no hard links it is copied. FileExistsError if there is such a name.
        """
        source, target = self._directory / name, self._directory / other
        try:
            target.hardlink_to(source)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with contextlib.closing(self.create(other)) as file:
                for start in range(0, self.size(name), _REWRITE_BYTES):
                    file.write([self.read(name, start, _REWRITE_BYTES)])
                file.sync()

    def same(self, name: str, other: str) -> bool:
        """Whether two names are those of one file."""
        return (self._directory / name).samefile(self._directory / other)

    def replace(self, name: str, other: str) -> None:
        """Let `other` take the place of the file `name`, in one step; durable after
        `sync_directory`.
        """
        self._let_go(name)
        (self._directory / other).replace(self._directory / name)

    def sync_directory(self) -> None:
        sync_directory(self._directory)

    def free_bytes(self) -> int:
        if self._lock is not None:
            self._kept.fill(self._available())
        return max(0, self._available() - (self._kept.missing if self._lock is not None else 0))

    def _available(self) -> int:
        stat = os.statvfs(self._directory)
        return stat.f_bavail * stat.f_frsize

    def path(self) -> Path | None:
        return self._directory

    def close(self) -> None:
        self._opened = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory and its parents, mode 0700, durable where they are new."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        sync_directory(directory.parent)


class MemoryFile:
    """An append-only file in memory."""

    def __init__(self) -> None:
        self.pieces: list[pa.Buffer | bytes | memoryview] = []
        self.offsets: list[int] = []
        self.size = 0

    def write(self, buffers: Sequence[pa.Buffer | bytes | memoryview]) -> None:
        for buffer in buffers:
            self.offsets.append(self.size)
            self.pieces.append(buffer)
            self.size += len(buffer)

    def sync(self) -> None:
        """Memory is as durable as it gets."""

    def close(self) -> None:
        """Nothing is held open."""


class MemoryDisk:
    """A directory in memory: the rows of a memory channel. Gone with its process."""

    def __init__(self) -> None:
        self._files: dict[str, MemoryFile] = {}

    def lock(self, holder: str) -> None:
        """Nobody else can reach it."""

    def names(self) -> list[str]:
        return sorted(self._files)

    def size(self, name: str) -> int:
        return self._file(name).size

    def _file(self, name: str) -> MemoryFile:
        try:
            return self._files[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def read(self, name: str, offset: int, length: int) -> pa.Buffer:
        file = self._file(name)
        parts: list[memoryview] = []
        i = max(bisect_right(file.offsets, offset) - 1, 0)
        end = min(offset + length, file.size)
        while i < len(file.pieces) and file.offsets[i] < end:
            start = file.offsets[i]
            parts.append(memoryview(file.pieces[i]).cast("B")[max(0, offset - start) : end - start])
            i += 1
        return pa.py_buffer(b"".join(parts))

    def create(self, name: str) -> MemoryFile:
        if name in self._files:
            raise FileExistsError(name)
        self._files[name] = MemoryFile()
        return self._files[name]

    def sync(self, name: str, start: int = 0) -> None:
        """Memory is as durable as it gets."""

    def unlink(self, name: str) -> None:
        self._file(name)
        del self._files[name]

    def sync_directory(self) -> None:
        """Memory is as durable as it gets."""

    def free_bytes(self) -> int:
        return 2**62

    def path(self) -> Path | None:
        return None

    def close(self) -> None:
        self._files.clear()
