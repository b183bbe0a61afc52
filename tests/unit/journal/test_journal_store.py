"""Group commit, failures, the order of durable steps, and who may write."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from disks import CountingDisk, FaultyDisk
from fakes import (
    context,
    deliver,
    journaled,
    manifest_of,
    manual,
    numbers,
    put_numbers,
    request,
    take_all,
    take_rows,
)

from rayflume.batch import Extent
from rayflume.channels._journaled import REOPEN_AFTER_MS, JournaledChannel
from rayflume.errors import ChannelClosed, JournalFailed, JournalLocked, Retry
from rayflume.interfaces import PutOutcome
from rayflume.journal.disk import LocalDisk
from rayflume.journal.ledger import LedgerLimits
from rayflume.journal.options import JournalOptions
from rayflume.journal.scan import scan_segment
from rayflume.journal.segment import Kind
from rayflume.journal.store import READ_TRIES

SMALL = JournalOptions(segment_bytes=1500)
WAIT_S = 10


class Gate:
    """A sync that waits until it is let through."""

    def __init__(self, disk: FaultyDisk) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        disk.before_sync = self.wait

    def wait(self) -> None:
        self.reached.set()
        assert self.open.wait(WAIT_S)


def appended(channel: JournaledChannel, rows: int) -> None:
    """Wait until rows are appended, whether or not they are durable."""
    for _ in range(10_000):
        with channel._condition:
            if channel._journal.ledger.next_position >= rows:
                return
        threading.Event().wait(0.001)
    raise AssertionError("nothing was appended")


def test_sixteen_writers_share_their_fsyncs(tmp_path: Path) -> None:
    disk = CountingDisk(tmp_path / "wal")
    channel = journaled(disk, context(tmp_path))
    before = disk.syncs
    with ThreadPoolExecutor(16) as pool:
        for replies in pool.map(
            lambda n: [put_numbers(channel, i, i + 1, f"s{n}") for i in range(25)], range(16)
        ):
            assert {reply.outcome for reply in replies} == {PutOutcome.STORED}
    assert disk.syncs - before < 16 * 25 / 2
    assert sorted(take_all(channel)) == sorted(numbers(0, 25) * 16)
    channel.close()


def test_a_put_returns_and_its_rows_are_taken_only_after_the_sync(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0])
    gate = Gate(disk)
    with ThreadPoolExecutor(2) as pool:
        put = pool.submit(put_numbers, channel, 0, 3)
        assert gate.reached.wait(WAIT_S)
        twin = pool.submit(put_numbers, channel, 0, 3)
        assert take_all(channel) == []
        assert channel.tap(10) == []
        assert not put.done() and not twin.done()
        gate.open.set()
        assert put.result(WAIT_S).outcome is twin.result(WAIT_S).outcome is PutOutcome.STORED
    assert take_all(channel) == numbers(0, 3)


@pytest.mark.parametrize("what", ["write", "sync"])
def test_a_failed_write_closes_for_all_who_wait_and_heals_by_itself(
    tmp_path: Path, what: str
) -> None:
    disk = FaultyDisk()
    around, clock = manual(tmp_path)
    channel = journaled(disk, around)
    channel.drain(True)
    gate = Gate(disk)
    with ThreadPoolExecutor(3) as pool:
        puts = [pool.submit(put_numbers, channel, 0, 3)]
        assert gate.reached.wait(WAIT_S)
        puts += [pool.submit(put_numbers, channel, 0, 2, name) for name in "tu"]
        appended(channel, 7)
        disk.partial = 100
        disk.full = True
        if what == "sync":
            disk.fail["sync"] = errno.EIO
        gate.open.set()
        outcomes = [put.exception(WAIT_S) for put in puts]
    assert [type(e) for e in outcomes[1:]] == [ChannelClosed] * 2
    with pytest.raises(ChannelClosed, match="waits to open"):
        channel.state()
    for _ in range(5):
        clock.advance(REOPEN_AFTER_MS)
        with pytest.raises(ChannelClosed, match="can't open its journal"):
            put_numbers(channel, 0, 3)
    assert len(disk.files) <= 2, "attempts to open on a full disk leave nothing behind"
    disk.full = False
    clock.advance(REOPEN_AFTER_MS)
    for name, stop in (("s", 3), ("t", 2), ("u", 2)):
        assert put_numbers(channel, 0, stop, name).outcome is PutOutcome.STORED
    assert channel.take("lake/0/a", "", 1, 0).draining, "what was asked of the channel stays asked"
    channel.holder_gone("lake/0/a")
    assert sorted(take_all(channel)) == sorted(numbers(0, 3) + numbers(0, 2) * 2)


def test_whoever_waited_over_a_reopening_is_not_acknowledged(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0])
    journal = channel._journal
    with channel._condition:
        seq = journal.append(Kind.RETIRED, {"streams": [], "now": 0})
        journal._syncing = True  # another writer is at work
    refused = threading.Event()

    def wait() -> None:
        with channel._condition:
            try:
                journal.sync(seq)
            except JournalFailed:
                refused.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not channel._condition._waiters:  # type: ignore[attr-defined]
        threading.Event().wait(0.001)
    with channel._condition:
        journal._syncing = False
        journal.open()
        assert journal._synced >= seq, "the number is in use again"
        channel._condition.notify_all()
    waiting.join(WAIT_S)
    assert refused.is_set()


def test_an_interrupted_write_is_a_failed_one(tmp_path: Path) -> None:
    disk = FaultyDisk()
    around, clock = manual(tmp_path)
    channel = journaled(disk, around)

    def interrupt() -> None:
        raise KeyboardInterrupt

    disk.before_sync = interrupt
    with pytest.raises(KeyboardInterrupt):
        put_numbers(channel, 0, 3)
    disk.before_sync = lambda: None
    clock.advance(REOPEN_AFTER_MS)
    assert put_numbers(channel, 0, 3).outcome is PutOutcome.STORED
    assert take_all(channel) == numbers(0, 3)


def test_a_put_that_waited_for_a_new_segment_of_a_closed_channel_is_told_so(
    tmp_path: Path,
) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], SMALL)
    gate = Gate(disk)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(channel.put, request([bytes(2000)], [Extent("s", 0, 1, 1)]))
        assert gate.reached.wait(WAIT_S)
        second = pool.submit(put_numbers, channel, 0, 1, "t")
        closing = pool.submit(channel.close)
        while not channel._closed:
            threading.Event().wait(0.001)
        gate.open.set()
        closing.result(WAIT_S)
        assert first.result(WAIT_S).outcome is PutOutcome.STORED
        assert isinstance(second.exception(WAIT_S), ChannelClosed)
    again = journaled(disk, manual(tmp_path)[0], SMALL)
    assert take_all(again) == [bytes(2000)]


def test_concurrent_writers_roll_segments_without_a_wrong_row(tmp_path: Path) -> None:
    channel = journaled(LocalDisk(tmp_path / "wal"), context(tmp_path), SMALL)

    def work(n: int) -> None:
        for i in range(30):
            put_numbers(channel, i, i + 1, f"s{n}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sorted(take_all(channel)) == sorted(numbers(0, 30) * 8)
    channel.close()
    channel = journaled(LocalDisk(tmp_path / "wal"), context(tmp_path), SMALL)
    assert channel.state().degraded == ()
    assert sorted(take_all(channel)) == sorted(numbers(0, 30) * 8)
    channel.close()


def test_segments_are_removed_after_commit_and_snapshot_are_durable(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], SMALL)
    for start in range(0, 12, 3):
        put_numbers(channel, start, start + 3)
    taken = channel.take("lake/0/a", "", 10**6, 0)
    channel.prepare(manifest_of(taken.delivery, taken.rows), "lake/0/a")
    disk.calls.clear()
    channel.commit(taken.delivery)
    kinds = [name for name, _ in disk.calls]
    assert "unlink" in kinds
    assert kinds.index("sync") < kinds.index("unlink")
    last = len(kinds) - 1 - kinds[::-1].index("unlink")
    assert kinds[last + 1 :] == ["sync_directory"]
    if "create" in kinds:
        assert kinds.index("create") < kinds.index("sync_directory") < kinds.index("unlink")


def test_a_segment_stays_while_the_commit_of_its_rows_is_not_durable(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], JournalOptions(segment_bytes=500))
    put_numbers(channel, 0, 3)
    taken = channel.take("lake/0/a", "", 10**6, 0)
    channel.prepare(manifest_of(taken.delivery, 3), "lake/0/a")
    put_numbers(channel, 3, 6)
    put_numbers(channel, 6, 9)
    first, journal = "segment-0000000001.log", channel._journal
    with channel._condition:
        meta = journal.ledger.committed_meta(taken.delivery)
        assert meta is not None
        seq = journal.append(Kind.COMMITTED, meta)
        journal.prune()  # as another thread's commit does meanwhile
        assert journal._active != first and first in disk.files
        journal.sync(seq)
        journal.prune()
        assert first not in disk.files


def test_a_segment_that_can_not_be_removed_goes_later(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], SMALL)
    for start in range(0, 9, 3):
        put_numbers(channel, start, start + 3)
    disk.fail["unlink"] = errno.EIO
    while deliver(channel):
        pass
    put_numbers(channel, 9, 10)
    deliver(channel)
    assert len(disk.files) <= 2


def test_segments_without_rows_are_removed_without_any_commit(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], SMALL)
    for i in range(60):
        channel.put(request([], [Extent("s", i, i + 1, 0)]))
    assert len(disk.files) == 1
    channel.close()
    assert journaled(disk, manual(tmp_path)[0]).positions("")["s"].next == 60


def test_a_snapshot_larger_than_a_segment_does_not_roll_for_ever(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], JournalOptions(segment_bytes=1000))
    for i in range(40):
        put_numbers(channel, 0, 1, f"a stream with a long name, number {i}")
    assert sum(name == "create" for name, _ in disk.calls) < 20
    assert len(take_all(channel)) == 40


def test_positions_and_keys_survive_the_removal_of_all_old_segments(tmp_path: Path) -> None:
    disk = FaultyDisk()
    key = Extent("cd" * 16, 0, 1, 1, bytes(16), keyed=True)
    for start in range(0, 30, 10):
        channel = journaled(disk, manual(tmp_path)[0], SMALL)
        channel.put(request([b"k"], [key]))
        put_numbers(channel, start, start + 10)
        while deliver(channel):
            pass
        channel.close()
    channel = journaled(disk, manual(tmp_path)[0])
    assert disk.names() == [disk.names()[-1]]
    assert channel.positions("")["s"].next == 30
    assert channel.put(request([b"k"], [key])).outcome is PutOutcome.STORED
    assert take_all(channel) == []


def test_the_cut_tail_of_an_old_segment_stays_cut_when_newer_ones_are_removed(
    tmp_path: Path,
) -> None:
    disk = FaultyDisk()
    around, clock = manual(tmp_path)
    channel = journaled(disk, around, SMALL)
    put_numbers(channel, 0, 1)
    disk.fail["sync"] = errno.EIO
    with pytest.raises(ChannelClosed):
        put_numbers(channel, 1, 2)  # whole in the file, never acknowledged
    clock.advance(REOPEN_AFTER_MS)
    held = channel.take("lake/1/x", "", 1, 0)
    channel.put(request([b"other"], [Extent("s", 1, 2, 1)]))
    for start in range(2, 12, 3):
        put_numbers(channel, start, start + 3)
        deliver(channel)
    while deliver(channel):
        pass
    assert held.refs[0].segment in disk.files and len(disk.files) == 2
    again = journaled(disk, manual(tmp_path)[0])
    assert again.state().degraded == ()
    assert take_all(again) == [b"0"]


def test_a_stopped_process_that_writes_on_is_not_heard(tmp_path: Path) -> None:
    disk = FaultyDisk()
    zombie = journaled(disk, manual(tmp_path)[0], JournalOptions(segment_bytes=10**6))
    put_numbers(zombie, 0, 3)
    heir = journaled(disk, manual(tmp_path)[0])
    for stream, start in (("s", 3), ("ghost", 0)):
        with pytest.raises(ChannelClosed, match="another process"):
            put_numbers(zombie, start, start + 3, stream)
        zombie._journal._failed = None  # it goes on as if nothing had been
    put_numbers(heir, 3, 4)
    assert take_all(heir) == numbers(0, 4)
    heir.close()
    for _ in range(2):
        with pytest.raises(ChannelClosed, match="another process"):
            put_numbers(zombie, 6, 9)
        zombie._journal._failed = None
        again = journaled(disk, manual(tmp_path)[0])
        assert set(again.positions("")) == {"s"}
        assert again.state().degraded == ()
        assert take_all(again) == numbers(0, 4)
        again.close()


def test_a_stopped_process_can_not_begin_a_segment_its_heir_has(tmp_path: Path) -> None:
    disk = FaultyDisk()
    zombie = journaled(disk, manual(tmp_path)[0], SMALL)
    put_numbers(zombie, 0, 3)
    heir = journaled(disk, manual(tmp_path)[0], SMALL)
    with pytest.raises(ChannelClosed):
        for start in range(3, 30, 3):
            put_numbers(zombie, start, start + 3)
    assert take_all(heir) == numbers(0, 3)


def test_opening_a_long_backlog_reads_little_of_it(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0], JournalOptions(segment_bytes=2**20))
    body = bytes(2**19)
    for i in range(24):
        channel.put(request([body], [Extent("s", i, i + 1, 1)]))
    channel.close()
    disk.bytes_read = 0
    channel = journaled(disk, manual(tmp_path)[0])
    assert len(disk.files) > 10
    assert disk.bytes_read < 2**19
    assert channel.state().waiting == 24


def test_journal_calls_that_change_nothing_write_nothing(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0])
    put_numbers(channel, 0, 3)
    delivery = take_rows(channel).taken.delivery
    channel.prepare(manifest_of(delivery, 3), "lake/0/a")
    channel.commit(delivery)
    disk.calls.clear()
    put_numbers(channel, 0, 3)
    channel.commit(delivery)
    channel.garbage([delivery])
    channel.close()
    assert disk.calls == []


def test_rows_that_read_well_are_not_set_aside(tmp_path: Path) -> None:
    channel = journaled(FaultyDisk(), manual(tmp_path)[0])
    put_numbers(channel, 0, 3)
    taken = take_rows(channel).taken
    with pytest.raises(Retry, match="read it again"):
        channel.damaged(taken.refs[0], "a wrong checksum")
    assert channel.state().leased == 3


def test_a_sink_prepares_what_is_left_when_rows_of_its_lease_are_damaged(tmp_path: Path) -> None:
    disk = FaultyDisk()
    around, _ = manual(tmp_path)
    channel = journaled(disk, around)
    for start in (0, 3, 6):
        put_numbers(channel, start, start + 3)
    taken = channel.take("lake/0/a", "", 10**6, 0)
    bad = taken.refs[1]
    disk.flip(bad.segment, bad.offset + bad.length - 100)
    for _ in range(2):
        channel.damaged(bad, "a wrong checksum")
    assert around.metrics.snapshot()["EventDamagedCount"] == 3
    assert len(channel.state().degraded) == 1
    channel.prepare(manifest_of(taken.delivery, 6), "lake/0/a")
    channel.commit(taken.delivery)
    assert channel.state().bytes == 0


def test_a_part_that_another_sink_has_read_stays_its_own(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0])
    put_numbers(channel, 0, 4)
    for _ in range(2):
        channel.take("lake/0/a", "", 1, 0)
        channel.holder_gone("lake/0/a")
    first, second = (channel.take(f"lake/{n}/a", "", 1, 0) for n in range(2))
    assert (first.rows, second.rows) == (2, 2)
    ref = first.refs[0]
    disk.flip(ref.segment, ref.offset + ref.length - 100)
    channel.damaged(second.refs[0], "a wrong checksum")
    channel.prepare(manifest_of(first.delivery, 2), "lake/0/a")
    channel.prepare(manifest_of(second.delivery, 0), "lake/1/a")


def test_a_directory_that_can_not_be_opened_is_let_go_of(tmp_path: Path) -> None:
    class Broken(LocalDisk):
        def sync_directory(self) -> None:
            raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        journaled(Broken(tmp_path / "wal"), context(tmp_path))
    channel = journaled(LocalDisk(tmp_path / "wal"), context(tmp_path))
    assert put_numbers(channel, 0, 1).outcome is PutOutcome.STORED
    channel.close()


HOLD = """
import sys
from pathlib import Path
from rayflume.journal.disk import LocalDisk
disk = LocalDisk(Path(sys.argv[1]))
disk.lock("clicks/wal on far-away, pid 7")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_has_the_journal(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "wal")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(JournalLocked, match="in use by clicks/wal on far-away, pid 7") as info:
            journaled(LocalDisk(tmp_path / "wal"), context(tmp_path))
        assert info.value.holder == "clicks/wal on far-away, pid 7"
        other.communicate(timeout=WAIT_S)
    journaled(LocalDisk(tmp_path / "wal"), context(tmp_path)).close()


