from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from channel_model import Flow
from pydantic import ValidationError

from rayflume.batch import EventBatch
from rayflume.component import Context, lookup
from rayflume.errors import OptionError, SourceFailed
from rayflume.interfaces import PollableSource
from rayflume.sources._files import open_file
from rayflume.sources.spooldir import Spooldir


def spooling(directory: Path, **options: object) -> Flow:
    def build(context: Context) -> PollableSource:
        return Spooldir.model_validate({"spool_dir": "spool", **options}).build(context)

    (directory / "spool").mkdir(exist_ok=True)
    return Flow(build, directory)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@pytest.fixture
def flow(tmp_path: Path, spool: Path) -> Iterator[Flow]:
    yield spooling(tmp_path)


def place(spool: Path, name: str, data: bytes, age: int = 0) -> Path:
    path = spool / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def names(spool: Path) -> list[str]:
    return sorted(str(path.relative_to(spool)) for path in spool.rglob("*") if path.is_file())


def next_batch(flow: Flow) -> EventBatch:
    batch = flow.poll()
    assert batch is not None
    return batch


def test_s5_file_is_renamed_only_after_it_is_accepted(flow: Flow, spool: Path) -> None:
    place(spool, "a", b"one\r\ntwo\n\nlast")
    flow.clock.advance(500)
    batch = next_batch(flow)
    assert batch.body.to_pylist() == [b"one", b"two", b"", b"last"]
    assert flow.poll() is None
    assert names(spool) == ["a"]
    assert flow.source.retired() == []
    flow.give(batch)
    assert names(spool) == ["a.COMPLETED"]
    assert flow.channel.live == set()


def test_large_file_takes_several_batches(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, batch_bytes=100, max_line_bytes=1000)
    lines = [b"%04d" % i for i in range(200)] + [b"x" * 900, b"end"]
    place(spool, "a", b"\n".join(lines))
    flow.clock.advance(500)
    first = next_batch(flow)
    second = next_batch(flow)
    flow.give(first)
    assert names(spool) == ["a"]
    flow.give(second)
    flow.settle()
    assert flow.channel.arrived == lines
    assert names(spool) == ["a.COMPLETED"]


def test_order_and_small_files_share_a_batch(tmp_path: Path, spool: Path) -> None:
    for order, expected in [("oldest", b"cab"), ("YOUNGEST", b"bac")]:
        place(spool, "a", b"a\n", age=20)
        place(spool, "b", b"b\n", age=10)
        place(spool, "c", b"c\n", age=30)
        flow = spooling(tmp_path, consume_order=order, delete_policy="immediate")
        batch = next_batch(flow)
        assert b"".join(batch.body.to_pylist()) == expected
        assert len(batch.extents) == 3
        flow.give(batch)
        assert names(spool) == []


def test_delete_policy_and_names_used_again(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, delete_policy="immediate")
    for i in range(5):
        place(spool, "same", b"%d\n" % i)
        flow.settle()
    assert flow.channel.arrived == [b"0", b"1", b"2", b"3", b"4"]
    assert flow.channel.live == set()
    assert names(spool) == []


def test_tracker_dir_leaves_files_alone(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, tracking_policy="tracker_dir", recursive_directory_search=True)
    place(spool, "a", b"a\n")
    place(spool, "sub/b", b"b\n")
    flow.settle()
    assert names(spool) == [
        ".flumespool/a.COMPLETED", ".flumespool/sub/b.COMPLETED", "a", "sub/b",
    ]  # fmt: skip
    flow.restart()
    flow.settle()
    assert sorted(flow.channel.arrived) == [b"a", b"b"]
    assert flow.channel.live == set()


def test_empty_file_gives_no_row_and_is_completed(flow: Flow, spool: Path) -> None:
    place(spool, "empty", b"")
    flow.settle()
    assert flow.channel.arrived == []
    assert flow.channel.positions == {}
    assert names(spool) == ["empty.COMPLETED"]


def test_patterns_hidden_files_and_directories(tmp_path: Path, spool: Path) -> None:
    flow = spooling(
        tmp_path,
        include_pattern=r".*\.csv",
        ignore_pattern=r"(skip.*)",
        recursive_directory_search=True,
    )
    for name in ["a.csv", "skip.csv", "b.txt", ".h.csv", "d.csv.COMPLETED", "sub/e.csv"]:
        place(spool, name, name.encode() + b"\n")
    place(spool, ".hidden/f.csv", b"f\n")
    place(spool, "skipped/g.csv", b"g\n")
    (spool / "dir.csv").mkdir()
    os.mkfifo(spool / "pipe.csv")
    flow.settle()
    assert sorted(flow.channel.arrived) == [b"a.csv", b"sub/e.csv"]


