"""Which files there are, and a bounded set of open ones."""

from __future__ import annotations

import fnmatch
import glob
import os
import resource
import stat
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rayflume.regexes import JavaRegex
from rayflume.sources._stream import FileKey

_OPEN_FILES_MAX = 512
# A pipe or device that takes a file's place must not make the open wait.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def key_of(status: os.stat_result) -> FileKey:
    return status.st_dev, status.st_ino


def open_file(path: str) -> tuple[int, os.stat_result]:
    """A descriptor for reading and its status. Raises OSError, also for what is no regular file."""
    fd = os.open(path, _FLAGS)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise OSError(None, "is not a regular file", path)
    return fd, status


def open_files_max() -> int:
    """How many descriptors one source may keep: a quarter of what the process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(8, min(_OPEN_FILES_MAX, soft // 4 if soft > 0 else _OPEN_FILES_MAX))


class OpenFiles:
    """Descriptors by file; over the limit the one unused for longest is closed.

    Pinned ones stay: a deleted file cannot be opened again.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: OrderedDict[FileKey, int] = OrderedDict()
        self._pinned: dict[FileKey, int] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._pinned)

    @property
    def pinned(self) -> int:
        return len(self._pinned)

    def peek(self, key: FileKey) -> int | None:
        return self._open.get(key, self._pinned.get(key))

    def get(self, key: FileKey, path: str) -> int:
        """The file's descriptor. FileNotFoundError when `path` is another file by now; OSError."""
        if key in self._pinned:
            return self._pinned[key]
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        fd, status = open_file(path)
        if key_of(status) != key:
            os.close(fd)
            raise FileNotFoundError(None, "is another file now", path)
        self.put(key, fd)
        return fd

    def put(self, key: FileKey, fd: int) -> None:
        self._open[key] = fd
        while len(self._open) > 1 and len(self) > self.limit:
            _, oldest = self._open.popitem(last=False)
            os.close(oldest)

    def pin(self, key: FileKey) -> None:
        if key in self._open:
            self._pinned[key] = self._open.pop(key)

    def close(self, key: FileKey) -> None:
        for table in (self._open, self._pinned):
            if key in table:
                os.close(table.pop(key))

    def close_all(self) -> None:
        for key in [*self._open, *self._pinned]:
            self.close(key)


@dataclass(frozen=True)
class Group:
    """Files that are watched together: a glob, or a directory and a pattern for whole names."""

    glob: str = ""
    directory: str = ""
    name: JavaRegex | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def paths(self) -> Iterator[str]:
        """Paths that match now, in no order. Raises OSError for an unreadable directory."""
        if self.name is None:
            yield from glob.iglob(self.glob, recursive=True)  # noqa: PTH207 - relative to none
            return
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if self.name.matches(entry.name):
                    yield entry.path

    @property
    def root(self) -> str:
        """The directory above everything that is not a pattern."""
        if self.name is not None:
            return self.directory
        path = Path(self.glob)
        while glob.has_magic(str(path)):
            path = path.parent
        return str(path if path != Path(self.glob) else path.parent)

    def matches(self, path: str) -> bool:
        """Whether a file of that path would be of this group."""
        if self.name is not None:
            place = Path(path)
            return str(place.parent) == self.directory and self.name.matches(place.name)
        return _glob_matches(Path(path).parts, Path(self.glob).parts)


def _glob_matches(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_glob_matches(parts[i:], patterns[1:]) for i in range(len(parts) + 1))
    if not parts or not fnmatch.fnmatchcase(parts[0], patterns[0]):
        return False
    return _glob_matches(parts[1:], patterns[1:])


def find_by_inode(directories: Iterable[str], wanted: set[FileKey]) -> dict[FileKey, str]:
    """Where files are now whatever their names: one look into each directory. Never raises."""
    inodes = {inode for _, inode in wanted}
    found: dict[FileKey, str] = {}
    for directory in directories:
        with suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.inode() in inodes:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and key_of(status) in wanted:
                        found.setdefault(key_of(status), entry.path)
    return found


def group_of(groups: Sequence[Group], path: str) -> Group | None:
    """The first group that a file of this path is of."""
    return next((group for group in groups if group.matches(path)), None)


def is_mounted(path: str, device: int) -> bool:
    """Whether the nearest directory above a path that exists is on the device the file was on."""
    for directory in Path(path).parents:
        try:
            return os.stat(directory).st_dev == device  # noqa: PTH116
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return False
