"""Room on the disk and the age of rows, with a clock that is set by hand."""

from __future__ import annotations

from rayflume.channels._room import FREE_CHECK_MS, DiskRoom, PutTimes
from rayflume.clock import ManualClock
from rayflume.journal.disk import MemoryDisk


class Filling(MemoryDisk):
    """A disk with as much room as the test says; it counts how often it is asked."""

    free, asked = 100, 0

    def free_bytes(self) -> int:
        self.asked += 1
        return self.free


def test_puts_count_down_what_was_free_until_the_disk_is_asked_again() -> None:
    disk, clock = Filling(), ManualClock()
    room = DiskRoom(disk, clock, 10)
    assert room.bytes == 90
    disk.free = 1_000
    room.took(30)
    clock.advance(FREE_CHECK_MS - 1)
    assert (room.bytes, disk.asked) == (60, 1)
    clock.advance(1)
    assert (room.bytes, disk.asked) == (990, 2)


def test_room_that_was_given_back_is_seen_at_once() -> None:
    disk = Filling()
    room = DiskRoom(disk, ManualClock(), 0)
    room.took(room.bytes)
    assert room.bytes == 0
    room.look_again()
    assert room.bytes == 100


def test_trouble_names_the_option_and_is_over_when_there_is_room() -> None:
    disk = Filling()
    room = DiskRoom(disk, ManualClock(), 2**20)
    assert room.bytes == 0
    assert "minimum_required_space (1.0 MiB)" in room.trouble
    disk.free = 2**21
    room.look_again()
    assert (room.bytes, room.trouble) == (2**20, "")


def test_the_oldest_row_is_the_first_that_is_not_committed() -> None:
    times = PutTimes()
    assert times.oldest_age(50) == 0
    for stop, now_ms in ((4, 10), (8, 20), (9, 30)):
        times.put(stop, now_ms)
    assert times.oldest_age(50) == 40
    times.done(7)
    assert (times.oldest_age(50), len(times)) == (30, 2)
    times.done(8)
    assert (times.oldest_age(50), len(times)) == (20, 1)
    times.done(None)
    assert (times.oldest_age(50), len(times)) == (0, 0)
