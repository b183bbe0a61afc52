"""Museum, sources: rotated files read twice or not at all, requests that count twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from channel_model import Flow

from rayflume.component import Context, lookup
from rayflume.interfaces import PollableSource


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[Flow]:
    def build(context: Context) -> PollableSource:
        options = {"paths": [str(tmp_path / "*.log*")]}
        source: PollableSource = lookup("source", "taildir").model_validate(options).build(context)
        return source

    flow = Flow(build, tmp_path)
    yield flow
    flow.source.stop()


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))


def test_flume_3233_a_renamed_file_is_not_read_again(tail: Flow, tmp_path: Path) -> None:
    """Reference: FLUME-3233, FLUME-3342 (apache/logging-flume#336, #291). Taildir knew a file by
    inode and path, so that a rotated file that the pattern still matched was collected a second
    time. rayflume knows it by device, inode and content, whatever its name is.
    """
    append(tmp_path / "a.log", b"1", b"2")
    tail.settle()
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    append(tmp_path / "a.log.1", b"3")
    append(tmp_path / "a.log", b"4")
    tail.settle()
    assert sorted(tail.channel.arrived) == [b"1", b"2", b"3", b"4"]


def test_flume_3320_a_rotation_between_two_looks_resets_no_position(
    tail: Flow, tmp_path: Path
) -> None:
    """Reference: FLUME-3320 (apache/logging-flume#297, #368). Inode and size were asked for at
    different moments; a rotation in between made the size look too small and the position was set
    to 0. rayflume asks one descriptor for both, and checks the bytes in front of the place it reads
    at.
    """
    append(tmp_path / "a.log", *[b"old %d" % n for n in range(100)])
    tail.settle()
    for turn in range(5):
        (tmp_path / "a.log").rename(tmp_path / f"a.log.{turn}")
        append(tmp_path / "a.log", b"new %d" % turn)
        tail.clock.advance(50)
        tail.step()
    tail.settle()
    assert len(tail.channel.arrived) == 105 == len(set(tail.channel.arrived))


def test_vector_5833_files_with_the_same_beginning_are_different_files(
    tail: Flow, tmp_path: Path
) -> None:
    """Reference: vectordotdev/vector#5833, #643. Files were told apart by a checksum of their first
    bytes, so that of several with the same heading only one was read. rayflume tells them apart by
    device and inode, and the content only confirms it.
    """
    heading = b"time,level,message " + b"-" * 300
    for name in ("a.log", "b.log", "c.log"):
        append(tmp_path / name, heading, name.encode())
    tail.settle()
    assert sorted(tail.channel.arrived) == sorted([heading] * 3 + [b"a.log", b"b.log", b"c.log"])


def test_vector_25079_a_reused_inode_does_not_skip_a_new_file(tail: Flow, tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#25079. A new file that got the inode of a deleted one was read
    from the old one's offset, and its beginning was skipped. rayflume compares the last 1 KiB in
    front of the place; other bytes there are another incarnation, read from its beginning.
    """
    log = tmp_path / "a.log"
    append(log, *[b"before %d" % n for n in range(50)])
    tail.settle()
    # The same inode with other content: longer than what was read of the old one.
    log.write_bytes(b"".join(b"after! %d\n" % n for n in range(80)))
    tail.settle()
    assert [row for row in tail.channel.arrived if row.startswith(b"after!")] == [
        b"after! %d" % n for n in range(80)
    ]
    assert len(tail.channel.arrived) == 130


def test_vector_10025_no_line_loses_its_beginning(tail: Flow, tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#10025. Of a file that was seen while its first line was being
    written the first characters were discarded now and then. rayflume reads whole lines only, and a
    line that is not ended yet is read again from its beginning.
    """
    line = b"SchemaVersion,TimeInMicro,TimeOfDay\n"
    with (tmp_path / "a.log").open("ab", buffering=0) as file:
        for place in range(len(line)):
            file.write(line[place : place + 1])
            tail.clock.advance(300)
            tail.step()
    tail.settle()
    assert tail.channel.arrived == [line[:-1]]


def test_flume_2777_a_moved_file_that_comes_back_goes_on(tail: Flow, tmp_path: Path) -> None:
    """Reference: FLUME-2777, FLUME-3216 (apache/logging-flume#196). Moving a file made Flume read
    all of it again. rayflume finds the inode again under its other name, also after a restart.
    """
    append(tmp_path / "a.log", b"1", b"2")
    tail.settle()
    (tmp_path / "a.log").rename(tmp_path / "moved")
    tail.restart()
    tail.settle()
    append(tmp_path / "moved", b"3")
    tail.settle()
    (tmp_path / "moved").rename(tmp_path / "b.log")
    tail.settle()
    assert tail.channel.arrived == [b"1", b"2", b"3"]
