"""Where Flume stood in its files: read once, by a source whose channels do not know them yet.

The Taildir source keeps a JSON array of `{"inode", "pos", "file"}`, the spooling directory source
an Avro container whose metadata names the file and whose last record is the offset. Both are only
read. Source: Flume 1.11, `TaildirSource` and `DurablePositionTracker`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rayflume.avro_files import NotAvro, decompressed, read_block, read_header
from rayflume.sources._copies import originals
from rayflume.sources._files import open_file
from rayflume.sources._stream import printable

SPOOL_META = ".flumespool-main.meta"
_log = logging.getLogger("rayflume.sources.taildir")
_POSITIONS_BYTES_MAX = 256 * 2**20


class PositionsDamaged(Exception):
    """A file of positions cannot be used; the text says why and what to do."""


@dataclass(frozen=True)
class TailPosition:
    """Where Flume stood in a growing file."""

    inode: int
    place: int
    path: str

    def fits(self, path: str, fd: int, size: int) -> bool:
        """Whether an open file of the same inode is this one, under its name or under one that it
        was rotated to; then a line must end at the place, for inodes are used again.

        Raises OSError.
        """
        here, there = Path(path), Path(self.path)
        if self.place > size or not _is_same_directory(here.parent, there.parent):
            return False
        if here.name == there.name:
            return True
        ends_line = self.place in (0, size) or os.pread(fd, 1, self.place - 1) == b"\n"
        return ends_line and there.name in originals(here.name)

    def shrunk(self, path: str, size: int) -> bool:
        """Whether the file of that name was cut or written anew since Flume read it."""
        here, there = Path(path), Path(self.path)
        return (
            self.place > size
            and here.name == there.name
            and _is_same_directory(here.parent, there.parent)
        )


def _is_same_directory(one: Path, other: Path) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


TailPositions = Mapping[int, Sequence[TailPosition]]
"""By inode; files on two devices may have the same."""


def place_of(positions: Sequence[TailPosition], path: str, fd: int, size: int) -> int | None:
    """Where Flume stood in an open file, of the entries of its inode; None: nowhere in it.

    A file that is shorter now is read from its beginning, as in Flume. Raises OSError.
    """
    for position in positions:
        if position.shrunk(path, size):
            shown, stood = printable(path), position.place
            _log.warning(
                "%r has %d bytes and Flume stood at %d: it is read from its beginning",
                shown, size, stood,
            )  # fmt: skip
            return 0
        if position.fits(path, fd, size):
            _log.info("%r goes on at byte %d, where Flume stood", printable(path), position.place)
            return position.place
    return None


def tail_positions(path: str) -> TailPositions:
    """The entries of a position file; none if there is no file, or an empty one.

    Raises PositionsDamaged.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_POSITIONS_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise PositionsDamaged(_broken(path, error.strerror or str(error))) from None
    if not data.strip():
        return {}
    found: dict[int, list[TailPosition]] = {}
    try:
        for entry in json.loads(data[:_POSITIONS_BYTES_MAX]):
            position = TailPosition(
                _whole(entry["inode"]), _whole(entry["pos"]), str(entry["file"])
            )
            found.setdefault(position.inode, []).append(position)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PositionsDamaged(
            _broken(path, 'it is no JSON array of {"inode", "pos", "file"}')
        ) from None
    return found


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(value)
    return value


def _broken(path: str, why: str) -> str:
    return (
        f"Flume's positions {printable(path)!r} cannot be read: {why}. Restore the file, or move "
        "it away to read all files from where skip_to_end says"
    )


@dataclass(frozen=True)
class SpoolPosition:
    """Where Flume stood in a file of a spool directory, and when it noted that."""

    path: str
    place: int
    noted_ns: int


def spool_position(tracker: str) -> SpoolPosition | None:
    """What Flume noted in the tracker directory; None if it was not half-way through any file.

    Raises PositionsDamaged.
    """
    path = f"{tracker}/{SPOOL_META}"
    try:
        fd, status = open_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PositionsDamaged(_spool_broken(path, error.strerror or str(error))) from None
    try:
        if status.st_size == 0:
            return None
        header = read_header(fd, status.st_size)
        name = header.metadata.get("file")
        if name is None:
            raise NotAvro("it names no file")
        place, offset = header.end, 0
        while place < status.st_size:
            block = read_block(fd, header, place, status.st_size)
            offset = _longs(decompressed(header, block), block.count, offset)
            place = block.end
    except NotAvro as error:
        raise PositionsDamaged(_spool_broken(path, str(error))) from None
    finally:
        os.close(fd)
    return SpoolPosition(os.fsdecode(name), offset, max(status.st_mtime_ns, status.st_ctime_ns))


def _longs(data: bytes, count: int, last: int) -> int:
    """The last of `count` zigzag numbers."""
    at = 0
    for _ in range(count):
        value = shift = 0
        while True:
            if at == len(data) or shift > 63:
                raise NotAvro("its records are no offsets")
            byte, at = data[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        last = (value >> 1) ^ -(value & 1)
        if last < 0:
            raise NotAvro("its records are no offsets")
    return last


def _spool_broken(path: str, why: str) -> str:
    return (
        f"Flume's position {printable(path)!r} cannot be read: {why}. Restore the file, or move it "
        "away to read all files from their beginning"
    )


def first_of(paths: Sequence[str], path: str) -> int:
    """Index of the path that means the same file, by name or through symbolic links; -1: none."""
    if path in paths:
        return paths.index(path)
    real = os.path.realpath(path)
    return next((i for i, one in enumerate(paths) if os.path.realpath(one) == real), -1)
