"""Museum, buffers: what disk buffers of others lost, or could not be opened after."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from fakes import numbers, put_numbers, take_all
from museum_lab import Lab, numbered

from rayflume.channels._journaled import JournaledChannel
from rayflume.cli import run
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.errors import ChannelClosed
from rayflume.interfaces import PutOutcome
from rayflume.journal.reader import RowsUnreadable, decode_rows
from rayflume.metrics import Metrics


def test_vector_25570_a_data_file_that_the_reader_wants_is_gone(tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#25570. A crash between the unlink of a finished data file and
    the fsync of the ledger made the buffer wait for a file that never came, in a crash loop.
    rayflume opens with whatever segments are left, counts what is missing and serves the rest.
    """
    lab = Lab(tmp_path, segment_bytes=2_000)
    for n in range(0, 100, 5):
        lab.put(*numbered(range(n, n + 5)))
    first, *_, last = [name for name in lab.disk.names() if lab.disk.size(name) > 2_000]
    assert first != last
    del lab.disk.files[first], lab.disk.durable[first]
    lab.crash()
    lab.deliver()
    found = lab.rows()
    assert found == list(range(found[0], 100)) and 0 < found[0] < 100
    assert lab.channel.state().degraded
    assert lab.context.metrics.snapshot()["EventDamagedCount"] == found[0]


def test_vector_17644_damage_in_the_middle_does_not_loop_for_ever(tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#17644. After a corrupted record the reader of the disk buffer
    went round in an infinite loop until the buffer was deleted by hand. rayflume sets the damaged
    record aside, names and counts it, and delivers every other row.
    """
    lab = Lab(tmp_path)
    for n in range(20):
        lab.put({"n": n})
    [name] = lab.disk.names()
    lab.disk.flip(name, bytes(lab.disk.files[name].data).index(b'{"n": 10}'))
    lab.crash()
    lab.deliver()
    assert lab.rows() == [n for n in range(20) if n != 10]
    assert len(lab.channel.state().degraded) == 1
    assert any(found.startswith("damaged-") for found in lab.disk.names())


def test_vector_18336_a_record_that_cannot_be_decoded_does_not_block_the_rest(
    tmp_path: Path,
) -> None:
    """Reference: vectordotdev/vector#18336. A record that could not be deserialized stopped all
    reading, while the process stayed up and looked healthy. In rayflume a reader reports such rows
    to the channel, which counts them as lost and gives out all that is behind them.
    """
    lab = Lab(tmp_path)
    for n in range(6):
        lab.put({"n": n})
    [name] = lab.disk.names()
    lab.disk.flip(name, bytes(lab.disk.files[name].data).index(b'{"n": 2}'))
    taken = lab.channel.take("lake/0/a", "", 1, 0)
    reported = 0
    while taken.refs:
        for ref in taken.refs:
            try:
                decode_rows(lab.channel.fetch([ref])[0], ref)
            except RowsUnreadable as error:
                lab.channel.damaged(ref, str(error))
                reported += 1
        taken = lab.channel.take("lake/0/a", taken.delivery, 2**30, 0)
    lab.channel.release(taken.delivery)
    lab.deliver()
    assert reported == 1
    assert lab.rows() == [0, 1, 3, 4, 5]


def test_vector_19379_room_comes_back_after_damage(tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#19379. After a reader error the buffer only kept growing,
    though its events had been sent. In rayflume damaged rows count as done, so that a channel that
    is drained is empty again, has all its room and removes its old segments.
    """
    lab = Lab(tmp_path, segment_bytes=2_000, bytes=20_000)
    for n in range(20):
        lab.put({"n": n})
    name = lab.disk.names()[0]
    lab.disk.flip(name, bytes(lab.disk.files[name].data).index(b'{"n": '))
    lab.crash()
    lab.deliver()
    state = lab.channel.state()
    assert (state.waiting, state.leased, state.prepared, state.bytes) == (0, 0, 0, 0)
    assert state.credit > 20_000
    lab.put(*numbered(range(100, 103)))
    lab.crash()
    assert lab.channel.state().waiting == 3
    assert len([n for n in lab.disk.names() if not n.startswith("damaged-")]) <= 3


def test_vector_20561_the_buffer_can_be_checked_before_it_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reference: vectordotdev/vector#20561 and #19154. There was no way to see whether a buffer was
    damaged but to start and fail, and the advice was to delete it. `rayflume fsck` reads a journal
    without opening it for writing and tells the damage with its place.
    """
    part = lookup("channel", "file").model_validate({"directory": "wal"})
    channel = part.build(Context("a", "wal", ManualClock(), Metrics(), tmp_path))
    assert isinstance(channel, JournaledChannel)
    channel.open()
    put_numbers(channel, 0, 50)
    put_numbers(channel, 50, 60)
    channel.close()
    [segment] = (tmp_path / "wal").glob("segment-*.log")
    data = bytearray(segment.read_bytes())
    place = data.index(b"0123456789101112")
    data[place] ^= 0xFF
    segment.write_bytes(data)
    before = sorted(path.name for path in (tmp_path / "wal").iterdir())
    run(["fsck", str(tmp_path / "wal"), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert segment.name in json.dumps(report["damaged"])
    assert sorted(path.name for path in (tmp_path / "wal").iterdir()) == before


def test_vector_22489_acknowledged_means_on_the_disk(tmp_path: Path) -> None:
    """Reference: vectordotdev/vector#22489 and #8540. Sources were acknowledged when an event was
    in the buffer's memory, so a power failure lost what clients believed safe. In rayflume a put is
    answered only after the fsync that covers it: what is answered survives a power failure.
    """
    lab = Lab(tmp_path)
    synced: list[int] = []
    lab.disk.before_sync = lambda: synced.append(1)
    for n in range(10):
        before = len(synced)
        assert put_numbers(lab.channel, n, n + 1).outcome is PutOutcome.STORED
        assert len(synced) > before
        lab.crash()
    assert take_all(lab.channel) == numbers(0, 10)


def test_postgres_fsyncgate_a_failed_fsync_is_not_asked_again_and_believed(tmp_path: Path) -> None:
    """Reference: fsyncgate (PostgreSQL, LWN 752063); the class of vectordotdev/vector#8540. After a
    failed fsync Linux takes the pages for clean, so a second fsync succeeds and data is lost. After
    a failure rayflume gives up the segment, acknowledges nothing of it and writes it again.
    """
    lab = Lab(tmp_path)
    put_numbers(lab.channel, 0, 5)
    lab.disk.fail["sync"] = errno.EIO
    with pytest.raises(ChannelClosed):
        put_numbers(lab.channel, 5, 10)
    lab.clock.advance(1_000)
    put_numbers(lab.channel, 5, 10)
    lab.crash()
    assert take_all(lab.channel) == numbers(0, 10)