def test_s16_directory_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        channel = journaled(LocalDisk(tmp_path / "deep" / "wal"), context(tmp_path))
        put_numbers(channel, 0, 3)
        channel.close()
    finally:
        os.umask(mask)
    assert (tmp_path / "deep" / "wal").stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "deep" / "wal").iterdir()}
    assert modes == {0o600}


def test_retired_streams_and_old_keys_are_forgotten_when_a_journal_is_opened(
    tmp_path: Path,
) -> None:
    disk = FaultyDisk()
    around, clock = manual(tmp_path)
    options = JournalOptions(LedgerLimits(stream_retention_ms=1000))
    channel = journaled(disk, around, options)
    put_numbers(channel, 0, 1, "gone")
    put_numbers(channel, 0, 1, "alive")
    channel.retire(["gone", "unknown"])
    channel.close()
    for _ in range(4):
        assert set(journaled(disk, around, options).positions("")) == {"alive", "gone"}
        clock.advance(1000)
    assert set(journaled(disk, around, options).positions("")) == {"alive"}


def test_a_mark_proves_the_last_group(tmp_path: Path) -> None:
    disk = FaultyDisk()
    channel = journaled(disk, manual(tmp_path)[0])
    put_numbers(channel, 0, 3)
    [name] = disk.names()
    *_, put, mark = scan_segment(disk, name).found
    assert (put.head.kind, mark.head.kind) == (Kind.PUT, Kind.MARK)
    assert (mark.head.synced, mark.head.meta) == (put.head.seq, {"next": 3})


