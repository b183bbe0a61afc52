"""What Flume's Taildir source does, option by option, and where Flume stood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from channel_model import Flow

from rayflume.errors import SourceFailed
from rayflume.sources.taildir import Taildir

LINES = [b"line %d" % i for i in range(10)]
TEXT = b"\n".join(LINES) + b"\n"


def tailing(directory: Path, **options: object) -> Flow:
    (directory / "logs").mkdir(exist_ok=True)
    given = {
        "filegroups": {"g": r"logs/app\.log.*"}, "position_file": "positions.json", "linger": 0,
        **options,
    }  # fmt: skip
    return Flow(Taildir.model_validate(given).build, directory)


def place(directory: Path, name: str, data: bytes = TEXT) -> Path:
    path = directory / "logs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def note(directory: Path, *entries: tuple[Path, int], **changed: object) -> None:
    """What Flume writes, in the documented layout."""
    found = [
        {"inode": path.stat().st_ino, "pos": pos, "file": str(path), **changed}
        for path, pos in entries
    ]
    (directory / "positions.json").write_text(json.dumps(found, separators=(",", ":")))


def test_goes_on_where_flume_stood(tmp_path: Path) -> None:
    log, other = place(tmp_path, "app.log"), place(tmp_path, "app.log.2", b"a\nb\n")
    note(tmp_path, (log, 28), (other, 4))
    place(tmp_path, "app.log.new", b"new\n")
    flow = tailing(tmp_path)
    flow.settle()
    with log.open("ab") as file:
        file.write(b"more\n")
    flow.settle()
    assert sorted(flow.channel.arrived) == sorted([*LINES[4:], b"new", b"more"])
    before = (tmp_path / "positions.json").read_bytes()
    flow.restart()
    flow.settle()
    assert len(flow.channel.arrived) == 8
    assert (tmp_path / "positions.json").read_bytes() == before


def test_all_places_are_in_the_first_put(tmp_path: Path) -> None:
    logs = [place(tmp_path, f"app.log.{i}") for i in range(3)]
    note(tmp_path, *((log, 28) for log in logs))
    flow = tailing(tmp_path)
    flow.clock.advance(1_000)
    first = flow.poll()
    assert first is not None and first.num_rows == 0
    assert [(extent.start, extent.end) for extent in first.extents] == [(0, 28)] * 3
    flow.restart()  # the put never arrived: the file is read again
    flow.settle()
    assert sorted(flow.channel.arrived) == sorted(LINES[4:] * 3)


def test_never_again_once_a_channel_knows_a_file(tmp_path: Path) -> None:
    """Inodes are used again: by then the position is that of a file that is gone."""
    log = place(tmp_path, "app.log")
    note(tmp_path, (log, 28))
    flow = tailing(tmp_path)
    flow.settle()
    flow.source.stop()
    second = place(tmp_path, "app.log.second", b"x" * 40 + b"\nsecond\n")
    note(tmp_path, (log, 28), (second, 41))
    flow.source = flow._begin()
    flow.settle()
    assert flow.channel.arrived[-2:] == [b"x" * 40, b"second"]


@pytest.mark.parametrize(
    ("name", "pos", "expected"),
    [
        ("app.log.1", 28, LINES[4:]),
        ("app.log-2026-01-01", 28, LINES[4:]),
        ("app.log.1", 30, LINES),  # no line ends there: the inode is another file's by now
        ("app.log.1", len(TEXT), []),
        ("app.logger", 28, LINES),
    ],
)
def test_a_file_that_was_rotated_meanwhile(
    tmp_path: Path, name: str, pos: int, expected: list[bytes]
) -> None:
    log = place(tmp_path, "app.log")
    note(tmp_path, (log, pos))
    log.rename(log.with_name(name))
    place(tmp_path, "app.log", b"fresh\n")
    flow = tailing(tmp_path)
    flow.settle()
    assert sorted(flow.channel.arrived) == sorted([*expected, b"fresh"])


@pytest.mark.parametrize(
    ("pos", "changed", "expected"),
    [
        (0, {}, LINES),
        (28, {"inode": 1}, LINES),
        (28, {"file": "/elsewhere/app.log"}, LINES),
        (len(TEXT) + 1, {}, LINES),  # it was truncated
        (30, {}, [b"ne 4", *LINES[5:]]),  # half a line that Flume gave out when it was idle
    ],
)
def test_entries_count_by_inode_path_and_size(
    tmp_path: Path, pos: int, changed: dict[str, object], expected: list[bytes]
) -> None:
    note(tmp_path, (place(tmp_path, "app.log"), pos), **changed)
    flow = tailing(tmp_path)
    flow.settle()
    assert flow.channel.arrived == expected


def test_a_directory_that_is_a_link(tmp_path: Path) -> None:
    log = place(tmp_path, "app.log")
    note(tmp_path, (log, 28))
    (tmp_path / "link").symlink_to(tmp_path / "logs")
    flow = tailing(tmp_path, filegroups={"g": r"link/app\.log"})
    flow.settle()
    assert flow.channel.arrived == LINES[4:]


def test_a_file_that_shrank_since_is_read_from_its_beginning_not_from_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Flume: "Pos 70 is larger than file size! Restarting from pos 0"."""
    log, unknown = place(tmp_path, "app.log"), place(tmp_path, "app.log.2")
    note(tmp_path, (log, len(TEXT)))
    log.write_bytes(b"anew\n")
    flow = tailing(tmp_path, skip_to_end=True)
    flow.settle()
    assert unknown.stat().st_size == len(TEXT)
    assert flow.channel.arrived == [b"anew"]
    assert "has 5 bytes and Flume stood at 70: it is read from its beginning" in caplog.text


