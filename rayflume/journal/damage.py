"""What is done with a damaged stretch of a segment: named, and its bytes kept for whoever looks."""

from __future__ import annotations

import contextlib
import errno
import logging

from rayflume.journal.recovery import Bad, Recovered
from rayflume.journal.seam import Disk

log = logging.getLogger(__name__)

KEPT_BYTES_MAX = 64 * 2**20


def place(bad: Bad) -> str:
    """Where it is: segment and bytes."""
    return f"{bad.segment}:{bad.start}-{bad.stop}: "


def note(bad: Bad) -> str:
    """Where it is and what is wrong with it."""
    return place(bad) + bad.reason


def notes(found: Recovered) -> list[str]:
    """All that is wrong with what an opening read."""
    said = [note(bad) for bad in found.damaged]
    if found.prefix_lost:
        said.append("no whole snapshot: positions of idle streams may be forgotten")
    elif found.missing and not found.damaged:
        first, last = found.missing[0][0], found.missing[-1][1] - 1
        said.append(f"records are missing between numbers {first} and {last}")
    return said


def keep(disk: Disk, bad: Bad) -> None:
    """Copy the bytes into a file beside the segment; a full or failing disk doesn't stop us."""
    name = f"damaged-{bad.segment}-{bad.start}.bin"
    try:
        if name in disk.names():
            return
        length = min(bad.stop - bad.start, KEPT_BYTES_MAX)
        if disk.free_bytes() < 2 * length:
            # What is left, and the disk's reserve, is for the records that free some.
            raise OSError(errno.ENOSPC, "not enough room on the disk")
        data = disk.read(bad.segment, bad.start, length)
        with contextlib.closing(disk.create(name)) as file:
            file.write([data])
            file.sync()
    except OSError as error:
        log.warning("%s could not be kept in %s: %s", note(bad), name, error)
