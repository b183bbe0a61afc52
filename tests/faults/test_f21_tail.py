"""F21: files that rotate under a source that follows them: nothing lost, nothing doubled.

Seeded schedules over real files. Each test makes a share of its volume; RAYFLUME_FAULT_VOLUME=50
makes all of it. What copy-truncate can lose where nothing matches the copy is measured, too.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from channel_model import Flow
from disks import FaultyDisk
from fakes import journaled, take_all
from fault_volume import scaled

from rayflume import flow
from rayflume.batch import EventBatch
from rayflume.channels._journaled import JournaledChannel
from rayflume.component import Context, lookup
from rayflume.errors import PutRefused
from rayflume.interfaces import PollableSource
from rayflume.metrics import Metrics
from rayflume.sources._copies import originals
from rayflume.sources.taildir import Taildir

SEEDS = 12
LONG = b"x" * 200
"""Makes a file longer than the 1 KiB by which its place is known."""


def followed(directory: Path, **options: object) -> Flow:
    directory.mkdir(parents=True, exist_ok=True)

    def build(context: Context) -> PollableSource:
        merged: dict[str, object] = {"paths": ["*.log*"], **options}
        return Taildir.model_validate(merged).build(context)

    return Flow(build, directory)


class Writer:
    """Appends numbered lines, and remembers all of them."""

    def __init__(self, filling: bytes = b"") -> None:
        self.filling = filling
        self.lines: list[bytes] = []

    def append(self, path: Path, count: int) -> list[bytes]:
        made = [b"%d %s" % (len(self.lines) + i, self.filling) for i in range(count)]
        with path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in made))
        self.lines += made
        return made


def copy_and_truncate(log: Path, number: int) -> None:
    """As logrotate does, older copies moved on by renaming."""
    for n in range(number, 0, -1):
        older = log.with_name(f"{log.name}.{n}")
        if older.exists():
            older.rename(log.with_name(f"{log.name}.{n + 1}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


# -- copy and truncate


@pytest.mark.parametrize("read_before", [0, 10])
@pytest.mark.parametrize("looked_between", [False, True])
def test_f21_a_copy_is_read_from_where_the_original_stood(
    tmp_path: Path, read_before: int, looked_between: bool
) -> None:
    source, writer, log = followed(tmp_path), Writer(), tmp_path / "a.log"
    writer.append(log, read_before)
    source.settle()
    writer.append(log, 5)
    shutil.copyfile(log, tmp_path / "a.log.1")
    if looked_between:
        source.settle()
    os.truncate(log, 0)
    writer.append(log, 3)
    source.settle()
    source.settle()
    assert Counter(source.channel.arrived) == Counter(writer.lines)
    source.finish()
    source.source.stop()


def test_f21_a_copy_made_while_nothing_ran(tmp_path: Path) -> None:
    """With the rest of the original read in its copy, once, over any number of restarts."""
    source, writer, log = followed(tmp_path), Writer(LONG), tmp_path / "a.log"
    for number in range(3):
        writer.append(log, 10)
        source.settle()
        writer.append(log, 5)
        copy_and_truncate(log, number)
        source.restart()
        source.settle()
        source.restart()
        source.settle()
    assert Counter(source.channel.arrived) == Counter(writer.lines)
    source.source.stop()


def test_f21_a_copy_waits_for_what_is_on_its_way(tmp_path: Path) -> None:
    """A batch of the original is in flight when the copy is seen: not lost if its put fails."""
    source, writer, log = followed(tmp_path), Writer(LONG), tmp_path / "a.log"
    writer.append(log, 10)
    source.settle()
    writer.append(log, 10)
    source.clock.advance(300)
    assert source.poll() is None
    source.clock.advance(300)
    in_flight = source.poll()
    assert in_flight is not None and in_flight.num_rows == 10
    writer.append(log, 10)
    copy_and_truncate(log, 0)
    for _ in range(3):
        source.clock.advance(1_100)
        assert source.poll() is None
    source.restart()
    source.settle()
    assert Counter(source.channel.arrived) == Counter(writer.lines)
    source.source.stop()


def test_f21_a_drain_waits_for_the_copy(tmp_path: Path) -> None:
    source, writer, log = followed(tmp_path), Writer(LONG), tmp_path / "a.log"
    writer.append(log, 10)
    source.clock.advance(1_100)
    source.poll()
    source.clock.advance(300)
    in_flight = source.poll()
    assert in_flight is not None
    writer.append(log, 10)
    copy_and_truncate(log, 0)
    source.source.note_end(True)
    assert source.poll() is None
    assert not source.source.at_end()
    source.give(in_flight)
    source.clock.advance(1_100)
    source.finish()
    assert Counter(source.channel.arrived) == Counter(writer.lines)
    source.source.stop()


def test_f21_a_plain_copy_beside_its_original_is_not_read_twice(tmp_path: Path) -> None:
    source, writer, log = followed(tmp_path), Writer(LONG), tmp_path / "a.log"
    writer.append(log, 20)
    source.settle()
    shutil.copyfile(log, tmp_path / "a.log.bak")
    for _ in range(3):
        writer.append(log, 5)
        source.settle()
    writer.append(tmp_path / "a.log.bak", 2)
    source.settle()
    assert Counter(source.channel.arrived) == Counter(writer.lines)
    source.source.stop()


@pytest.mark.parametrize("size", [1, 40])
def test_f21_a_file_that_only_begins_like_another_is_read_whole(tmp_path: Path, size: int) -> None:
    """The same heading, and a name that could be a rotated one's, but other rows."""
    source = followed(tmp_path)
    heading = [b"heading %d %s" % (n, LONG) for n in range(size)]
    start = b"".join(line + b"\n" for line in heading)
    (tmp_path / "a.log").write_bytes(start + b"first\n")
    source.settle()
    (tmp_path / "a.log.1").write_bytes(start + b"other\n")
    source.settle()
    (tmp_path / "a-2.log").write_bytes(start + b"second\n" * 9)
    source.settle()
    (tmp_path / "a.log.3").write_bytes(start + b"first\nand more\n")
    source.settle()
    wanted = [*heading * 4, b"first", b"other", *[b"second"] * 9, b"first", b"and more"]
    assert Counter(source.channel.arrived) == Counter(wanted)
    source.source.stop()