def test_positions_go_before_skip_to_end(tmp_path: Path) -> None:
    log, whole = place(tmp_path, "app.log"), place(tmp_path, "app.log.2")
    note(tmp_path, (log, 28), (whole, 0))
    place(tmp_path, "app.log.3")
    flow = tailing(tmp_path, skip_to_end=True)
    flow.settle()
    assert sorted(flow.channel.arrived) == sorted([*LINES[4:], *LINES])


@pytest.mark.parametrize(
    "data",
    [b"{}x", b'[{"inode": 1}]', b'[{"inode": "1", "pos": 2, "file": "x"}]', b"[1]", b"7",
     b'[{"inode": 1, "pos": -2, "file": "x"}]', b'[{"inode":1,"pos":2,"file":"x"}'],
)  # fmt: skip
def test_a_damaged_position_file_is_an_error_and_nothing_is_read(
    tmp_path: Path, data: bytes
) -> None:
    place(tmp_path, "app.log")
    (tmp_path / "positions.json").write_bytes(data)
    with pytest.raises(SourceFailed, match=r"positions\.json' cannot be read: .*move it away"):
        tailing(tmp_path)
    (tmp_path / "positions.json").rename(tmp_path / "kept")
    flow = tailing(tmp_path)
    flow.settle()
    assert flow.channel.arrived == LINES
    (tmp_path / "kept").rename(tmp_path / "positions.json")
    flow.restart()  # by now it does not matter
    flow.settle()
    assert flow.channel.arrived == LINES


@pytest.mark.parametrize("data", [None, b"", b" \n", b"[]"])
def test_no_positions(tmp_path: Path, data: bytes | None) -> None:
    place(tmp_path, "app.log")
    if data is not None:
        (tmp_path / "positions.json").write_bytes(data)
    flow = tailing(tmp_path)
    flow.settle()
    assert flow.channel.arrived == LINES


def test_a_position_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "positions.json").mkdir()
    with pytest.raises(SourceFailed, match="Is a directory"):
        tailing(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (r"app\.log", ["app.log"]),
        (r"[a-z&&[^b]]pp\.log", ["app.log"]),
        (r"app\.(?:log|txt)(\.\d+)?", ["app.log", "app.log.1", "app.txt"]),
        (r"\p{Lower}++\.log", ["app.log", "bpp.log"]),
        (r"(?i)APP\.LOG", ["app.log"]),
    ],
)
def test_file_groups_have_javas_regular_expressions(
    tmp_path: Path, pattern: str, names: list[str]
) -> None:
    for name in ("app.log", "app.log.1", "app.txt", "bpp.log", "app.log.x"):
        place(tmp_path, name, name.encode() + b"\n")
    flow = tailing(tmp_path, filegroups={"g": f"logs/{pattern}"})
    flow.settle()
    assert sorted(row.decode() for row in flow.channel.arrived) == sorted(names)


def test_options_as_the_table_of_flume_names_sets_them(tmp_path: Path) -> None:
    log = place(tmp_path, "app.log", b"a\r\nb")
    flow = tailing(
        tmp_path,
        position_file=None,
        headers={"g": {"k": "v"}},
        byte_offset_header=True,
        file_header=True,
        file_header_key="f",
        idle_timeout="2min",
        unterminated_timeout="2min",
        batch_size=1,
    )
    flow.settle()
    assert flow.channel.arrived == [b"a"]
    flow.clock.advance(120_000)
    flow.settle()
    assert flow.channel.arrived == [b"a", b"b"]
    assert flow.channel.headers == [
        {"k": "v", "byteoffset": "0", "f": str(log)},
        {"k": "v", "byteoffset": "3", "f": str(log)},
    ]


def test_a_file_that_gets_an_inode_of_the_positions_later_is_whole(tmp_path: Path) -> None:
    log = place(tmp_path, "other")
    note(tmp_path, (log, 28), file=str(log.with_name("app.log")))
    flow = tailing(tmp_path)
    flow.settle()
    log.rename(log.with_name("app.log"))
    flow.settle()
    assert flow.channel.arrived == LINES


def test_a_batch_that_is_full_of_rows_does_not_wait_for_more(tmp_path: Path) -> None:
    """Else a batchSize of 100 would be 500 rows a second."""
    place(tmp_path, "app.log")
    flow = tailing(tmp_path, batch_size=3, linger="200ms")
    assert flow.poll() is None
    flow.clock.advance(200)
    found = [flow.poll() for _ in range(5)]
    assert [batch.num_rows if batch else 0 for batch in found] == [3, 3, 3, 1, 0]
