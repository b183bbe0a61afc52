"""No room on the disk: a segment that can't be begun, the reserve, and what is not kept then."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from disks import FaultyDisk
from fakes import deliver, journaled, manual, numbers, put_numbers, take_all

from rayflume.interfaces import PutOutcome
from rayflume.journal.disk import RESERVE_NAME, LocalDisk
from rayflume.journal.options import JournalOptions
from rayflume.journal.survey import survey

SMALL = JournalOptions(segment_bytes=1500)


@pytest.mark.parametrize("what", ["create", "write"])
@pytest.mark.parametrize("kept", [0, 1])
def test_f6_a_segment_that_can_not_be_begun_lets_the_one_before_grow_on(
    tmp_path: Path, what: str, kept: int
) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], SMALL)
    journal = channel._journal
    rows = 0
    while journal._offset < journal._roll_at:
        put_numbers(channel, rows, rows + 10)
        rows += 10
    disk.fail[what], disk.partial = errno.ENOSPC, 700
    disk.calls.clear()
    assert put_numbers(channel, rows, rows + 10).outcome is PutOutcome.STORED
    assert what not in disk.fail
    assert journal._active == "segment-0000000001.log" and not journal.failed
    # Should the new segment come back, it would say that the old one ends before these rows.
    calls = [call for call, _ in disk.calls]
    assert what == "create" or calls.index("unlink") < calls.index("sync_directory")
    assert calls.index("sync_directory") < len(calls) - 1 - calls[::-1].index("write")
    disk.power_failure(lambda count: count * kept)
    channel = journaled(disk, manual(tmp_path)[0], SMALL)
    assert channel.state().degraded == ()
    assert take_all(channel) == numbers(0, rows + 10)


def test_f6_the_next_try_begins_the_segment(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], SMALL)
    disk.fail["create"] = errno.ENOSPC
    delivered: list[bytes] = []
    for start in range(0, 100, 10):
        put_numbers(channel, start, start + 10)
        delivered += deliver(channel)
    assert delivered == numbers(0, 100)
    assert "create" not in disk.fail
    assert channel._journal._active != "segment-0000000001.log"
    assert disk.names() == [channel._journal._active]


def test_f6_what_is_damaged_is_not_kept_twice_where_room_is_short(tmp_path: Path) -> None:
    class Short(FaultyDisk):
        free = 2**40

        def free_bytes(self) -> int:
            return self.free

    disk = Short()
    channel = journaled(disk, manual(tmp_path)[0])
    put_numbers(channel, 0, 10)
    put_numbers(channel, 10, 20)
    channel.close()
    [name] = disk.names()
    disk.flip(name, bytes(disk.files[name].data).index(b'"rows":[0,10]'))
    disk.free = 300
    channel = journaled(disk, manual(tmp_path)[0])
    assert channel.state().degraded
    assert all(name.startswith("segment-") for name in disk.names())
    assert take_all(channel) == numbers(10, 20)


def test_the_reserve_is_made_once_and_is_no_part_of_the_journal(tmp_path: Path) -> None:
    size = 2**20
    disk = LocalDisk(tmp_path, size)
    channel = journaled(disk, manual(tmp_path)[0])
    put_numbers(channel, 0, 10)
    path = tmp_path / RESERVE_NAME
    before = path.stat()
    assert (before.st_size, before.st_mode & 0o777) == (size, 0o600)
    assert before.st_blocks * 512 >= size
    channel.close()
    again = LocalDisk(tmp_path, size)
    again.lock("test")
    assert path.stat().st_ino == before.st_ino
    again.close()
    assert survey(tmp_path).state == "whole"


def test_a_removed_file_that_was_read_does_not_keep_its_blocks(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    file = disk.create("f")
    file.write([b"abc"])
    file.close()
    assert disk.read("f", 0, 3).to_pybytes() == b"abc"
    disk.unlink("f")
    open_files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert not [name for name in open_files if name.startswith(str(tmp_path))]
    with pytest.raises(FileNotFoundError):
        disk.read("f", 0, 3)