def test_f21_names_of_which_a_name_may_be_a_copy() -> None:
    assert set(originals("app.log.1")) >= {"app.log", "app"}
    assert set(originals("app.log-2026-01-02")) >= {"app.log", "app.log-2026-01"}
    assert set(originals("app-2026.log")) >= {"app.log"}
    assert "b.log" not in originals("app.log.1") and "app.log" not in originals("app.log")
    assert len(originals("-".join(["a"] * 500))) <= 32


class CopySchedule:
    """Appends, copy-truncates, polls, refused puts and crashes in an order that a seed chooses."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        options = {"batch_bytes": self.chance.choice([300, 3_000, 10**6])}
        self.flow = followed(directory, **options)
        self.writer = Writer(LONG)
        self.log = directory / "a.log"
        self.held: list[EventBatch] = []
        self.rotations = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            step = self.chance.choice(
                ["append", "append", "poll", "poll", "poll", "put", "put", "rotate", "crash"]
            )
            getattr(self, step)()
        while self.held:
            self.put()
        self.flow.settle()
        self.flow.settle()
        self.flow.finish()
        self.flow.source.stop()

    def append(self) -> None:
        # A file shorter than 1 KiB is known again only in the same life.
        self.writer.append(self.log, self.chance.randrange(6, 12))

    def poll(self) -> None:
        self.flow.clock.advance(self.chance.choice([0, 100, 250, 1_100]))
        batch = self.flow.poll() if len(self.held) < 2 else None
        if batch is not None:
            self.held.append(batch)

    def put(self) -> None:
        """In order, or the later one first: then all that is in hand is dropped and read again."""
        last = self.chance.random() < 0.2
        if not self.held:
            return
        batch = self.held.pop(-1 if last else 0)
        if self.flow.give(batch):
            return
        gone_back = {extent.stream: extent.start for extent in reversed(batch.extents)}
        first: dict[str, int] = {}
        for extent in (extent for other in self.held for extent in other.extents):
            first.setdefault(extent.stream, extent.start)
        self.held.clear()
        for stream, start in first.items():
            if start < gone_back.get(stream, start + 1):
                self.flow.source.rewind(stream, start)

    def rotate(self) -> None:
        if self.log.exists() and self.log.stat().st_size:
            copy_and_truncate(self.log, self.rotations)
            self.rotations += 1
            # One rotation between two looks, which are at most a second apart.
            self.look()

    def look(self) -> None:
        self.flow.clock.advance(1_100)
        if len(self.held) < 2 and (batch := self.flow.poll()) is not None:
            self.held.append(batch)

    def crash(self) -> None:
        if self.chance.random() < 0.4:
            self.held.clear()
            self.flow.restart()
            self.look()


def test_f21_copytruncate_at_any_moment_and_crashes(tmp_path: Path) -> None:
    rotations = 0
    for seed in range(scaled(4 * SEEDS)):
        schedule = CopySchedule(tmp_path / str(seed), seed)
        schedule.run(60)
        arrived = Counter(schedule.flow.channel.arrived)
        written = Counter(schedule.writer.lines)
        assert arrived == written, (seed, len(written - arrived), len(arrived - written))
        rotations += schedule.rotations
        shutil.rmtree(tmp_path / str(seed))
    assert rotations > SEEDS


# -- the bound where no pattern matches the copy


def lost_window_ms(directory: Path, seed: int, every_ms: int) -> int:
    """For how long lines were written that a copy-truncate hid: a line each 10 ms, and a poll each
    100 ms, as the runner does; a file that grows, or one that was quiet before.
    """
    source, writer, log = followed(directory, paths=["*.log"]), Writer(), directory / "a.log"
    chance = random.Random(seed)
    writer.append(log, 1)
    source.settle()
    if every_ms > 1_000:
        source.clock.advance(20_000)
        source.settle()
    truncate_at = chance.randrange(1_000, 3_000, 10)
    last_poll = chance.randrange(0, 100, 10)
    quiet_until = truncate_at - 990 if every_ms > 1_000 else 0
    for now in range(0, truncate_at, 10):
        if now >= quiet_until:
            writer.append(log, 1)
        source.clock.advance(10)
        if now % 100 == last_poll:
            source.step()
    shutil.copyfile(log, directory / "a.copy")
    os.truncate(log, 0)
    source.settle()
    source.settle()
    source.source.stop()
    assert not Counter(source.channel.arrived) - Counter(writer.lines)
    return 10 * len(set(writer.lines) - set(source.channel.arrived))


@pytest.mark.parametrize(("every_ms", "bound_ms"), [(10, 300), (2_000, 1_200)])
def test_f21_what_copytruncate_hides_is_bounded(
    tmp_path: Path, every_ms: int, bound_ms: int
) -> None:
    """The bound that the source's documentation states, measured."""
    found = [
        lost_window_ms(tmp_path / str(seed), seed, every_ms) for seed in range(scaled(2 * SEEDS))
    ]
    kind = "a growing" if every_ms < 1_000 else "a quiet"
    print(f"copy-truncate of {kind} file hid at most {max(found)} ms of lines ({len(found)} runs)")
    assert 0 < max(found) <= bound_ms


