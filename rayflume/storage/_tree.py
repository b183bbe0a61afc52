"""A directory tree that is reached by descriptors only, so that no link leads out of it.

Every name is opened relative to its parent's descriptor with O_NOFOLLOW: a symbolic link anywhere
below the base is refused (ValueError), also one that appears between two calls. The base itself may
be one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rayflume.errors import RayflumeError, StorageDenied, StorageUnavailable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DENIED = {
    errno.EACCES: "permission is missing; grant it to the user that runs rayflume",
    errno.EPERM: "the operation is not permitted; grant it to the user that runs rayflume",
    errno.EROFS: "the file system is mounted read-only; mount it for writing",
    errno.ENOTDIR: "a part of the path is a file, not a directory; correct `path`",
    errno.EISDIR: "it is a directory, not a file; move it out of the way",
    errno.ENAMETOOLONG: "the name is too long for this file system; shorten `path`",
}
_UNAVAILABLE = {
    errno.ENOSPC: "the disk is full; free some space, nothing is lost meanwhile",
    errno.EDQUOT: "the disk quota is used up; raise it, nothing is lost meanwhile",
    errno.EFBIG: "the file passes the limit for file sizes; raise it (ulimit -f) or roll sooner",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.EIO: "the disk failed (input/output error); look at the host's kernel log",
    errno.ENOENT: "the directory is gone; is its disk mounted?",
    errno.ESTALE: "the network file system lost it (stale handle); mount it again",
}


def storage_error(error: OSError, doing: str, path: str) -> RayflumeError:
    """The error for one of the operating system: what, where and what to do."""
    code = error.errno or 0
    if code in _DENIED:
        return StorageDenied(f"cannot {doing} {path}: {_DENIED[code]}", path=path)
    why = _UNAVAILABLE.get(code) or os.strerror(code) or str(error)
    return StorageUnavailable(f"cannot {doing} {path}: {why}", path=path)


@contextmanager
def translated(doing: str, path: str) -> Iterator[None]:
    """Turn OSError into the storage error of this place."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, doing, path) from error


class Tree:
    """The directories below one base. Errors are OSError, ValueError for a symbolic link."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._durable: set[tuple[str, ...]] = set()

    def make_base(self) -> None:
        """Create the base and its parents. Their names are made durable whoever made them: a
        process that was killed may have left them unsynced, with all that is in them at stake.
        """
        self.base.mkdir(parents=True, exist_ok=True)
        device = self.base.stat().st_dev
        for place in self.base.parents:
            if place.stat().st_dev != device:
                return
            with suppress(PermissionError):  # a parent that may be passed but not read
                sync_path(place)

    @contextmanager
    def directory(self, names: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of one directory; with `make` it and its parents are created, durably."""
        fd = os.open(self.base, _DIRECTORY)
        try:
            for depth, name in enumerate(names):
                if make:
                    self._make(fd, tuple(names[: depth + 1]))
                inner = _open_inside(fd, name, "/".join(names))
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    def _make(self, parent: int, names: tuple[str, ...]) -> None:
        # Another writer may have made the directory and not yet synced its parent, so the first use
        # of a directory syncs the parent, whoever made it.
        made = True
        try:
            os.mkdir(names[-1], dir_fd=parent)
        except FileExistsError:
            made = False
        if made or names not in self._durable:
            os.fsync(parent)
            if len(self._durable) > 10_000:
                self._durable.clear()
            self._durable.add(names)

    def files(self, names: Sequence[str], skip: Sequence[str] = ()) -> Iterator[str]:
        """Paths relative to the base of all regular files below a directory; links are no files."""
        try:
            with self.directory(names) as fd:
                entries = sorted(entries_of(fd))
        except FileNotFoundError:
            return
        for name, is_directory in entries:
            path = "/".join([*names, name])
            if not is_directory:
                yield path
            elif path not in skip:
                yield from self.files([*names, name], skip)


def size_of(fd: int, name: str, path: str) -> int | None:
    """Size of a regular file in an open directory; None when there is nothing of that name."""
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise ValueError(f"{path!r} is a symbolic link; a lake has none")
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def sync_path(path: Path) -> None:
    """Make the entries of a directory durable. Blocks."""
    fd = os.open(path, _DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _open_inside(fd: int, name: str, path: str) -> int:
    try:
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP} and _is_link(fd, name):
            raise ValueError(f"{name!r} in {path!r} is a symbolic link; a lake has none") from None
        raise


def _is_link(fd: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def entries_of(fd: int) -> list[tuple[str, bool]]:
    """(name, is it a directory) of all files and directories, but not of links, pipes and such."""
    with os.scandir(fd) as entries:
        found = []
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_directory or entry.is_file(follow_symlinks=False):
                found.append((entry.name, is_directory))
        return found
