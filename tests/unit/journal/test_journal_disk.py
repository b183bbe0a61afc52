from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from rayflume.errors import JournalLocked
from rayflume.journal.disk import LocalDisk, MemoryDisk
from rayflume.journal.seam import Disk


@pytest.fixture(params=["local", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    made: Disk = LocalDisk(tmp_path / "wal") if request.param == "local" else MemoryDisk()
    made.lock("test")
    return made


def test_what_is_appended_is_read(disk: Disk) -> None:
    file = disk.create("f")
    file.write([b"abc", b"", pa.py_buffer(b"defg"), memoryview(b"h")])
    file.write([b"i"] * 2000)
    file.sync()
    assert disk.size("f") == 2008
    for offset, length in [(0, 3), (2, 4), (3, 1), (7, 2), (0, 5000), (2008, 4), (9000, 1)]:
        wanted = (b"abcdefgh" + b"i" * 2000)[offset : offset + length]
        assert disk.read("f", offset, length).to_pybytes() == wanted
    disk.sync("f", 3)
    assert disk.size("f") == 2008
    file.close()


def test_a_name_is_given_once_and_gone_is_gone(disk: Disk) -> None:
    disk.create("f").close()
    with pytest.raises(FileExistsError):
        disk.create("f")
    assert "f" in disk.names()
    disk.unlink("f")
    disk.sync_directory()
    assert "f" not in disk.names()
    for call in (lambda: disk.read("f", 0, 1), lambda: disk.size("f"), lambda: disk.unlink("f")):
        with pytest.raises(FileNotFoundError):
            call()
    assert disk.free_bytes() > 0


def test_the_lock_is_taken_once_and_let_go_of(tmp_path: Path) -> None:
    first, second = LocalDisk(tmp_path / "wal"), LocalDisk(tmp_path / "wal")
    first.lock("a/wal on here, pid 1")
    with pytest.raises(JournalLocked, match="give this channel a directory of its own"):
        second.lock("b")
    first.close()
    first.close()
    second.lock("b")
    second.close()


def test_writing_again_changes_no_byte(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    data = bytes(range(256)) * 9000
    (tmp_path / "f").write_bytes(data)
    disk.sync("f", 100)
    assert (tmp_path / "f").read_bytes() == data
