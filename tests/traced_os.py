"""What LocalStorage asks of the operating system: traced, failed, and stopped at any call.

    os = TracedOs(monkeypatch)
    os.at = lambda call: os.die() if call.number == 7 and call.after else None

A call is known by its site, the functions of rayflume/storage/ that led to it and the operation:
`publish>_link:link`. After `die` every further call dies, too, as in a process that was killed: no
cleanup of it reaches the disk.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from typing import Any

import pytest

from rayflume.storage import _tree, local

CHANGES = frozenset({"create", "mkdir", "fsync", "link", "unlink", "write"})
"""What F2 and F6 are about: operations that change the disk, or make a change durable."""


class Killed(BaseException):
    """The process is dead from here on. Nothing in rayflume catches it."""


@dataclass(frozen=True)
class Call:
    """One call, before or `after` it was done. `directory` is where `name` is; `path` of an open
    file or directory is what its descriptor was opened as.
    """

    number: int
    site: str
    operation: str
    path: str
    after: bool = False
    data: bytes = b""
    source: str = ""


class TracedOs:
    """Stands in for `os` in rayflume/storage/local.py and _tree.py; all else of `os` is real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: Callable[[Call], None] = lambda _call: None
        self.calls: list[Call] = []
        self.dead = False
        self._paths: dict[int, str] = {}
        self._files: list[FileIO] = []
        self._lock = threading.Lock()
        monkeypatch.setattr(local, "os", self)
        monkeypatch.setattr(_tree, "os", self)
        monkeypatch.setattr(local, "FileIO", self._file_type())

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def die(self) -> None:
        self.dead = True
        raise Killed

    def revive(self) -> None:
        """Another process from here on."""
        self.dead, self.calls, self.at = False, [], lambda _call: None
        for file in self._files:  # as the kernel does for a dead process
            file.close()
        self._files.clear()

    def around(self, operation: str, path: str, do: Callable[[], Any], **facts: Any) -> Any:
        if self.dead:
            raise Killed
        with self._lock:
            call = Call(len(self.calls), _site(operation), operation, path, **facts)
            self.calls.append(call)
        self.at(call)
        done = do()
        self.at(Call(call.number, call.site, operation, path, True, call.data, call.source))
        return done

    def path_of(self, name: Any, dir_fd: int | None) -> str:
        if isinstance(name, int):
            return self._paths.get(name, "")
        return str(name) if dir_fd is None else f"{self._paths[dir_fd]}/{name}"

    def open(self, name: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        path = self.path_of(name, dir_fd)
        operation = "create" if flags & os.O_CREAT else "open"
        fd: int = self.around(operation, path, lambda: os.open(name, flags, mode, dir_fd=dir_fd))
        self._paths[fd] = path
        return fd

    def mkdir(self, name: str, *, dir_fd: int) -> None:
        self.around("mkdir", self.path_of(name, dir_fd), lambda: os.mkdir(name, dir_fd=dir_fd))

    def fsync(self, fd: int) -> None:
        self.around("fsync", self._paths[fd], lambda: os.fsync(fd))

    def link(self, source: str, name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        self.around(
            "link",
            self.path_of(name, dst_dir_fd),
            lambda: os.link(source, name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd),
            source=self.path_of(source, src_dir_fd),
        )

    def unlink(self, name: str, *, dir_fd: int) -> None:
        self.around("unlink", self.path_of(name, dir_fd), lambda: os.unlink(name, dir_fd=dir_fd))

    def scandir(self, fd: int) -> Any:
        return self.around("scandir", self._paths[fd], lambda: os.scandir(fd))

    def _file_type(self) -> type[FileIO]:
        traced = self

        class TracedFile(FileIO):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                traced._files.append(self)

            def write(self, data: Any) -> int:
                path = traced._paths[self.fileno()]
                written: int = traced.around(
                    "write", path, lambda: FileIO.write(self, data), data=bytes(data)
                )
                return written

        return TracedFile


def _site(operation: str) -> str:
    """The functions of the storage that led here, outermost first."""
    names: list[str] = []
    frame = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if "rayflume/storage/" in code.co_filename and not code.co_name.startswith("<"):
            names.append(code.co_name)
        if frame.f_back is None:
            break
        frame = frame.f_back
    return f"{'>'.join(reversed(names))}:{operation}"
