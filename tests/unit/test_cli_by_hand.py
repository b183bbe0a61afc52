"""`rayflume journal deliveries --abandon|--publish` and `journal drain`: a channel by hand."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fakes import numbers, put_numbers, request

from rayflume.agent import by_hand
from rayflume.agent.parts import Place
from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.cli import run
from rayflume.clock import SystemClock
from rayflume.config import component_of, load
from rayflume.dead_letters import DEAD_SCHEMA
from rayflume.interfaces import Manifest
from rayflume.journal.disk import LocalDisk, LocalFile
from rayflume.journal.reader import decode_rows
from rayflume.journal.store import Journal
from rayflume.journal.survey import survey
from rayflume.sinks.parquet import ParquetSink

Captured = pytest.CaptureFixture[str]
CONF = """\
agent: hand
sources:
  n: {type: spooldir, spool_dir: in, channels: [wal]}
channels:
  wal: {type: file, directory: wal, capacity: {bytes: 64MiB}}
sinks:
  lake: {type: parquet, channel: wal, path: lake, format: {type: text}}
"""


class Site:
    """A configuration, its channel and its sink."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.conf = directory / "c.yaml"
        self.conf.write_text(CONF)
        (directory / "in").mkdir()
        plan = load(self.conf)
        self.wal = directory / "wal"
        self.channel: JournaledChannel = component_of(plan.channels["wal"]).build(
            Place(plan, plan.channels["wal"]).context(SystemClock())
        )
        self.sink: ParquetSink = component_of(plan.sinks["lake"]).build(
            Place(plan, plan.sinks["lake"]).context(SystemClock())
        )
        self.sink.open()
        self.channel.open()

    def prepare(self) -> Manifest:
        """Take the oldest put, stage and prepare it."""
        taken = self.channel.take("lake/0/a", "", 1, 0)
        writer = self.sink.begin(taken.delivery)
        for ref in taken.refs:
            [record] = self.channel.fetch([ref])
            writer.write(decode_rows(record, ref), ref.position)
        manifest = writer.stage()
        self.channel.prepare(manifest, "lake/0/a")
        return manifest

    def lake(self) -> list[str]:
        files = (self.directory / "lake").glob("part-*.parquet")
        return sorted(row for f in files for row in pq.read_table(f).column(0).to_pylist())

    def dead(self, delivery: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = pq.read_table(
            self.wal / "dead_letters" / f"{delivery}.dead", schema=DEAD_SCHEMA
        ).to_pylist()
        return rows


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def abandoned(site: Site, delivery: str, *more: str) -> int:
    return run(["journal", "deliveries", str(site.wal), "--abandon", delivery, *more])


def test_an_abandoned_delivery_is_in_the_dead_letters_and_committed(
    site: Site, capsys: Captured
) -> None:
    site.channel.put(request([b"a", None, b"\xff"], [Extent("s", 0, 30, 3, b"t")]))
    put_numbers(site.channel, 0, 10, "other")
    manifest = site.prepare()
    assert abandoned(site, manifest.delivery) == 1
    assert "is in use by hand/wal on " in capsys.readouterr().err
    site.channel.close()
    assert abandoned(site, manifest.delivery) == 0
    file = site.wal / "dead_letters" / f"{manifest.delivery}.dead"
    said = f"abandoned: {manifest.delivery}; its 3 rows are in {file}\n"
    assert capsys.readouterr().out == said
    rows = site.dead(manifest.delivery)
    assert [row["body"] for row in rows] == [b"a", None, b"\xff"]
    assert [row["position"] for row in rows] == [0, 1, 2]
    assert {row["stream"] for row in rows} == {"s"}
    assert {row["reason"] for row in rows} == {"abandoned by hand: 2 files of sink lake"}
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.stat().st_mode & 0o777 == 0o600
    found = survey(site.wal, bodies=True)
    assert (found.state, found.prepared(), len(found.ledger.unfinished)) == ("whole", [], 10)
    assert abandoned(site, manifest.delivery) == 2
    assert "has no delivery" in capsys.readouterr().err
    assert site.dead(manifest.delivery) == rows


def test_a_file_that_is_there_is_never_overwritten(site: Site, capsys: Captured) -> None:
    put_numbers(site.channel, 0, 10)
    delivery = site.prepare().delivery
    site.channel.close()
    file = site.directory / "mine.dead"
    file.write_bytes(b"of somebody else")
    assert abandoned(site, delivery, "--output", str(file)) == 2
    assert "exists and is not of the delivery" in capsys.readouterr().err
    assert file.read_bytes() == b"of somebody else"
    assert len(survey(site.wal).prepared()) == 1
    other = site.directory / "new" / "place.dead"
    assert abandoned(site, delivery, "-o", str(other)) == 0
    assert pq.read_table(other)["body"].to_pylist() == numbers(0, 10)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.exhaustive
def test_abandoning_that_was_killed_anywhere_is_done_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    steps = 0
    for start in range(0, 10_000, 10):
        put_numbers(site.channel, start, start + 10)
        delivery = site.prepare().delivery
        site.channel.close()
        killed = False
        with monkeypatch.context() as patch:
            kill_at(patch, steps)
            try:
                abandoned(site, delivery)
            except Killed:
                killed = True
        if not killed:
            break
        if survey(site.wal).prepared():
            assert abandoned(site, delivery) == 0, steps
        rows = site.dead(delivery)
        assert [row["body"] for row in rows] == numbers(start, start + 10), steps
        assert survey(site.wal, bodies=True).state == "whole"
        site.channel.open()
        assert site.channel.state().prepared == 0
        steps += 1
    assert steps > 8


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let the call with this number of those that change a disk not return."""
    count = 0

    def killing(owner: object, name: str) -> None:
        real: Callable[..., object] = getattr(owner, name)

        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count - 1 == step:
                raise Killed
            return real(*arguments, **options)

        patch.setattr(owner, name, call)

    for name in ("create", "unlink", "sync_directory"):
        killing(LocalDisk, name)
    for name in ("write", "sync"):
        killing(LocalFile, name)
    killing(Journal, "append")
    killing(Path, "hardlink_to")
    killing(by_hand, "sync_directory")
    killing(by_hand, "dead_table")


def test_rows_that_can_not_be_read_are_named_and_set_aside(site: Site, capsys: Captured) -> None:
    put_numbers(site.channel, 0, 10)
    put_numbers(site.channel, 10, 20)
    taken = site.channel.take("lake/0/a", "", 2**20, 0)
    site.channel.prepare(Manifest(taken.delivery, "lake", rows=20, written=20), "lake/0/a")
    put_numbers(site.channel, 20, 30)
    site.channel.close()
    [segment] = site.wal.glob("segment-*")
    data = bytearray(segment.read_bytes())
    data[data.index(b"10111213")] ^= 1
    segment.write_bytes(data)
    assert abandoned(site, taken.delivery) == 1
    captured = capsys.readouterr()
    assert "its 10 rows are in" in captured.out
    assert "left out: the rows 10 to 20: wrong checksum" in captured.err
    assert [row["position"] for row in site.dead(taken.delivery)] == list(range(10))
    assert len(list(site.wal.glob("damaged-*.bin"))) == 1
    assert len(survey(site.wal).ledger.unfinished) == 10


def published(site: Site, delivery: str, conf: Path | None = None) -> int:
    given = ["--config", str(conf or site.conf)]
    return run(["journal", "deliveries", str(site.wal), "--publish", delivery, *given])


@pytest.mark.parametrize("lost", [False, True])
def test_a_prepared_delivery_is_published_and_committed(
    site: Site, lost: bool, capsys: Captured
) -> None:
    put_numbers(site.channel, 0, 10)
    manifest = site.prepare()
    put_numbers(site.channel, 10, 20)
    other = site.prepare()
    assert published(site, manifest.delivery) == 1
    assert "is in use by hand/wal on " in capsys.readouterr().err
    site.channel.close()
    if lost:
        (site.directory / "lake" / str(manifest.files[0].handle["staged"])).unlink()
    assert published(site, manifest.delivery) == 0
    said = f"published and committed: {manifest.delivery}, 10 rows of lake\n"
    assert capsys.readouterr().out == said
    assert site.lake() == sorted(str(i) for i in range(10))
    assert [m.delivery for m, _ in survey(site.wal).prepared()] == [other.delivery]
    assert published(site, manifest.delivery) == 2
    assert f"there: {other.delivery}" in capsys.readouterr().err


def test_publishing_with_the_wrong_configuration_is_refused(site: Site, capsys: Captured) -> None:
    put_numbers(site.channel, 0, 10)
    delivery = site.prepare().delivery
    site.channel.close()
    wrong = site.directory / "wrong.yaml"
    wrong.write_text(CONF.replace("  lake:", "  pond:"))
    assert published(site, delivery, wrong) == 2
    assert "the delivery is of sink 'lake', and" in capsys.readouterr().err
    wrong.write_text(CONF.replace("directory: wal", "directory: elsewhere"))
    assert published(site, delivery, wrong) == 2
    assert "has its journal in" in capsys.readouterr().err
    assert run(["journal", "deliveries", str(site.wal), "--publish", delivery]) == 2
    assert len(survey(site.wal).prepared()) == 1
    assert site.lake() == []


def test_a_channel_is_drained_without_its_sources(site: Site, capsys: Captured) -> None:
    (site.directory / "in" / "unread.txt").write_text("not for now\n")
    put_numbers(site.channel, 0, 10)
    site.prepare()
    put_numbers(site.channel, 10, 1_000)
    assert run(["journal", "drain", str(site.conf)]) == 1
    error = capsys.readouterr().err
    assert "is in use by hand/wal on " in error and error.endswith(": stop it first\n")
    site.channel.close()
    assert run(["journal", "drain", str(site.conf), "--channel", "nope"]) == 2
    assert "has no channel 'nope'; it has: wal" in capsys.readouterr().err
    assert run(["journal", "drain", str(site.conf), "--channel", "wal"]) == 0
    assert "hand: drained\n" in capsys.readouterr().out
    assert site.lake() == sorted(str(i) for i in range(1_000))
    assert len(survey(site.wal).ledger.unfinished) == 0
    assert (site.directory / "in" / "unread.txt").exists()


def test_nothing_to_drain_makes_no_journal(tmp_path: Path, capsys: Captured) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(CONF)
    assert run(["journal", "drain", str(conf)]) == 2
    assert "the channels have no journal on this host: there is nothing to drain" in (
        capsys.readouterr().err
    )
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_a_drain_that_is_interrupted_goes_on_the_next_time(site: Site) -> None:
    bodies = [b"%07d %s" % (i, b"x" * 200) for i in range(100_000)]
    for start in range(0, len(bodies), 2_000):
        part = bodies[start : start + 2_000]
        site.channel.put(request(part, [Extent("s", start, start + 2_000, 2_000)]))
    site.channel.close()
    command = [sys.executable, "-m", "rayflume", "journal", "drain", str(site.conf)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline()
    for _ in range(2):
        running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 0, error
    assert "Traceback" not in error
    again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stderr) == (0, "")
    assert site.lake() == [body.decode() for body in bodies]