def test_a_put_that_its_heir_did_not_read_is_not_acknowledged(tmp_path: Path) -> None:
    """Found by the simulation: the heir had opened the journal between the put and its sync."""
    disk = FaultyDisk()
    zombie = journaled(disk, manual(tmp_path)[0])

    def heir() -> None:
        disk.before_sync = lambda: None
        journaled(disk, manual(tmp_path)[0])

    disk.before_sync = heir
    with pytest.raises(ChannelClosed, match="another process"):
        put_numbers(zombie, 0, 3)


def test_who_was_replaced_opens_the_journal_again_only_with_the_lock(tmp_path: Path) -> None:
    context, clock = manual(tmp_path)
    disk = LockedDisk()
    zombie = journaled(disk, context)
    disk.heir = True
    journaled(FaultyDiskView(disk), manual(tmp_path)[0])
    for _ in range(3):
        with pytest.raises(ChannelClosed):
            put_numbers(zombie, 0, 3)
        clock.advance(10_000)
    assert disk.names() == ["segment-0000000002.log"], "it has begun none of its own"
    disk.heir = False
    assert put_numbers(zombie, 0, 3).outcome == "stored"


def test_positions_tell_of_no_put_that_may_still_fail(tmp_path: Path) -> None:
    """Found by the simulation: a source took its last rows for safe, and never sent them again."""
    assert (
        answer_while_a_sync_fails(tmp_path, lambda c: put_numbers(c, 0, 3), asked_positions) == {}
    )


