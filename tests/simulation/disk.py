"""The disk of a journal as a machine has it: a page cache over a platter, and directory entries.

A process that dies leaves the page cache as it is. A power failure keeps what was synced, and of
what was not, any part: each write by itself (later ones may be there and earlier ones not), the
last one torn at any byte; a new or removed name as it likes. After a failed sync the pages count as
clean and are not on the platter.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pyarrow as pa

from rayflume.errors import JournalLocked
from simulation.kernel import Kernel, Process

NAMES = ("write", "sync", "create", "unlink", "sync_directory", "read")


@dataclass
class _File:
    data: bytearray = field(default_factory=bytearray)
    platter: bytearray = field(default_factory=bytearray)
    dirty: list[tuple[int, int]] = field(default_factory=list)
    """Writes that are not synced: `[start, stop)` each."""

    def append(self, data: bytes) -> None:
        if data:
            self.dirty.append((len(self.data), len(self.data) + len(data)))
            self.data += data

    def keep(self, start: int, stop: int) -> None:
        """These bytes are on the platter."""
        self.platter.extend(bytes(max(0, stop - len(self.platter))))
        self.platter[start:stop] = self.data[start:stop]

    def sync(self) -> None:
        for start, stop in self.dirty:
            self.keep(start, stop)
        self.dirty.clear()

    def power_failure(self, random: Random) -> None:
        for i, (start, stop) in enumerate(self.dirty):
            fate = random.random()
            if fate < 0.4:
                self.keep(start, stop)
            elif fate < 0.7 or i == len(self.dirty) - 1:
                self.keep(start, random.randint(start, stop))
        self.dirty.clear()
        self.data = bytearray(self.platter)


class Machine:
    """One directory of one host, whoever opens it. What a fault does to it is set from outside."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.files: dict[str, _File] = {}
        self.entries: dict[str, _File] = {}
        """Names that a power failure can't take away."""
        self.owner: Process | None = None
        self.holder = ""
        self.fail: dict[str, list[int]] = {}
        """Operation -> errno of its next calls."""
        self.full = False

    def power_failure(self, random: Random) -> None:
        for name in sorted({*self.files, *self.entries}):
            created = name in self.files and name not in self.entries
            removed = name in self.entries and name not in self.files
            if created and random.random() < 0.5:
                del self.files[name]
            elif removed and random.random() < 0.5:
                self.files[name] = self.entries[name]
        for file in self.files.values():
            file.power_failure(random)
        self.entries = dict(self.files)

    def flip(self, name: str, offset: int, bit: int) -> None:
        """One bit of what is on the platter changes."""
        file = self.files[name]
        file.data[offset] ^= 1 << bit
        if offset < len(file.platter):
            file.platter[offset] ^= 1 << bit

    def call(self, operation: str, name: str) -> None:
        """One operation of a process: it may die before it, and it may fail."""
        self.kernel.step()
        self.kernel.failpoint(f"before {operation}")
        self.kernel.note(f"{self.name} {operation} {name}")
        number = self.fail[operation].pop(0) if self.fail.get(operation) else 0
        if self.full and operation in ("write", "create"):
            number = errno.ENOSPC
        if number:
            self.kernel.note(f"{self.name} {operation} fails: {os.strerror(number)}")
            raise OSError(number, os.strerror(number))

    def file(self, name: str) -> _File:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self.files[name]


class SimDisk:
    """The machine's directory as one process sees it. See journal.seam.Disk."""

    def __init__(self, machine: Machine, process: Process) -> None:
        self._machine = machine
        self._process = process
        process.at_end.append(self.close)

    def lock(self, holder: str) -> None:
        machine = self._machine
        machine.kernel.step()
        other = machine.owner
        if other is not None and other is not self._process and other.alive:
            # A lock of a network file system is given to the next when its holder is not heard of.
            lost = other.unreachable and machine.kernel.is_paused(other)
            if not lost:
                raise JournalLocked(f"in use by {machine.holder}", holder=machine.holder)
        machine.owner, machine.holder = self._process, holder

    def names(self) -> list[str]:
        return sorted(self._machine.files)

    def size(self, name: str) -> int:
        return len(self._machine.file(name).data)

    def read(self, name: str, offset: int, length: int) -> pa.Buffer:
        if self._machine.fail.get("read"):
            raise OSError(self._machine.fail["read"].pop(0), "simulated read error")
        return pa.py_buffer(bytes(self._machine.file(name).data[offset : offset + length]))

    def create(self, name: str) -> SimFile:
        self._machine.call("create", name)
        if name in self._machine.files:
            raise FileExistsError(errno.EEXIST, "file exists", name)
        self._machine.files[name] = _File()
        self._machine.kernel.failpoint("after create")
        return SimFile(self._machine, name, self._machine.files[name])

    def sync(self, name: str, start: int = 0) -> None:
        self._machine.call("sync", name)
        file = self._machine.file(name)
        file.keep(start, len(file.data))
        file.sync()
        self._machine.kernel.failpoint("after sync")

    def unlink(self, name: str) -> None:
        self._machine.call("unlink", name)
        self._machine.file(name)
        del self._machine.files[name]
        self._machine.kernel.failpoint("after unlink")

    def sync_directory(self) -> None:
        self._machine.call("sync_directory", "")
        self._machine.entries = dict(self._machine.files)
        self._machine.kernel.failpoint("after sync_directory")

    def free_bytes(self) -> int:
        return 0 if self._machine.full else 2**40

    def path(self) -> Path | None:
        return None

    def close(self) -> None:
        if self._machine.owner is self._process:
            self._machine.owner = None


class SimFile:
    """An open file. A write is done in two pieces, and its process may die between them."""

    def __init__(self, machine: Machine, name: str, file: _File) -> None:
        self._machine = machine
        self._name = name
        self._file = file

    def write(self, buffers: Sequence[pa.Buffer | bytes | memoryview]) -> None:
        data = b"".join(bytes(memoryview(buffer).cast("B")) for buffer in buffers if len(buffer))
        random = self._machine.kernel.random
        first = random.randint(0, len(data)) if random.random() < 0.3 else len(data)
        try:
            self._machine.call("write", self._name)
        except OSError:
            self._file.append(data[: random.randint(0, len(data))])
            raise
        self._file.append(data[:first])
        if first < len(data):
            self._machine.kernel.step()
            self._file.append(data[first:])
        self._machine.kernel.failpoint("after write")

    def sync(self) -> None:
        try:
            self._machine.call("sync", self._name)
        except OSError:
            self._file.dirty.clear()
            raise
        self._file.sync()
        self._machine.kernel.failpoint("after sync")

    def close(self) -> None:
        """Nothing is held."""
