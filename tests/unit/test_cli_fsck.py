"""`rayflume fsck` and `rayflume journal` on real journals: whole, torn, damaged, in use."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from fakes import context, put_numbers, request

from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.channels.file import File
from rayflume.cli import run
from rayflume.interfaces import Manifest
from rayflume.journal.survey import survey

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def wal(tmp_path: Path) -> Path:
    return tmp_path / "wal"


@pytest.fixture
def channel(wal: Path) -> JournaledChannel:
    found = File(directory=str(wal)).build(context(wal.parent))
    found.open()
    return found


def fsck(wal: Path, capsys: Captured) -> tuple[int, dict[str, object]]:
    code = run(["fsck", str(wal), "--json"])
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return code, found


def prepared(channel: JournaledChannel, rows: int) -> str:
    """Take all waiting rows for a delivery and prepare it."""
    taken = channel.take("lake/0/x", "", 1, 1_000)
    assert taken.rows == rows
    manifest = Manifest(taken.delivery, "lake", rows=rows, written=rows)
    channel.prepare(manifest, "lake/0/x")
    return taken.delivery


def test_a_whole_journal(channel: JournaledChannel, wal: Path, capsys: Captured) -> None:
    put_numbers(channel, 0, 10)
    put_numbers(channel, 10, 15)
    channel.commit(prepared(channel, 10))
    channel.close()
    code, found = fsck(wal, capsys)
    assert (code, found["state"], found["in_use_by"]) == (0, "whole", None)
    assert found["rows"] == {"put": 15, "unfinished": 5, "prepared": 0, "lost": 0}
    assert (found["streams"], found["epoch"]) == (1, 1)
    records = found["records"]
    assert isinstance(records, dict)
    assert (records["put"], records["prepared"], records["committed"]) == (2, 1, 1)
    assert run(["fsck", str(wal)]) == 0
    text = capsys.readouterr().out
    assert "15 put, 5 not delivered yet" in text
    assert text.endswith("every record is whole\n")


def test_a_journal_in_use_names_its_owner_and_is_not_disturbed(
    channel: JournaledChannel, wal: Path, capsys: Captured
) -> None:
    put_numbers(channel, 0, 10)
    code, found = fsck(wal, capsys)
    assert (code, found["state"]) == (0, "whole")
    assert str(found["in_use_by"]).startswith("test/wal on ")
    put_numbers(channel, 10, 20)
    assert fsck(wal, capsys)[1]["rows"] == {"put": 20, "unfinished": 20, "prepared": 0, "lost": 0}
    channel.close()


def test_a_torn_tail_is_harmless(channel: JournaledChannel, wal: Path, capsys: Captured) -> None:
    put_numbers(channel, 0, 10)
    channel.close()
    [segment] = wal.glob("segment-*.log")
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(b"RFJ1" + bytes(60))
    code, found = fsck(wal, capsys)
    assert (code, found["state"], found["damaged"]) == (0, "torn", [])
    assert found["torn"] == [
        {
            "segment": segment.name,
            "start": size,
            "stop": size + 64,
            "reason": "torn tail: it was never synced",
        }
    ]
    assert run(["fsck", str(wal)]) == 0
    assert "torn tail, which the next opening cuts" in capsys.readouterr().out


def test_the_tail_of_a_running_channel_is_being_written(
    channel: JournaledChannel, wal: Path, capsys: Captured
) -> None:
    put_numbers(channel, 0, 10)
    [segment] = wal.glob("segment-*.log")
    with segment.open("ab") as file:
        file.write(b"RFJ1" + bytes(60))
    code, found = fsck(wal, capsys)
    assert (code, found["state"], found["torn"]) == (0, "whole", [])
    assert found["being_written"] != []
    channel.close()


def test_a_damaged_body_is_found_though_its_head_is_whole(
    channel: JournaledChannel, wal: Path, capsys: Captured
) -> None:
    put_numbers(channel, 0, 1_000)
    put_numbers(channel, 1_000, 1_010)
    channel.close()
    [segment] = wal.glob("segment-*.log")
    data = bytearray(segment.read_bytes())
    at = data.index(b"500501502")
    data[at] ^= 1
    segment.write_bytes(data)
    code, found = fsck(wal, capsys)
    assert (code, found["state"]) == (1, "damaged")
    damaged = found["damaged"]
    assert isinstance(damaged, list)
    [bad] = damaged
    assert bad["reason"] == "a put record with a wrong checksum"
    assert bad["start"] < at < bad["stop"]
    assert run(["fsck", str(wal)]) == 1
    assert f"damaged: {segment.name}, bytes " in capsys.readouterr().err


def test_a_damaged_head_is_found_and_its_rows_are_lost(
    channel: JournaledChannel, wal: Path, capsys: Captured
) -> None:
    put_numbers(channel, 0, 10)
    put_numbers(channel, 10, 20)
    channel.close()
    [record] = [f for f in survey(wal).found.records if f.head.meta.get("rows") == [0, 10]]
    [segment] = wal.glob("segment-*.log")
    data = bytearray(segment.read_bytes())
    data[record.offset + 50] ^= 1
    segment.write_bytes(data)
    code, found = fsck(wal, capsys)
    assert (code, found["state"]) == (1, "damaged")
    assert run(["journal", "export", str(wal)]) in (0, 1)
    bodies = [json.loads(line)["body"] for line in capsys.readouterr().out.splitlines()]
    assert bodies == [str(i) for i in range(10, 20)]


def test_fsck_changes_nothing(channel: JournaledChannel, wal: Path, capsys: Captured) -> None:
    put_numbers(channel, 0, 10)
    channel.close()
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in wal.iterdir()}
    fsck(wal, capsys)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in wal.iterdir()} == before


@pytest.mark.parametrize("command", [["fsck"], ["journal", "streams"], ["journal", "export"]])
def test_no_journal_is_one_sentence_and_2(
    command: list[str], tmp_path: Path, capsys: Captured
) -> None:
    assert run([*command, str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.endswith(
        "none does not exist: name the `directory` of a file channel\n"
    )
    assert run([*command, str(tmp_path)]) == 2
    assert "holds no journal" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert run([*command, str(tmp_path / "file")]) == 2
    assert "is no directory" in capsys.readouterr().err


def test_streams_are_listed_and_forgotten(
    channel: JournaledChannel, wal: Path, capsys: Captured
) -> None:
    put_numbers(channel, 0, 10, "a")
    put_numbers(channel, 0, 5, "b")
    key = "00" * 16
    channel.put(request([b"x"], [Extent(key, 0, 1, 1, b"d" * 16, True)]))
    assert run(["journal", "streams", str(wal), "--forget", "a"]) == 1
    assert "is in use by test/wal" in capsys.readouterr().err
    channel.retire(["b"])
    channel.close()
    assert run(["journal", "streams", str(wal), "--forget", "c"]) == 2
    assert "has no stream 'c'" in capsys.readouterr().err
    assert run(["journal", "streams", str(wal), "--forget", "a"]) == 0
    assert capsys.readouterr().out == "forgotten: a; it is read from the beginning again\n"
    assert run(["journal", "streams", str(wal), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"stream": "b", "next": 5, "retired": True}]
    channel.open()
    assert "a" not in channel.positions("")
    assert channel.positions("")["b"].retired
    assert channel.state().waiting == 16
    assert put_numbers(channel, 0, 10, "a").outcome == "stored"
    channel.put(request([b"x"], [Extent(key, 0, 1, 1, b"d" * 16, True)]))
    assert channel.state().waiting == 26  # the key is still known
    channel.close()


def test_prepared_deliveries_are_listed(
    channel: JournaledChannel, wal: Path, capsys: Captured
) -> None:
    assert run(["journal", "deliveries", str(wal)]) == 0
    assert capsys.readouterr().out == "no delivery is prepared and not committed\n"
    put_numbers(channel, 0, 10)
    delivery = prepared(channel, 10)
    channel.close()
    assert run(["journal", "deliveries", str(wal)]) == 0
    assert delivery in capsys.readouterr().out
    assert run(["journal", "deliveries", str(wal), "--json"]) == 0
    [shown] = json.loads(capsys.readouterr().out)
    assert (shown["delivery"], shown["rows"], shown["ranges"]) == (delivery, 10, [[0, 10]])


def test_export_writes_what_is_not_delivered(
    channel: JournaledChannel, wal: Path, capsys: Captured
) -> None:
    put_numbers(channel, 0, 4)
    channel.commit(prepared(channel, 4))
    put_numbers(channel, 4, 8)
    delivery = prepared(channel, 4)
    channel.put(request([b"\xff", None], [Extent("s", 8, 10, 2)]))
    channel.close()
    assert run(["journal", "export", str(wal)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["position"] for row in rows] == [4, 5, 6, 7, 8, 9]
    assert [row.get("delivery") for row in rows] == [delivery] * 4 + [None] * 2
    assert [row.get("body") for row in rows] == ["4", "5", "6", "7", None, None]
    assert rows[4]["body_base64"] == "/w=="
    file = wal.parent / "rows.arrow"
    assert run(["journal", "export", str(wal), "--output", str(file)]) == 0
    with pa.OSFile(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.column("body").to_pylist() == [b"4", b"5", b"6", b"7", b"\xff", None]
    assert table.column("position").to_pylist() == [4, 5, 6, 7, 8, 9]
    assert run(["journal", "export", str(wal), "-o", str(file)]) == 2
    assert "exists already" in capsys.readouterr().err