def test_adopt_hands_over_nothing_whose_prepared_record_may_still_fail(tmp_path: Path) -> None:
    def prepare(channel: JournaledChannel) -> None:
        put_numbers(channel, 0, 3)
        taken = channel.take("lake/0/a", "", 2**30, 0)
        channel.prepare(manifest_of(taken.delivery, 3), "lake/0/a")

    def adopt(channel: JournaledChannel) -> object:
        channel.holder_gone("lake/0/a")
        return channel.adopt("lake", "lake/0/b")

    assert answer_while_a_sync_fails(tmp_path, prepare, adopt) == ()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_segment_whose_last_sync_failed_is_given_up(tmp_path: Path, number: int) -> None:
    """Also for lack of room: what was synced is not known any more."""
    context, clock = manual(tmp_path)
    disk = FaultyDisk()
    channel = journaled(disk, context, SMALL)
    count = 0
    while channel._journal._offset < channel._journal._roll_at:
        put_numbers(channel, count, count + 3)
        count += 3
    disk.fail["sync"] = number
    with pytest.raises(ChannelClosed):
        channel.credit()
    clock.advance(REOPEN_AFTER_MS)
    assert channel._journal.failed
    assert take_all(channel) == numbers(0, count)
    assert len(disk.names()) == 2


def test_an_epoch_is_not_used_again_when_the_newest_segment_can_not_be_read(tmp_path: Path) -> None:
    disk = FaultyDisk()
    first = journaled(disk, manual(tmp_path)[0])
    put_numbers(first, 0, 3)
    second = journaled(disk, manual(tmp_path)[0])
    newest = disk.names()[-1]
    disk.replace(newest, bytes(disk.size(newest)))
    third = journaled(disk, manual(tmp_path)[0])
    epochs = [channel._journal.ledger.epoch for channel in (first, second, third)]
    assert epochs == sorted(set(epochs))


