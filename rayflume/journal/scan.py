"""Reading a journal's segments from its disk: heads only, but for what must be checked whole."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager

from rayflume.journal import recovery
from rayflume.journal.recovery import Bad, Found, Recovered, Scan
from rayflume.journal.seam import Disk
from rayflume.journal.segment import (
    ALIGN,
    MAGIC,
    Head,
    Kind,
    Meta,
    body_of,
    decode_head,
    padded,
    peek,
)

_SCAN_BYTES = 4096
_SEARCH_BYTES = 2**20


@contextmanager
def many_heads() -> Iterator[None]:
    """While heads pile up by the 100,000 the interpreter does not look for garbage among them: it
    would go through all of them again and again, and find none (a third of the time of opening).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def recover(disk: Disk, names: list[str], known_ends: dict[str, int]) -> Recovered:
    """Read all segments and decide what they say (see recovery). Reads only; used by fsck too."""
    scans = [scan_segment(disk, name) for name in names]
    ends = recovery.trim(scans, known_ends)
    _put_aside(scans, recovery.strays(scans, ends))
    torn = [f for f in recovery.unproven(scans, ends) if not _body_whole(disk, f)]
    found = recovery.classify(scans, ends, torn)
    snapshots = [f for f in reversed(found.records) if f.head.kind is Kind.SNAPSHOT]
    whole = next((f for f in snapshots if _body_whole(disk, f)), None)
    for bad in snapshots[: snapshots.index(whole) if whole else None]:
        stop = bad.offset + bad.head.length
        found.damaged.append(Bad(bad.segment, bad.offset, stop, "a snapshot with a wrong checksum"))
    found.snapshot = whole
    found.prefix_lost = whole is None and bool(found.records) and found.records[0].head.seq > 1
    found.missing = recovery.missing_numbers(found)
    return found


def read_snapshot(disk: Disk, found: Found) -> Meta:
    """The state that a whole Snapshot record holds."""
    body = body_of(found.head, disk.read(found.segment, found.offset, found.head.length))
    assert body is not None, "checked by recover"
    state: Meta = json.loads(body.to_pybytes())
    return state


def scan_segment(disk: Disk, name: str) -> Scan:
    """All record heads of a segment, and the stretches between them that are none. Blocks."""
    scan = Scan(name, disk.size(name))
    offset = 0
    while offset < scan.size:
        head = _head_at(disk, name, offset)
        if head is not None and offset + head.body_offset + head.body_length <= scan.size:
            scan.found.append(Found(name, offset, head))
            offset += head.length
            continue
        # What a whole head says is longer than its segment hides nothing but its own rows.
        following = scan.size
        if head is None:
            following = _next_head(disk, name, offset + ALIGN, scan.size)
        scan.bad.append(Bad(name, offset, following, "no readable record"))
        offset = following
    return scan


def _put_aside(scans: list[Scan], strays: list[Found]) -> None:
    """What lies in the wrong place is no readable record of this one."""
    gone = {(stray.segment, stray.offset) for stray in strays}
    for scan in scans if gone else ():
        scan.found = [f for f in scan.found if (f.segment, f.offset) not in gone]
    by_name = {scan.segment: scan for scan in scans}
    for stray in strays:
        stop = stray.offset + stray.head.length
        bad = Bad(stray.segment, stray.offset, stop, "a record of another place")
        by_name[stray.segment].bad.append(bad)


def _head_at(disk: Disk, name: str, offset: int) -> Head | None:
    data = disk.read(name, offset, _SCAN_BYTES)
    sizes = peek(data)
    if sizes is not None and sizes[0] > len(data):
        data = disk.read(name, offset, sizes[0])
    return decode_head(data)


def _next_head(disk: Disk, name: str, offset: int, size: int) -> int:
    """Where the next whole head begins at or behind `offset`; `size` if there is none."""
    while offset < size:
        chunk: bytes = disk.read(name, offset, _SEARCH_BYTES).to_pybytes()
        at = chunk.find(MAGIC)
        while at >= 0:
            aligned = (offset + at) % ALIGN == 0
            if aligned and _head_at(disk, name, offset + at) is not None:
                return offset + at
            at = chunk.find(MAGIC, at + 1)
        if not chunk:
            return size
        offset += padded(len(chunk))
    return size


def _body_whole(disk: Disk, found: Found) -> bool:
    data = disk.read(found.segment, found.offset, found.head.length)
    return body_of(found.head, data) is not None
