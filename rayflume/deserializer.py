"""What makes rows of files that do not change, as Flume's event deserializers do.

A source of finished files has one: it names files and places, a deserializer reads there and says
how far it came. Places are offsets in the file, always between two records.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Protocol

from rayflume.component import Component
from rayflume.lines import TAIL_BYTES, Outcome, Rows, fingerprint
from rayflume.transcode import OnError


class Deserializer(Protocol):
    """Collects rows of files until a batch is full. One thread calls it.

    D1  `read` takes whole records of `[start, stop)` of a file behind what is there already, the
        first one however large it is. ROWS: it took some (or found that there is none up to
        `stop`). NO_ROOM: not one fits, and nothing was taken. CHANGED: the file is not what it was,
        for the bytes before `start` have not the fingerprint `expect`. Raises Unreadable and
        OSError. Blocks.
    D2  Where a record begins and ends depends on the file alone, not on where reading began.
    D3  `take` gives the rows and how many came of each piece, at most `rows_max` of them (0: all)
        as far as records can be parted, and is empty then. What was not given is read again.
        Raises Unreadable, with the row.
    """

    @property
    def room(self) -> int:
        """Bytes that still fit into this batch; 0 or less: it is full."""
        ...

    @property
    def pieces(self) -> int:
        """Of how many reads rows are waiting."""
        ...

    def clear(self) -> None: ...
    def read(self, fd: int, start: int, stop: int, expect: str) -> Outcome: ...
    def take(self, rows_max: int) -> Rows: ...


class Unreadable(Exception):
    """The file is not what the deserializer reads. `piece`, `offset`: where, if they are known."""

    def __init__(self, text: str, piece: int = -1, offset: int = -1) -> None:
        super().__init__(text)
        self.text = text
        self.piece = piece
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Settings:
    """What a source tells its deserializer. Sizes in bytes; `rows_max` 0: no bound."""

    batch_bytes: int
    rows_max: int = 0
    line_bytes_max: int = 2**24
    strip_return: bool = True
    charset: str = "utf-8"
    on_error: OnError = "keep"


class DeserializerOptions(Component):
    """Base of the options of a deserializer."""

    empty_is_row: ClassVar[bool] = True
    """Whether an empty file can be one row with an empty body."""

    def open(self, settings: Settings) -> Deserializer:
        """Raises OptionError for what does not go together."""
        raise NotImplementedError

    def taken_over(self, fd: int, offset: int) -> int:
        """The place that an offset stands for that Flume noted. Raises Unreadable, OSError."""
        return offset


def read_behind(fd: int, start: int, length: int, expect: str) -> tuple[bytes, bytes] | None:
    """The bytes before a place (up to TAIL_BYTES) and up to `length` behind it, in one call.

    None when the file is shorter, or the bytes before have another fingerprint. Raises OSError.
    """
    before = min(TAIL_BYTES, start)
    data = os.pread(fd, before + length, start - before)
    tail = data[:before]
    if len(tail) < before or (expect and fingerprint(tail) != expect):
        return None
    return tail, data[before:]


def tail_of(before: bytes, data: bytes) -> bytes:
    """The last TAIL_BYTES bytes of both together."""
    return (before + data[-TAIL_BYTES:])[-TAIL_BYTES:]