def test_a_read_error_that_passes_loses_no_row(tmp_path: Path) -> None:
    """Found by the simulation: two errors in a row were taken for damage, and the rows for lost."""
    context, _ = manual(tmp_path)
    disk = FaultyDisk()
    channel = journaled(disk, context)
    put_numbers(channel, 0, 3)
    [ref] = channel.take("lake/0/a", "", 2**30, 0).refs
    for _ in range(READ_TRIES - 1):
        disk.fail["read"] = errno.EIO
        with pytest.raises(Retry, match="can't be read now"):
            channel.damaged(ref, "an error")
    assert channel.state().degraded == ()
    disk.fail["read"] = errno.EIO
    channel.damaged(ref, "an error")
    assert channel.state().degraded != ()


def asked_positions(channel: JournaledChannel) -> object:
    return channel.positions("")


def answer_while_a_sync_fails(
    tmp_path: Path,
    work: Callable[[JournaledChannel], object],
    ask: Callable[[JournaledChannel], object],
) -> object:
    """What a question is answered that comes while the last sync of some work is under way, which
    fails; asked again once the journal is open anew.
    """
    context, clock = manual(tmp_path)
    disk = FaultyDisk()
    channel = journaled(disk, context)
    answers: list[object] = []

    def answer() -> None:
        while not answers:
            try:
                answers.append(ask(channel))
            except ChannelClosed:
                clock.advance(REOPEN_AFTER_MS)

    thread = threading.Thread(target=answer)
    last = len([call for call in trial_calls(tmp_path, work) if call[0] == "sync"])

    def before_sync() -> None:
        if len([call for call in disk.calls if call[0] == "sync"]) == last - 1:
            disk.before_sync = lambda: None
            thread.start()
            thread.join(0.2)
            disk.fail["sync"] = errno.EIO

    disk.before_sync = before_sync
    with pytest.raises(ChannelClosed):
        work(channel)
    thread.join(10)
    return answers[0]


def trial_calls(
    tmp_path: Path, work: Callable[[JournaledChannel], object]
) -> list[tuple[str, str]]:
    """What some work asks of a disk without faults."""
    disk = FaultyDisk()
    work(journaled(disk, manual(tmp_path)[0]))
    return disk.calls


class LockedDisk(FaultyDisk):
    """A disk whose lock an heir may have."""

    heir = False

    def lock(self, holder: str) -> None:
        if self.heir:
            raise JournalLocked("in use by the heir", holder="heir")


class FaultyDiskView(FaultyDisk):
    """The same files, without a lock."""

    def __init__(self, disk: FaultyDisk) -> None:
        super().__init__()
        self.files, self.durable = disk.files, disk.durable