def test_headers(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, file_header=True, basename_header=True, basename_header_key="base")
    place(spool, "a", b"1\n2\n", age=1)
    place(spool, "b", b"3\n")
    flow.settle()
    assert flow.channel.headers == [
        {"base": "a", "file": str(spool / "a")},
        {"base": "a", "file": str(spool / "a")},
        {"base": "b", "file": str(spool / "b")},
    ]


# -- crashes


def test_crash_between_accepted_and_rename_reads_nothing_again(flow: Flow, spool: Path) -> None:
    place(spool, "a", b"one\ntwo\n")
    flow.clock.advance(500)
    flow.channel.put(next_batch(flow))
    flow.restart()
    flow.settle()
    assert flow.channel.arrived == [b"one", b"two"]
    assert names(spool) == ["a.COMPLETED"]
    assert flow.channel.live == set()


@pytest.mark.parametrize("policy", ["never", "immediate"])
def test_crash_between_rename_and_retired(tmp_path: Path, spool: Path, policy: str) -> None:
    flow = spooling(tmp_path, delete_policy=policy)
    place(spool, "a", b"one\n")
    flow.clock.advance(500)
    batch = next_batch(flow)
    flow.channel.put(batch)
    flow.source.accepted(batch)
    flow.restart()
    flow.settle()
    assert flow.channel.live == set()
    assert flow.channel.arrived == [b"one"]


def test_crash_in_the_middle_goes_on_there(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, batch_bytes=50)
    lines = [b"%06d" % i for i in range(100)]
    place(spool, "a", b"\n".join(lines))
    for _ in range(40):
        flow.clock.advance(500)
        if flow.source.at_end() or not flow.step():
            break
        flow.poll()
        flow.restart()
    flow.settle()
    assert flow.channel.arrived == lines
    assert names(spool) == ["a.COMPLETED"]


def test_same_name_inode_and_beginning_as_a_file_that_was_taken(flow: Flow, spool: Path) -> None:
    path = place(spool, "a", b"one\n")
    flow.clock.advance(500)
    flow.channel.put(next_batch(flow))
    # The source dies; the file is replaced by one that looks alike, in place of a reused inode.
    path.write_bytes(b"one\n")
    flow.restart()
    flow.settle()
    assert flow.channel.arrived == [b"one", b"one"]
    assert len(flow.channel.rows) == 2
    assert flow.channel.live == set()


def test_moved_back_to_be_read_again(flow: Flow, spool: Path) -> None:
    place(spool, "a", b"one\n")
    flow.settle()
    (spool / "a.COMPLETED").rename(spool / "a")
    flow.restart()
    flow.settle()
    assert flow.channel.arrived == [b"one", b"one"]


def test_file_that_an_option_hides_keeps_its_place(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, batch_bytes=10)
    place(spool, "a", b"one\ntwo\nthree\nfour\n")
    flow.clock.advance(500)
    flow.step()
    hidden = Spooldir(spool_dir="spool", ignore_pattern="a").build(flow.context())
    hidden.start(dict(flow.channel.positions))
    assert hidden.poll() is None
    assert hidden.retired() == []
    flow.restart()
    flow.settle()
    assert flow.channel.arrived == [b"one", b"two", b"three", b"four"]


def test_s4_rewind_at_every_extent_boundary(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, batch_bytes=40)
    lines = [b"%06d" % i for i in range(60)]
    place(spool, "a", b"\n".join(lines))
    for i in range(20):
        place(spool, f"s{i:02}", b"%d\n" % i, age=i - 50)
    flow.clock.advance(1_000)
    refused = 0
    for _ in range(200):
        held = [batch for batch in (flow.poll(), flow.poll(), flow.poll()) if batch is not None]
        for batch in reversed(held):
            refused += not flow.give(batch)
    assert refused > 10
    assert [row for row in flow.channel.arrived if len(row) == 6] == lines
    assert sorted(int(row) for row in flow.channel.arrived if len(row) < 6) == list(range(20))
    assert all(name.endswith(".COMPLETED") for name in names(spool))
    assert flow.channel.live == set()


# -- end


def test_s6_note_end_fixes_the_files(flow: Flow, spool: Path) -> None:
    place(spool, "a", b"one")
    assert not flow.source.at_end()
    flow.source.note_end()
    place(spool, "b", b"later\n")
    flow.finish()
    assert flow.channel.arrived == [b"one"]
    assert names(spool) == ["a.COMPLETED", "b"]


def test_s6_empty_directory_is_at_its_end(flow: Flow) -> None:
    assert not flow.source.at_end()
    flow.finish()
    assert flow.source.at_end()


# -- bad input