# -- rename, delete and create, many files


def test_f21_rename_chains_and_crashes(tmp_path: Path) -> None:
    """Names move on as logrotate moves them, the oldest goes once it was read; the source dies."""
    for seed in range(scaled(SEEDS)):
        chance, directory = random.Random(seed), tmp_path / str(seed)
        source, writer, log = followed(directory, batch_bytes=400), Writer(), directory / "a.log"
        for _ in range(12):
            writer.append(log, chance.randrange(1, 20))
            for _ in range(chance.randrange(3)):
                source.clock.advance(chance.choice([100, 300, 1_100]))
                source.step()
            if chance.random() < 0.3:
                source.restart()
            for n in range(4, 0, -1):
                older = directory / f"a.log.{n}"
                if older.exists():
                    older.rename(directory / f"a.log.{n + 1}")
            log.rename(directory / "a.log.1")
            if (directory / "a.log.5").exists():
                source.settle()
                (directory / "a.log.5").unlink()
        source.settle()
        source.source.stop()
        assert source.channel.arrived and Counter(source.channel.arrived) == Counter(writer.lines)


def test_f21_deleted_and_created_again_with_the_same_inode(tmp_path: Path) -> None:
    reused = 0
    for seed in range(scaled(SEEDS)):
        chance, directory = random.Random(seed), tmp_path / str(seed)
        source, writer, log = followed(directory), Writer(), directory / "a.log"
        writer.append(log, chance.randrange(1, 30))
        source.settle()
        inode = log.stat().st_ino
        source.source.stop()
        log.unlink()
        for n in range(100):
            made = directory / f"try-{n}.tmp"
            made.touch()
            if made.stat().st_ino == inode:
                reused += 1
                break
        made.rename(log)
        # Shorter, as long, or longer than what was read of the file before it.
        writer.append(log, chance.randrange(1, 60))
        source.restart()
        source.settle()
        source.source.stop()
        assert Counter(source.channel.arrived) == Counter(writer.lines), seed
    if not reused:
        pytest.skip("this file system does not use an inode again soon")


