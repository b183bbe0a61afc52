"""A small journal cut at every byte, and with every single byte changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from disks import FaultyDisk
from fakes import (
    bodies_of,
    journaled,
    manifest_of,
    manual,
    numbers,
    put_numbers,
    request,
    take_rows,
)

from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.errors import JournalDamaged
from rayflume.interfaces import RowRange
from rayflume.journal.options import JournalOptions
from rayflume.journal.reader import RowsUnreadable
from rayflume.journal.recovery import Found
from rayflume.journal.scan import scan_segment
from rayflume.journal.segment import HEAD, Kind

ROWS = 10
COMMITTED, PREPARED = (0, 3), (3, 5)
"""Of the rows 0 to 10 of one stream; the others wait."""
WAITING = set(range(5, ROWS))


def small_journal(directory: Path, reopened: bool) -> FaultyDisk:
    """Three puts of 3, 2 and 5 rows: one committed, one prepared, one waiting."""
    disk = FaultyDisk()
    channel = journaled(disk, manual(directory)[0])
    put_numbers(channel, 0, 3)
    first = take_rows(channel).taken.delivery
    put_numbers(channel, 3, 5)
    second = channel.take("lake/1/a", "", 1, 0).delivery
    channel.prepare(manifest_of(second, 2), "lake/1/a")
    if reopened:
        channel.release(first)
        channel.close()
        channel = journaled(disk, manual(directory)[0])
        first = channel.take("lake/0/a", "", 1, 0).delivery
    channel.prepare(manifest_of(first, 3), "lake/0/a")
    put_numbers(channel, 5, 8)
    put_numbers(channel, 8, ROWS)
    channel.commit(first)
    channel.close()
    return disk


@dataclass
class Served:
    """What a journal serves after damage: position -> body, positions prepared, and the notes."""

    rows: dict[int, bytes]
    prepared: list[RowRange]
    named: bool
    counted: int
    next: int


def serve(disk: FaultyDisk, directory: Path) -> Served:
    """Open, adopt and read all, as a sink does."""
    context, _ = manual(directory)
    channel = journaled(disk, context)
    prepared = [span for _, ranges in channel._journal.ledger.prepared() for span in ranges]
    rows = dict(read_all(channel))
    journal = channel._journal
    named = bool(journal.torn or channel.state().degraded)
    counted = int(context.metrics.snapshot().get("EventDamagedCount", 0))
    position = channel.positions("s").get("s")
    return Served(rows, prepared, named, counted, position.next if position else 0)


def read_all(channel: JournaledChannel) -> Iterator[tuple[int, bytes]]:
    while refs := channel.take("lake/0/a", "", 1, 0).refs:
        for ref in refs:
            try:
                yield from enumerate(bodies_of(channel, [ref]), ref.position)
            except RowsUnreadable as error:
                channel.damaged(ref, str(error))


def records_of(disk: FaultyDisk) -> list[Found]:
    return [found for name in disk.names() for found in scan_segment(disk, name).found]


@pytest.mark.parametrize("reopened", [False, True])
def test_every_byte_changed_is_served_around_and_named(tmp_path: Path, reopened: bool) -> None:
    whole = small_journal(tmp_path, reopened)
    last = whole.names()[-1]
    for found in records_of(whole):
        silent = silent_bytes(found, newest=found.segment == last)
        for at in range(found.head.length):
            disk = copy.deepcopy(whole)
            disk.flip(found.segment, found.offset + at)
            served = serve(disk, tmp_path)
            check_served(served, found, at not in silent)


def silent_bytes(found: Found, newest: bool) -> set[int]:
    """Offsets of padding, and of a body that nobody needs any more."""
    head = found.head
    silent = set(range(HEAD.size + head.meta_length, head.body_offset))
    silent |= set(range(head.body_offset + head.body_length, head.length))
    finished = head.kind is Kind.PUT and head.meta["rows"][0] not in WAITING
    if finished or (head.kind is Kind.SNAPSHOT and not newest):
        silent |= set(range(head.body_offset, head.length))
    return silent


def check_served(served: Served, hurt: Found, hit: bool) -> None:
    what = (hurt.segment, hurt.offset, hurt.head.kind)
    for position, body in served.rows.items():
        assert body == str(position).encode(), what
    prepared = {p for start, stop in served.prepared for p in range(start, stop)}
    assert not prepared & set(served.rows), what
    lost: set[int] = set()
    if hit and hurt.head.kind is Kind.PUT:
        lost = set(range(*hurt.head.meta["rows"]))
    assert served.rows.keys() | prepared >= (WAITING | set(range(*PREPARED))) - lost, what
    assert served.named == hit, what
    # A damaged Put whose rows are delivered or prepared loses no row.
    assert served.counted == len(lost & WAITING), what


@pytest.mark.parametrize("reopened", [False, True])
def test_cut_at_every_byte_serves_every_whole_record_before(tmp_path: Path, reopened: bool) -> None:
    whole = small_journal(tmp_path, reopened)
    records = records_of(whole)
    last = whole.names()[-1]
    for size in range(len(whole.files[last].data)):
        disk = copy.deepcopy(whole)
        disk.cut(last, size)
        kept = [
            found
            for found in records
            if found.segment != last
            or found.offset + found.head.body_offset + found.head.body_length <= size
        ]
        acked = {p for f in kept if f.head.kind is Kind.PUT for p in range(*f.head.meta["rows"])}
        done = {
            p
            for f in kept
            if f.head.kind is Kind.COMMITTED
            for span in f.head.meta["ranges"]
            for p in range(*span)
        }
        served = serve(disk, tmp_path)
        prepared = {p for start, stop in served.prepared for p in range(start, stop)}
        assert served.rows.keys() | prepared == acked - done, size
        assert not served.rows.keys() & prepared, size
        assert all(body == str(p).encode() for p, body in served.rows.items())
        assert served.next == max((p + 1 for p in acked), default=0)
        assert served.counted == 0


def test_strict_refuses_a_damaged_journal_and_lets_go_of_it(tmp_path: Path) -> None:
    disk = small_journal(tmp_path, False)
    put = next(f for f in records_of(disk) if f.head.kind is Kind.PUT)
    disk.flip(put.segment, put.offset + 5)
    with pytest.raises(JournalDamaged, match=r"strict is set.*fsck"):
        journaled(disk, manual(tmp_path)[0], JournalOptions(strict=True))
    assert disk.names() == [put.segment]
    assert journaled(disk, manual(tmp_path)[0]).state().degraded


def test_strict_takes_a_torn_tail(tmp_path: Path) -> None:
    disk = small_journal(tmp_path, False)
    [name] = disk.names()
    disk.replace(name, bytes(disk.files[name].data) + b"RFJ1 and no more")
    channel = journaled(disk, manual(tmp_path)[0], JournalOptions(strict=True))
    assert channel.state().degraded == ()
    size = len(disk.files[name].data)
    place = f"{name}:{size - 16}-{size}"
    assert channel._journal.torn == [f"{place}: torn tail: it was never synced"]


def test_damaged_bytes_are_kept_beside_the_journal(tmp_path: Path) -> None:
    disk = small_journal(tmp_path, False)
    put = [f for f in records_of(disk) if f.head.kind is Kind.PUT][-2]
    disk.flip(put.segment, put.offset + 5)
    stretch = bytes(disk.files[put.segment].data[put.offset : put.offset + put.head.length])
    journaled(disk, manual(tmp_path)[0])
    kept = disk.files[f"damaged-{put.segment}-{put.offset}.bin"]
    assert bytes(kept.platter) == stretch


def test_a_middle_segment_of_zeros_is_named_and_not_removed_unseen(tmp_path: Path) -> None:
    disk = FaultyDisk()
    for start in (0, 3, 6):
        channel = journaled(disk, manual(tmp_path)[0])
        put_numbers(channel, start, start + 3)
        channel.close()
    middle = disk.names()[1]
    size = len(disk.files[middle].data)
    disk.replace(middle, bytes(size))
    context, _ = manual(tmp_path)
    channel = journaled(disk, context)
    assert channel.state().degraded == (f"{middle}:0-{size}: no readable record",)
    assert [body for _, body in read_all(channel)] == numbers(0, 3) + numbers(6, 9)
    assert context.metrics.snapshot()["EventDamagedCount"] == 3


def test_a_missing_middle_segment_is_named_when_no_later_snapshot_is_whole(tmp_path: Path) -> None:
    disk = FaultyDisk()
    for start in (0, 3, 6):
        channel = journaled(disk, manual(tmp_path)[0])
        put_numbers(channel, start, start + 3)
        channel.close()
    _, middle, last = disk.names()
    del disk.files[middle]
    snapshot = next(f for f in scan_segment(disk, last).found if f.head.kind is Kind.SNAPSHOT)
    disk.cut(last, snapshot.offset)
    channel = journaled(disk, manual(tmp_path)[0])
    [note] = channel.state().degraded
    assert "records are missing between numbers" in note
    assert [body for _, body in read_all(channel)] == numbers(0, 3)


def test_a_tail_shorter_than_the_alignment_does_not_hang_the_search(tmp_path: Path) -> None:
    for size in range(40, 70):
        disk = FaultyDisk()
        journaled(disk, manual(tmp_path)[0]).close()
        [name] = disk.names()
        disk.replace(name, bytes(disk.files[name].data) + b"x" * size)
        assert journaled(disk, manual(tmp_path)[0]).state().degraded == ()


def test_a_journal_inside_a_torn_body_is_not_taken_for_records(tmp_path: Path) -> None:
    evil = small_journal(tmp_path, False)
    inner = bytes(next(iter(evil.files.values())).data)
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0])
    put_numbers(channel, 0, 3, "good")
    channel.put(request([inner], [Extent("evil", 0, 1, 1)]))
    channel.close()
    [name] = disk.names()
    put = [f for f in scan_segment(disk, name).found if f.head.kind is Kind.PUT][-1]
    disk.cut(name, put.offset + put.head.length - 256)
    channel = journaled(disk, manual(tmp_path)[0])
    assert channel.state().degraded == ()
    assert set(channel.positions("")) == {"good"}
    assert [body for _, body in read_all(channel)] == numbers(0, 3)
