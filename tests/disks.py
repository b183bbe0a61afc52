"""A disk for the journal that lies, tears and fails on request, and remembers what it was asked."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from rayflume.journal.disk import LocalDisk, LocalFile

Tear = Callable[[int], int]
"""How many of that many bytes that were never synced are on the disk after a power failure."""


@dataclass
class _Content:
    data: bytearray = field(default_factory=bytearray)
    platter: bytearray = field(default_factory=bytearray)
    dirty_from: int = 0

    def sync(self) -> None:
        self.platter.extend(bytes(len(self.data) - len(self.platter)))
        self.platter[self.dirty_from :] = self.data[self.dirty_from :]
        self.dirty_from = len(self.data)

    def sync_failed(self) -> None:
        """As Linux does: the pages count as clean from now on, but are not on the disk."""
        self.dirty_from = len(self.data)

    def power_failure(self, tear: Tear) -> None:
        kept = tear(len(self.data) - self.dirty_from)
        if kept:
            self.platter.extend(bytes(max(0, self.dirty_from - len(self.platter))))
            self.platter[self.dirty_from :] = self.data[self.dirty_from : self.dirty_from + kept]
        self.data = bytearray(self.platter)
        self.dirty_from = len(self.data)


class FaultyDisk:
    """journal.seam.Disk in memory. What was not synced is lost in `power_failure`.

    `fail[operation]` is the errno with which the next such operation fails; `partial` bytes of a
    failing write are written. `before_sync` is called in each sync of a file.
    """

    def __init__(self) -> None:
        self.files: dict[str, _Content] = {}
        self.durable: dict[str, _Content] = {}
        self.fail: dict[str, int] = {}
        self.partial = 0
        self.full = False
        self.calls: list[tuple[str, str]] = []
        self.bytes_read = 0
        self.before_sync: Callable[[], None] = lambda: None

    def check(self, operation: str, name: str) -> None:
        self.calls.append((operation, name))
        number = self.fail.pop(operation, 0)
        if self.full and operation in ("write", "create"):
            number = errno.ENOSPC
        if number:
            raise OSError(number, os.strerror(number))

    def replace(self, name: str, data: bytes) -> None:
        """Change what the disk itself holds of a file."""
        content = self.files[name]
        content.data, content.platter = bytearray(data), bytearray(data)
        content.dirty_from = len(data)

    def cut(self, name: str, size: int) -> None:
        self.replace(name, bytes(self.files[name].data[:size]))

    def flip(self, name: str, offset: int) -> None:
        data = bytearray(self.files[name].data)
        data[offset] ^= 0xFF
        self.replace(name, bytes(data))

    def power_failure(self, tear: Tear) -> None:
        """Entries and bytes that were not synced are lost, or not, as `tear` says."""
        names = sorted({*self.files, *self.durable})
        for name in names:
            created = name in self.files and name not in self.durable
            removed = name in self.durable and name not in self.files
            if (created and not tear(1)) or (removed and tear(1)):
                self.files.pop(name, None)
                self.durable.pop(name, None)
            elif removed:
                self.files[name] = self.durable[name]
        for content in self.files.values():
            content.power_failure(tear)
        self.durable = dict(self.files)
        self.fail.clear()

    def lock(self, holder: str) -> None:
        """One process in this test."""

    def names(self) -> list[str]:
        return sorted(self.files)

    def size(self, name: str) -> int:
        return len(self._content(name).data)

    def read(self, name: str, offset: int, length: int) -> pa.Buffer:
        self.check("read", name)
        data = bytes(self._content(name).data[offset : offset + length])
        self.bytes_read += len(data)
        return pa.py_buffer(data)

    def _content(self, name: str) -> _Content:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self.files[name]

    def create(self, name: str) -> FaultyFile:
        self.check("create", name)
        if name in self.files:
            raise FileExistsError(errno.EEXIST, "file exists", name)
        self.files[name] = _Content()
        return FaultyFile(self, name, self.files[name])

    def sync(self, name: str, start: int = 0) -> None:
        content = self._content(name)
        content.dirty_from = min(content.dirty_from, start)
        FaultyFile(self, name, content).sync()

    def unlink(self, name: str) -> None:
        self.check("unlink", name)
        self._content(name)
        del self.files[name]

    def sync_directory(self) -> None:
        self.check("sync_directory", "")
        self.durable = dict(self.files)

    def free_bytes(self) -> int:
        return 2**40

    def path(self) -> Path | None:
        return None

    def close(self) -> None:
        """The lock of nobody."""


class FaultyFile:
    """A file of a FaultyDisk."""

    def __init__(self, disk: FaultyDisk, name: str, content: _Content) -> None:
        self._disk = disk
        self._name = name
        self._content = content

    def write(self, buffers: Sequence[pa.Buffer | bytes | memoryview]) -> None:
        data = b"".join(bytes(memoryview(buffer).cast("B")) for buffer in buffers if len(buffer))
        try:
            self._disk.check("write", self._name)
        except OSError:
            self._content.data += data[: self._disk.partial]
            raise
        self._content.data += data

    def sync(self) -> None:
        self._disk.before_sync()
        try:
            self._disk.check("sync", self._name)
        except OSError:
            self._content.sync_failed()
            raise
        self._content.sync()

    def close(self) -> None:
        """Nothing is held."""


class CountingDisk(LocalDisk):
    """A real directory that counts how often its files are synced."""

    syncs = 0

    def create(self, name: str) -> LocalFile:
        file = super().create(name)
        disk, sync = self, file.sync

        class Counting(LocalFile):
            def sync(self) -> None:
                disk.syncs += 1
                sync()

        return Counting(file._descriptor)