def test_f21_many_files_rotate_while_the_source_is_down(tmp_path: Path) -> None:
    """1,000 files (10,000 and more with the volume): renamed, truncated, deleted, grown."""
    files = min(10_000, scaled(1_000))
    writer, source = Writer(), followed(tmp_path)
    for n in range(files):
        writer.append(tmp_path / f"{n}.log", 2)
    source.settle()
    for n in range(0, files, 4):
        (tmp_path / f"{n}.log").rename(tmp_path / f"{n}.log.1")
        writer.append(tmp_path / f"{n}.log.1", 1)
        writer.append(tmp_path / f"{n}.log", 1)
        os.truncate(tmp_path / f"{n + 1}.log", 0)
        writer.append(tmp_path / f"{n + 1}.log", 1)
        (tmp_path / f"{n + 2}.log").unlink()
    source.restart()
    source.settle()
    assert Counter(source.channel.arrived) == Counter(writer.lines)
    assert int(str(source.source.describe()["open_files"])) <= 512
    source.source.stop()


# -- the channel dies


class Crashing:
    """A real channel on a disk that forgets what was not synced, and a source that lives on."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.disk = FaultyDisk()
        self.flow = followed(directory, batch_bytes=self.chance.choice([100, 10**6]))
        self.source = self.flow.source
        self.metrics = Metrics()
        self.channel = self._open()

    def _open(self) -> JournaledChannel:
        channel = journaled(self.disk, self.flow.context())
        chosen = lookup("selector", "replicating")().build(self.flow.context())
        self.route = flow.Route("web", [], chosen, {"wal": channel}, self.metrics)
        self.route.known = {"wal": set(channel.positions(""))}
        return channel

    def power_failure(self) -> None:
        self.channel.close()
        self.disk.power_failure(lambda size: self.chance.randrange(size + 1))
        self.channel = self._open()

    def step(self) -> bool:
        batch = self.source.poll()
        if batch is None:
            return False
        if self.chance.random() < 0.3:
            # The put is never heard of; whether its rows were stored nobody knows.
            if self.chance.random() < 0.5:
                flow.ingest(batch, self.route)
            self.power_failure()
        try:
            flow.ingest(batch, self.route)
            self.source.accepted(batch)
        except PutRefused as error:
            for extent in {e.stream: e for e in reversed(batch.extents)}.values():
                place = error.next if extent.stream == error.stream else extent.start
                self.source.rewind(extent.stream, place)
        for stream in self.source.retired():
            self.channel.retire([stream])
        return True

    def settle(self) -> None:
        for _ in range(6):
            self.flow.clock.advance(1_100)
            while self.step():
                pass


@pytest.fixture
def quiet_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level("CRITICAL")
    yield


@pytest.mark.usefixtures("quiet_logs")
def test_f21_rotation_while_the_channel_crashes(tmp_path: Path) -> None:
    for seed in range(scaled(SEEDS)):
        directory = tmp_path / str(seed)
        crashing, writer, log = Crashing(directory, seed), Writer(LONG), directory / "a.log"
        for number in range(6):
            writer.append(log, crashing.chance.randrange(6, 20))
            crashing.flow.clock.advance(crashing.chance.choice([100, 300, 1_100]))
            crashing.step()
            if crashing.chance.random() < 0.5:
                log.rename(directory / f"a.log.r{number}")
            else:
                copy_and_truncate(log, number)
                crashing.flow.clock.advance(1_100)
                crashing.step()
        crashing.settle()
        assert Counter(take_all(crashing.channel)) == Counter(writer.lines), seed
        crashing.source.stop()
        crashing.channel.close()
