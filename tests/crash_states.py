"""Which states a disk may be in after a power failure, in the manner of ALICE.

    for state in crash_states(root, calls, seed, each=20):  # calls of a TracedOs, in order
        state.write(root, directory)

The model, as weak as POSIX allows: the bytes of a file are sure once an fsync of the file followed
them; an entry of a directory (made by create, mkdir or link, removed by unlink) once an fsync of
that directory followed it. Whatever is not sure may be there or not, each on its own and in any
order; of unsure bytes any prefix. A directory that is not there has nothing below it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from traced_os import Call


@dataclass
class _File:
    """An inode: what was written, and how much of it is sure."""

    data: bytes = b""
    sure: int = 0


@dataclass
class _Entry:
    """The history of one name: what it was last known to be for sure, and what came after."""

    sure: _File | None = None
    later: list[_File | None] = field(default_factory=list)


@dataclass(frozen=True)
class State:
    """Files and directories after the power failure, by path."""

    moment: int
    files: dict[str, bytes]
    directories: frozenset[str]

    def write(self, root: str, directory: Path) -> None:
        """Make it real: what lay at `root` is at `directory`."""
        for path in sorted(self.directories):
            (directory / path.removeprefix(root).lstrip("/")).mkdir(parents=True, exist_ok=True)
        for path, data in self.files.items():
            (directory / path.removeprefix(root).lstrip("/")).write_bytes(data)


class Disk:
    """What the calls up to a moment made sure, and what not."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._entries: dict[str, _Entry] = {}
        self._directories: dict[str, bool] = {}
        """Path -> whether its own entry is sure."""

    def apply(self, call: Call) -> None:
        if call.operation == "create":
            self._entry(call.path).later.append(_File())
        elif call.operation == "write":
            self._now(call.path).data += call.data
        elif call.operation == "link":
            self._entry(call.path).later.append(self._now(call.source))
        elif call.operation == "unlink":
            self._entry(call.path).later.append(None)
        elif call.operation == "mkdir":
            self._directories.setdefault(call.path, False)
        elif call.operation == "fsync":
            self._fsync(call.path)

    def _fsync(self, path: str) -> None:
        if path in self._entries:
            file = self._now(path)
            file.sure = len(file.data)
            return
        for name, entry in self._entries.items():
            if name.rpartition("/")[0] == path and entry.later:
                entry.sure, entry.later = entry.later[-1], []
        for name in self._directories:
            if name.rpartition("/")[0] == path:
                self._directories[name] = True

    def _entry(self, path: str) -> _Entry:
        return self._entries.setdefault(path, _Entry())

    def _now(self, path: str) -> _File:
        entry = self._entries[path]
        file = entry.later[-1] if entry.later else entry.sure
        assert file is not None, path
        return file

    def survive(self, chance: random.Random, moment: int) -> State:
        """One of the states that the disk may be in if the power fails now."""
        there = {self.root}
        for path in sorted(self._directories):
            kept = self._directories[path] or chance.random() < 0.5
            if kept and path.rpartition("/")[0] in there:
                there.add(path)
        bytes_of: dict[int, bytes] = {}
        files = {}
        for path, entry in sorted(self._entries.items()):
            file = chance.choice([entry.sure, *entry.later])
            if file is None or path.rpartition("/")[0] not in there:
                continue
            # Two names of one inode have the same bytes.
            kept_bytes = chance.randint(file.sure, len(file.data))
            if chance.random() < 0.5:
                kept_bytes = file.sure
            files[path] = bytes_of.setdefault(id(file), file.data[:kept_bytes])
        return State(moment, files, frozenset(there))


def crash_states(root: str, calls: Sequence[Call], seed: int, each: int) -> Iterator[State]:
    """At each moment of the trace, `each` states that the seed chooses."""
    chance = random.Random(seed)
    disk = Disk(root)
    for moment in range(len(calls) + 1):
        for _ in range(each):
            yield disk.survive(chance, moment)
        if moment < len(calls):
            disk.apply(calls[moment])