def test_file_that_grew_after_it_was_opened(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, batch_bytes=10)
    path = place(spool, "a", b"one\ntwo\nthree\nfour\n")
    flow.clock.advance(500)
    flow.step()
    with path.open("ab") as file:
        file.write(b"more\n")
    with pytest.raises(SourceFailed, match=r"spool/a' changed .* must not change after they"):
        flow.step()


def test_file_that_changed_before_it_was_completed(flow: Flow, spool: Path) -> None:
    path = place(spool, "a", b"one\n")
    flow.clock.advance(500)
    batch = next_batch(flow)
    path.write_bytes(b"ONE\n")
    with pytest.raises(SourceFailed, match="files must not change"):
        flow.give(batch)
    assert names(spool) == ["a"]


def test_target_of_the_rename_exists(flow: Flow, spool: Path) -> None:
    place(spool, "a", b"one\n")
    place(spool, "a.COMPLETED", b"older\n")
    with pytest.raises(SourceFailed, match=r"a.COMPLETED' exists; names must not be used twice"):
        flow.settle()
    assert (spool / "a.COMPLETED").read_bytes() == b"older\n"


def test_file_that_vanishes_between_listing_and_opening(flow: Flow, spool: Path) -> None:
    place(spool, "a", b"one\n")
    flow.source.note_end()
    (spool / "a").unlink()
    flow.finish()
    assert flow.channel.arrived == []


def test_file_that_vanishes_half_read(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, batch_bytes=10)
    path = place(spool, "a", b"one\ntwo\nthree\nfour\n")
    flow.clock.advance(500)
    flow.step()
    path.unlink()
    with pytest.raises(SourceFailed, match="cannot be read to its end"):
        flow.step()


def test_unreadable_file_does_not_stop_the_others(
    flow: Flow, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> tuple[int, os.stat_result]:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path)

    place(spool, "a", b"secret\n")
    place(spool, "b", b"open\n")
    with monkeypatch.context() as patch:
        patch.setattr("rayflume.sources._spooling.open_file", refuse)
        flow.settle()
        assert flow.channel.arrived == [b"open"]
        assert "spool/a': Permission denied" in str(flow.source.describe()["problems"])
        assert flow.metrics.snapshot()["EventReadFail"] == 1
    flow.settle()
    assert flow.channel.arrived == [b"open", b"secret"]
    assert flow.source.describe()["problems"] == []


def test_directory_that_vanishes(flow: Flow, spool: Path) -> None:
    spool.rmdir()
    flow.clock.advance(1_000)
    with pytest.raises(SourceFailed, match="cannot list"):
        flow.poll()


def test_directory_must_exist(tmp_path: Path) -> None:
    context = Flow.context
    flow = spooling(tmp_path)
    with pytest.raises(OptionError, match=r"part: spool_dir: .*nowhere' is no directory"):
        Spooldir(spool_dir="nowhere").build(context(flow))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Field required"),
        ({"spool_dir": "x", "include_pattern": "["}, "is not a regular expression"),
        ({"spool_dir": "x", "deserializer": "lines"}, "did you mean 'line'"),
        ({"spool_dir": "x", "deserializer": {"type": "line", "schema": 1}}, "deserializer.schema"),
        ({"spool_dir": "x", "input_charset": "utf-9"}, "did you mean UTF-8"),
        ({"spool_dir": "x", "decode_error_policy": "no"}, "'keep', 'fail', 'replace' or 'ignore'"),
        ({"spool_dir": "x", "delete_policy": "later"}, "'never' or 'immediate'"),
        ({"spool_dir": "x", "file_suffix": ""}, "at least 1 character"),
    ],
)
def test_wrong_options_are_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Spooldir.model_validate(options)


def test_ten_thousand_small_files(tmp_path: Path, spool: Path) -> None:
    for i in range(10_000):
        (spool / f"{i}").write_bytes(b"a\nb")
    flow = spooling(tmp_path)
    flow.finish()
    assert len(flow.channel.arrived) == 20_000
    assert flow.channel.live == set()
    assert flow.source.describe()["completed_files"] == 10_000


def test_lookup_finds_it() -> None:
    assert lookup("source", "SpoolDir") is Spooldir


def test_a_link_to_a_directory_above_brings_no_file_again(tmp_path: Path, spool: Path) -> None:
    flow = spooling(tmp_path, tracking_policy="tracker_dir", recursive_directory_search=True)
    place(spool, "sub/a", b"a\n")
    (spool / "sub" / "up").symlink_to(spool)
    flow.settle()
    flow.restart()
    flow.settle()
    assert flow.channel.arrived == [b"a"]


def test_a_sub_directory_that_vanishes_while_it_is_listed_ends_nothing(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = spooling(tmp_path, recursive_directory_search=True)
    place(spool, "a", b"a\n")
    (spool / "sub").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("sub"):
            (spool / "sub").rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    flow.settle()
    assert flow.channel.arrived == [b"a"]
