"""Finished files of a directory: which there are, and what becomes of one that was taken in."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rayflume.errors import SourceFailed
from rayflume.regexes import JavaRegex
from rayflume.sources._files import key_of
from rayflume.sources._stream import FileKey, printable

Order = Literal["oldest", "youngest", "random"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as it was when the directory was listed."""

    path: str
    key: FileKey
    size: int
    mtime_ns: int

    @staticmethod
    def of(path: str, status: os.stat_result) -> Listed:
        return Listed(path, key_of(status), status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Spool:
    """A directory of files that do not change, and how taken ones are marked.

    `tracker`: the directory of markers; None when a taken file is renamed or, with `delete`,
    deleted.
    """

    part: str
    directory: str
    suffix: str
    include: JavaRegex
    ignore: JavaRegex
    recursive: bool
    tracker: str | None
    delete: bool

    def files(self, order: Order) -> list[Listed]:
        """The files to read, in order. Raises SourceFailed if the directory cannot be listed.

        "random" is the order of the listing, as in Flume. Blocks.
        """
        try:
            found = list(self._walk(self.directory))
        except OSError as error:
            raise SourceFailed(
                f"{self.part}: cannot list {self.directory!r}: {error.strerror}; the directory "
                "must exist and be readable"
            ) from error
        if order == "oldest":
            found.sort(key=lambda file: (file.mtime_ns, file.path))
        elif order == "youngest":
            found.sort(key=lambda file: (-file.mtime_ns, file.path))
        return found

    def _walk(self, directory: str, above: tuple[FileKey, ...] = ()) -> Iterator[Listed]:
        """`above`: the directories that lead here. A link to one of them is not followed, or its
        files would be there again under other names.
        """
        try:
            key = key_of(os.stat(directory))  # noqa: PTH116
            entries = list(os.scandir(directory))
        except (FileNotFoundError, NotADirectoryError):
            if not above:
                raise
            return  # a sub-directory that was just removed
        if key in above:
            return
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    if self.recursive and not self.ignore.matches(name):
                        yield from self._walk(entry.path, (*above, key))
                    continue
                status = entry.stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISREG(status.st_mode) and self._is_wanted(name, entry.path):
                yield Listed.of(entry.path, status)

    def _is_wanted(self, name: str, path: str) -> bool:
        if self.ignore.matches(name) or not self.include.matches(name):
            return False
        return not self.is_completed(path)

    def _marker(self, path: str) -> str:
        relative = os.path.relpath(path, self.directory)
        return f"{self.tracker}/{relative}{self.suffix}"

    def is_completed(self, path: str) -> bool:
        """Whether a file under this name was completed."""
        if path.endswith(self.suffix):
            return True
        return self.tracker is not None and os.path.lexists(self._marker(path))

    def complete(self, file: Listed) -> str:
        """Delete, rename or mark a file that is taken; the directory that must be synced then.

        Raises SourceFailed if the file was changed after it was opened, or the new name is taken.
        A file that is gone already counts as completed. Blocks.
        """
        try:
            status = os.stat(file.path)  # noqa: PTH116
        except FileNotFoundError:
            return str(Path(file.path).parent)
        except OSError as error:
            raise self._failed(file.path, "cannot be looked at", error) from error
        if Listed.of(file.path, status) != file:
            raise changed(self.part, file.path)
        try:
            return self._complete(file.path)
        except OSError as error:
            raise self._failed(file.path, "was read, but cannot be completed", error) from error

    def _complete(self, path: str) -> str:
        place = str(Path(path).parent)
        if self.delete:
            Path(path).unlink()
            return place
        if self.tracker is None:
            target = path + self.suffix
            if os.path.lexists(target):
                raise SourceFailed(
                    f"{self.part}: {printable(path)!r} was read, but {printable(target)!r} exists; "
                    "names must not be used twice: move one of the two away"
                )
            Path(path).rename(target)
            return place
        marker = Path(self._marker(path))
        marker.parent.mkdir(parents=True, exist_ok=True)
        try:
            marker.open("xb").close()
        except FileExistsError as error:
            raise SourceFailed(
                f"{self.part}: {printable(path)!r} was read, but its marker "
                f"{printable(str(marker))!r} exists; remove the marker or the file"
            ) from error
        return str(marker.parent)

    def _failed(self, path: str, what: str, error: OSError) -> SourceFailed:
        return SourceFailed(f"{self.part}: {printable(path)!r} {what}: {error.strerror}")


def changed(part: str, path: str) -> SourceFailed:
    return SourceFailed(
        f"{part}: {printable(path)!r} changed while it was read; files must not change after they "
        "were placed in the directory: write them elsewhere and move them in"
    )


def sync_directory(path: str) -> None:
    """Make renames and deletions in a directory durable. A directory that is gone needs none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
