"""A lake on a local or mounted file system.

A file is staged under `_rayflume/staging/` of the same file system and published with a hard link:
the one call that makes a whole, durable file appear under a second name and never replaces what is
there.

Order of a publish: link all, sync the directories of all targets, unlink the staged names. So at
any crash a file is under its staged name, its target, or both; never under none. Whoever asks later
looks at target, staged name, target: absent from all three is proof that the bytes are gone.

Only `check` makes the lake's directory. Were `stage` to do so, a disk that is unmounted for a while
would get files into the empty place beneath it, where nobody finds them later.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from rayflume.component import Component, Context, component, option
from rayflume.errors import (
    RayflumeError,
    StagingFailed,
    StorageDenied,
    StorageUnavailable,
    TargetTaken,
)
from rayflume.interfaces import Json, LakeReader, Published
from rayflume.naming import STAGING, delivery_of, staged_name
from rayflume.storage import _paths
from rayflume.storage._tree import Tree, entries_of, size_of, storage_error, translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

_STAGING = tuple(STAGING.split("/"))
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FORGOTTEN_S = 3600
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@component
class Local(Component):
    """Files on a local or mounted file system, which must know hard links. Exactly once."""

    path: str = option(
        "Directory of the lake; it is made if it does not exist. Relative paths start at the "
        "configuration file. Files get the permissions that the umask leaves.",
        example="lake/clicks",
    )

    @field_validator("path")
    @classmethod
    def _plain(cls, value: str) -> str:
        place = value.removeprefix("file://") if value.startswith("file:///") else value
        if not place or "\0" in place or "://" in place:
            raise ValueError("write a directory, like lake/clicks or file:///data/lake")
        return place

    def build(self, context: Context) -> LocalStorage:
        return LocalStorage(context.path(self.path))


class LocalStorage:
    """Storage below one directory. Thread-safe: all its state is the file system's."""

    def __init__(self, base: Path) -> None:
        self._tree = Tree(base)

    def check(self) -> None:
        """Make the base, and try out there what publishing needs: create, link, unlink."""
        base = str(self._tree.base)
        name = f"check-{secrets.token_hex(8)}"
        with translated("write to", base):
            self._tree.make_base()
            with self._tree.directory(_STAGING, make=True) as fd:
                try:
                    with _new_file(fd, name) as file:
                        _write_all(file, b"rayflume")
                        os.fsync(file.fileno())
                    _remove_forgotten(fd, name)
                    _try_link(fd, name, base)
                finally:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=fd)

    def stage(self, target: str, delivery: str) -> LocalWriter:
        """Open a new staged file, 0666 less the umask, in the lake that `check` made. Blocks."""
        _paths.target(target, delivery)
        place = f"{self._tree.base}/{STAGING}"
        with translated("create a staged file in", place), self._tree.directory(_STAGING) as fd:
            while True:
                # A name is never used twice, or an old handle could publish another file's bytes.
                staged = staged_name(delivery, secrets.randbelow(10**15))
                with suppress(FileExistsError):
                    file = _new_file(fd, staged.rpartition("/")[2])
                    return LocalWriter(self._tree, file, target, staged)

    def publish(self, handles: Sequence[Mapping[str, Json]]) -> list[Published]:
        """Link all, then sync each directory once, then unlink the staged names. Blocks."""
        outcomes = [self._link(handle) for handle in handles]
        landed = [h for h, o in zip(handles, outcomes, strict=True) if o is Published.LANDED]
        folders = {_paths.target_in(handle)[0].rpartition("/")[0] for handle in landed}
        with translated("publish below", str(self._tree.base)):
            for folder in sorted(folders):
                with self._tree.directory(_paths.folder(folder)) as fd:
                    os.fsync(fd)
        for handle in landed:
            self.discard(handle)
        return outcomes

    def _link(self, handle: Mapping[str, Json]) -> Published:
        target, delivery = _paths.target_in(handle)
        staged, size = _staged_in(handle), _paths.size_in(handle)
        *folder, name = target.split("/")
        place = f"{self._tree.base}/{target}"
        with (
            translated("publish", place),
            self._tree.directory(_STAGING) as source,
            self._tree.directory(folder, make=True) as fd,
        ):
            for _attempt in range(3):
                found = size_of(fd, name, target)
                if found == size:
                    return Published.LANDED
                if found is not None:
                    raise TargetTaken(
                        f"{place} exists and is not the file of {size} bytes of the delivery "
                        f"{delivery}; move it away, then the sink goes on",
                        path=target,
                    )
                if size_of(source, staged, staged) == size:
                    # Another process of this sink may be faster: then look again whose it is.
                    with suppress(FileExistsError, FileNotFoundError):
                        os.link(staged, name, src_dir_fd=source, dst_dir_fd=fd)
                        return Published.LANDED
                elif size_of(fd, name, target) is None:
                    return Published.LOST
        raise StorageUnavailable(f"{place} keeps changing while it is published", path=target)

    def discard(self, handle: Mapping[str, Json]) -> None:
        """Unlink the staged name; its bytes stay if they are published. Blocks."""
        name = _staged_in(handle)
        with (
            translated("delete from", f"{self._tree.base}/{STAGING}"),
            suppress(FileNotFoundError),
            self._tree.directory(_STAGING) as fd,
        ):
            os.unlink(name, dir_fd=fd)

    def staged(self, journal: str) -> list[tuple[str, dict[str, Json]]]:
        with translated("list", f"{self._tree.base}/{STAGING}"):
            paths = list(self._tree.files(_STAGING))
        return [
            (delivery, {"staged": path})
            for path in paths
            if (delivery := delivery_of(path)) and _paths.of_journal(delivery, journal)
        ]

    def staged_size(self, handle: Mapping[str, Json]) -> int:
        """Bytes of a staged file, 0 when it is gone. Blocks."""
        name = _staged_in(handle)
        with (
            translated("look into", f"{self._tree.base}/{STAGING}"),
            suppress(FileNotFoundError),
            self._tree.directory(_STAGING) as fd,
        ):
            return max(0, size_of(fd, name, name) or 0)
        return 0

    def create(self, path: str, data: bytes) -> bool:
        """Write beside, then link: the file appears whole or not at all. Blocks."""
        *folder, name = _paths.visible(path)
        beside = f"create-{secrets.token_hex(8)}"
        with (
            translated("create", f"{self._tree.base}/{path}"),
            self._tree.directory(_STAGING) as source,
            self._tree.directory(folder, make=True) as fd,
        ):
            try:
                with _new_file(source, beside) as file:
                    _write_all(file, data)
                    os.fsync(file.fileno())
                made = False
                with suppress(FileExistsError):
                    os.link(beside, name, src_dir_fd=source, dst_dir_fd=fd)
                    made = True
                # Who lost the race builds on the winner's file, so that must be durable, too.
                os.fsync(fd)
                return made
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(beside, dir_fd=source)

    def read(self, path: str) -> bytes:
        with translated("read", f"{self._tree.base}/{path}"), self._opened(path) as file:
            return file.readall()

    def open(self, path: str) -> LakeReader:
        """A descriptor of the file: it can be read to its end even when it is removed. Blocks."""
        with translated("open", f"{self._tree.base}/{path}"):
            return self._opened(path)

    def _opened(self, path: str) -> FileIO:
        *folder, name = _paths.visible(path)
        try:
            with self._tree.directory(folder) as fd:
                if size_of(fd, name, path) is None:
                    raise KeyError(path)
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                return FileIO(os.open(name, flags, dir_fd=fd))
        except FileNotFoundError:
            raise KeyError(path) from None

    def list(self, prefix: str) -> list[str]:
        names = _paths.folder(prefix)
        if _paths.is_staging("/".join(names)):
            return []
        with translated("list", f"{self._tree.base}/{prefix}"):
            return sorted(self._tree.files(names, skip=(STAGING,)))

    def sizes(self, prefix: str) -> dict[str, int]:
        return {path: found.st_size for path, found in self._stats(prefix).items()}

    def modified(self, prefix: str) -> dict[str, int]:
        """When each file below got its name, or its inode was changed in another way. Blocks."""
        found = self._stats(prefix)
        return {path: status.st_ctime_ns // 1_000_000 for path, status in found.items()}

    def _stats(self, prefix: str) -> dict[str, os.stat_result]:
        found = {}
        for folder, names in _by_folder(self.list(prefix)).items():
            with (
                translated("list", f"{self._tree.base}/{'/'.join(folder)}"),
                suppress(FileNotFoundError),
                self._tree.directory(folder) as fd,
            ):
                for name in names:
                    with suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                        found["/".join([*folder, name])] = status
        return dict(sorted(found.items()))

    def remove(self, paths: Sequence[str]) -> None:
        """Move all out of sight, sync each directory once, then unlink. Blocks.

        Measured: unlinking a small file that is on the disk takes some 3 ms, renaming it 15 us, so
        readers see all of them go at nearly one moment.
        """
        below = _by_folder(paths)
        with (
            translated("delete from", str(self._tree.base)),
            self._tree.directory(_STAGING, make=True) as hidden,
        ):
            moved: list[str] = []
            for folder, names in below.items():
                with suppress(FileNotFoundError), self._tree.directory(folder) as fd:
                    moved += [m for name in names if (m := _hide(fd, name, hidden))]
                    os.fsync(fd)
            for name in moved:
                with suppress(FileNotFoundError):  # `check` may take it for forgotten
                    os.unlink(name, dir_fd=hidden)

    def close(self) -> None:
        """Nothing stays open between calls."""


class LocalWriter:
    """One staged file. After an error of `finish` only `abort` helps: a failed fsync may have
    dropped pages, so the same bytes cannot be trusted to a second one.
    """

    def __init__(self, tree: Tree, file: FileIO, target: str, staged: str) -> None:
        self._tree = tree
        self._file = file
        self._place = f"{tree.base}/{staged}"
        self._handle: dict[str, Json] = {"target": target, "staged": staged, "size": 0}
        self._size = 0
        self._error: RayflumeError | None = None

    def write(self, data: pa.Buffer | bytes | memoryview) -> int:
        """Append to the staged file. Blocks."""
        with self._guarded("write"):
            written = _write_all(self._file, data)
        self._size += written
        return written

    def finish(self) -> dict[str, Json]:
        """Sync the file and the staging directory; may be asked again after success. Blocks."""
        with self._guarded("sync"):
            if not self._file.closed:
                os.fsync(self._file.fileno())
                with self._tree.directory(_STAGING) as fd:
                    os.fsync(fd)
                self._file.close()
        return {**self._handle, "size": self._size}

    def abort(self) -> None:
        """Close and unlink. What cannot be deleted now is found by `staged` later. Blocks."""
        self._error = StagingFailed(f"{self._place} was given up")
        with suppress(OSError):
            self._file.close()
        with suppress(OSError, ValueError), self._tree.directory(_STAGING) as fd:
            os.unlink(_staged_in(self._handle), dir_fd=fd)

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        if self._error is not None:
            raise self._error
        try:
            yield
        except OSError as error:
            failed = storage_error(error, doing, self._place)
            if isinstance(failed, StorageUnavailable):
                failed = StagingFailed(failed.message, **failed.facts)
            self._error = failed
            raise failed from error


def _by_folder(paths: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """Names by the folder they are in. Raises ValueError if one of the paths is not visible."""
    below: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        *folder, name = _paths.visible(path)
        below.setdefault(tuple(folder), []).append(name)
    return below


def _staged_in(handle: Mapping[str, Json]) -> str:
    """The name inside the staging directory, checked: a handle can come from a damaged journal."""
    path = _paths.text_in(handle, "staged")
    *folder, name = _paths.split(path)
    if tuple(folder) != _STAGING or delivery_of(name) is None:
        raise ValueError(f"{path!r} is not a staged file of a lake")
    return name


def _try_link(fd: int, name: str, base: str) -> None:
    """Raises StorageDenied for a file system without hard links."""
    try:
        os.link(name, f"{name}-link", src_dir_fd=fd, dst_dir_fd=fd)
        os.unlink(f"{name}-link", dir_fd=fd)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise StorageDenied(
            f"the file system of {base} has no hard links, without which a file cannot be "
            "published once and whole; choose another file system for `path`"
        ) from error


def _remove_forgotten(fd: int, new: str) -> None:
    """Delete what dead processes left of `check`, `create` and `remove`: files that live for a
    moment, but got their name an hour before the new one by the file system's own clock.
    """
    newest = os.stat(new, dir_fd=fd).st_mtime
    for name, is_directory in entries_of(fd):
        if is_directory or not name.startswith(("check-", "create-", "remove-")):
            continue
        with suppress(FileNotFoundError):
            stat = os.stat(name, dir_fd=fd, follow_symlinks=False)
            # What is to be removed was renamed, which leaves the time of its writing as it was.
            named = stat.st_ctime if name.startswith("remove-") else stat.st_mtime
            if named < newest - _FORGOTTEN_S:
                os.unlink(name, dir_fd=fd)


def _hide(fd: int, name: str, hidden: int) -> str:
    """Move a file among the staged ones, under a name of its own; "" when it is gone already."""
    found = size_of(fd, name, name)
    if found == -1:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    new = f"remove-{secrets.token_hex(8)}"
    try:
        os.rename(name, new, src_dir_fd=fd, dst_dir_fd=hidden)
    except FileNotFoundError:
        return ""
    return new


def _new_file(fd: int, name: str) -> FileIO:
    return FileIO(os.open(name, _NEW, 0o666, dir_fd=fd), "wb")


def _write_all(file: FileIO, data: Any) -> int:  # noqa: ANN401 - whatever has the buffer protocol
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        done += file.write(view[done:])
    return done
