"""The byte seam of the journal: the only way to its files. Errors are OSError."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa


class AppendFile(Protocol):
    """A file that only grows. Errors are OSError."""

    def write(self, buffers: Sequence[pa.Buffer | bytes | memoryview]) -> None:
        """Append all buffers in order, in as few calls as can be; not durable before `sync`."""
        ...

    def sync(self) -> None: ...
    def close(self) -> None: ...


class Disk(Protocol):
    """One local directory, the byte seam of the journal: the only way to its files. Errors are
    OSError.
    """

    def lock(self, holder: str) -> None:
        """Take the directory for life. JournalLocked names who has it."""
        ...

    def names(self) -> list[str]: ...
    def size(self, name: str) -> int: ...
    def read(self, name: str, offset: int, length: int) -> pa.Buffer:
        """Up to `length` bytes; fewer only at the end of the file."""
        ...

    def create(self, name: str) -> AppendFile:
        """A new file, 0600; FileExistsError if there is one. Durable after `sync_directory`."""
        ...

    def sync(self, name: str, start: int = 0) -> None:
        """Make the bytes from `start` on durable, whoever wrote them, also those whose sync failed.

        After a failed fsync the system may take bytes for clean that never reached the disk, so
        they are written once more.
        """
        ...

    def unlink(self, name: str) -> None: ...
    def sync_directory(self) -> None: ...
    def free_bytes(self) -> int: ...
    def path(self) -> Path | None:
        """The real directory, for readers on this host; None when there is none."""
        ...

    def close(self) -> None: ...
