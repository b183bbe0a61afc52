"""`rayflume fsck --repair`: whole afterwards, nothing lost that could be read, nothing deleted."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import context, deliver, manifest_of, numbers, put_numbers, take_rows

from rayflume.channels._journaled import JournaledChannel
from rayflume.channels.file import File
from rayflume.cli import fsck as fsck_module
from rayflume.cli import run
from rayflume.clock import ManualClock
from rayflume.errors import JournalDamaged
from rayflume.journal.disk import LocalDisk, LocalFile
from rayflume.journal.reader import RowsUnreadable
from rayflume.journal.repair import repair
from rayflume.journal.segment import Kind
from rayflume.journal.survey import segments, survey

Captured = pytest.CaptureFixture[str]


def channel_in(wal: Path, strict: bool = False) -> JournaledChannel:
    options = {"directory": str(wal), "strict": strict, "capacity": {"bytes": "8MiB"}}
    found = File.model_validate(options).build(context(wal.parent))
    found.open()
    return found


@pytest.fixture
def wal(tmp_path: Path) -> Path:
    """Three lives: rows 0 to 40 waiting but for 10 to 20, which are prepared."""
    place = tmp_path / "wal"
    channel = channel_in(place)
    put_numbers(channel, 0, 10)
    put_numbers(channel, 10, 20)
    put_numbers(channel, 0, 5, "other")
    channel.close()
    channel = channel_in(place)
    first = channel.take("lake/1/a", "", 1, 0).delivery
    second = take_rows(channel, "lake/0/a")
    assert second.rows[:10] == numbers(10, 20)
    channel.release(first)
    channel.release(second.taken.delivery)
    put_numbers(channel, 20, 30)
    held = channel.take("lake/1/a", "", 1, 0)
    delivery = channel.take("lake/0/a", "", 1, 0)
    channel.prepare(manifest_of(delivery.delivery, 10), "lake/0/a")
    channel.release(held.delivery)
    channel.close()
    channel = channel_in(place)
    put_numbers(channel, 30, 40)
    channel.close()
    assert len(segments(place)) == 3
    return place


def rows_left(wal: Path, strict: bool = False) -> list[bytes]:
    """What a channel still delivers, from a copy."""
    copy = wal.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(wal, copy)
    channel = channel_in(copy, strict)
    rows: list[bytes] = []
    while got := deliver(channel):
        rows += got
    channel.close()
    return rows


def damage(wal: Path, kind: Kind, number: int = 0, inside: int = 4) -> tuple[str, int]:
    """Flip a byte of the n-th record of a kind, `inside` from its start."""
    record = [f for f in survey(wal).found.records if f.head.kind is kind][number]
    path = wal / record.segment
    data = bytearray(path.read_bytes())
    data[record.offset + (inside if inside >= 0 else record.head.body_offset)] ^= 0xFF
    path.write_bytes(data)
    return record.segment, record.offset


def damage_head(wal: Path) -> None:
    damage(wal, Kind.PUT, 0, 20)


def damage_body(wal: Path) -> None:
    damage(wal, Kind.PUT, 0, -1)


def damage_snapshot(wal: Path) -> None:
    damage(wal, Kind.SNAPSHOT, 2, -1)


def damage_opening(wal: Path) -> None:
    damage(wal, Kind.SEGMENT, 1, 20)


def zero_middle(wal: Path) -> None:
    path = wal / segments(wal)[1]
    path.write_bytes(bytes(path.stat().st_size))


def damage_two(wal: Path) -> None:
    damage(wal, Kind.PUT, 0, -1)
    damage(wal, Kind.PUT, 3, 20)


ALL = [damage_head, damage_body, damage_snapshot, damage_opening, zero_middle, damage_two]


@pytest.mark.parametrize("hurt", ALL)
def test_repaired_is_whole_and_serves_what_the_damaged_one_served(
    wal: Path, hurt: Callable[[Path], None], capsys: Captured
) -> None:
    hurt(wal)
    assert run(["fsck", str(wal)]) == 1
    assert "rayflume fsck --repair" in capsys.readouterr().out
    with pytest.raises((JournalDamaged, RowsUnreadable)):
        rows_left(wal, strict=True)
    hurt_bytes = {name: (wal / name).read_bytes() for name in segments(wal)}
    before = readable_rows(wal)
    prepared = [m.delivery for m, _ in survey(wal).prepared()]
    assert run(["fsck", str(wal), "--repair"]) == 0
    text = capsys.readouterr().out
    assert "left out" in text and text.endswith("every record is whole\n")
    assert run(["fsck", str(wal)]) == 0
    assert rows_left(wal, strict=True) == before
    assert [m.delivery for m, _ in survey(wal).prepared()] == prepared
    now = {path.read_bytes() for path in wal.iterdir() if path.is_file()}
    assert set(hurt_bytes.values()) <= now, "no byte is deleted"


def readable_rows(wal: Path) -> list[bytes]:
    """Waiting rows in whole records, as `rayflume journal export` finds them, in order."""
    out = wal.parent / "rows.json"
    out.unlink(missing_ok=True)
    assert run(["journal", "export", str(wal), "-o", str(out)]) in (0, 1)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [row["body"].encode() for row in rows if "delivery" not in row]


def test_repairing_again_changes_nothing(wal: Path, capsys: Captured) -> None:
    damage_head(wal)
    assert run(["fsck", str(wal), "--repair"]) == 0
    before = {path.name: path.read_bytes() for path in wal.iterdir()}
    before.pop("in_use.lock")
    capsys.readouterr()
    assert run(["fsck", str(wal), "--repair"]) == 0
    assert capsys.readouterr().out.startswith("nothing to repair\n")
    after = {path.name: path.read_bytes() for path in wal.iterdir()}
    after.pop("in_use.lock")
    assert after == before


def test_a_missing_segment_is_named_and_given_up(wal: Path, capsys: Captured) -> None:
    first = wal / segments(wal)[0]
    first.rename(wal.parent / "elsewhere")
    assert run(["fsck", str(wal)]) == 1
    assert "rows that were not delivered can't be read any more" in capsys.readouterr().err
    assert run(["fsck", str(wal), "--repair"]) == 0
    assert "given up: 15 rows" in capsys.readouterr().out
    assert rows_left(wal, strict=True) == numbers(20, 40)


def test_a_running_channel_is_not_repaired(wal: Path, capsys: Captured) -> None:
    damage_head(wal)
    channel = channel_in(wal)
    before = {path.name: path.read_bytes() for path in wal.iterdir()}
    assert run(["fsck", str(wal), "--repair"]) == 1
    error = capsys.readouterr().err
    assert "is in use by test/wal on " in error and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in wal.iterdir()} == before
    channel.close()


def test_as_json_it_says_what_it_did(wal: Path, capsys: Captured) -> None:
    segment, offset = damage(wal, Kind.PUT, 0, -1)
    assert run(["fsck", str(wal), "--repair", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["state"] == "whole"
    done = found["repaired"]
    assert done["kept"] == {segment: f"damaged-{segment}"}
    [part] = done["left_out"]
    assert (part["segment"], part["start"]) == (segment, offset)
    assert found["positions"]["s"] == {"next": 40, "retired": False}
    places = found["unfinished_places"]
    assert [place["rows"] for place in places if place["delivery"] is None] == [
        [20, 25], [25, 35], [35, 45],
    ]  # fmt: skip
    assert sum(place["delivery"] is not None for place in places) == 1


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("hurt", [damage_two, zero_middle, damage_snapshot])
def test_killed_at_any_step_it_can_be_done_again(
    wal: Path, hurt: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hurt(wal)
    wanted, hurt_bytes = readable_rows(wal), {(wal / n).read_bytes() for n in segments(wal)}
    whole, step = wal.parent / "whole", 0
    shutil.copytree(wal, whole)
    while True:
        shutil.rmtree(wal)
        shutil.copytree(whole, wal)
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            try:
                repair(wal)
                break
            except Killed:
                pass
        repair(wal)
        assert survey(wal, bodies=True).state == "whole", step
        assert rows_left(wal, strict=True) == wanted, step
        assert hurt_bytes <= {p.read_bytes() for p in wal.iterdir()}, step
        step += 1
    assert step > 8


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let the call with this number of those that change a disk not return."""
    count = 0

    def killing(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count - 1 == step:
                raise Killed
            return real(*arguments)

        patch.setattr(owner, name, call)

    for name in ("create", "keep_as", "replace", "unlink", "sync_directory"):
        killing(LocalDisk, name)
    for name in ("write", "sync"):
        killing(LocalFile, name)


def test_progress_in_a_log_is_sparse(capsys: Captured) -> None:
    clock = ManualClock()
    lines = fsck_module.Lines("checking", clock)
    for done in range(100):
        clock.advance(200)
        lines.seen(done * 10**8, 10**10)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 3
    assert shown[0] == "checking: 2.3 GiB of 9.3 GiB, 500 MB/s"


def test_nothing_but_json_is_on_stdout(wal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr(fsck_module, "LINE_EVERY_MS", 0)
    assert run(["fsck", str(wal), "--json"]) == 0
    assert json.loads(out.getvalue())["state"] == "whole"
