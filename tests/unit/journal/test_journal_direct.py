"""Large records past the page cache: the same bytes, whatever the disk does."""

from __future__ import annotations

import errno
import fcntl
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rayflume.batch import EventBatch, Extent
from rayflume.journal import direct
from rayflume.journal.direct import DIRECT_BYTES_MIN, DirectReader, Memory
from rayflume.journal.disk import LocalDisk, LocalFile

BLOB = np.random.default_rng(1).integers(0, 256, 12 * 2**20, dtype=np.uint8).tobytes()
SIZES = (48, 4096, 5000, DIRECT_BYTES_MIN, DIRECT_BYTES_MIN + 64, 3 * 2**20 + 17, 9 * 2**20)


def write_some(disk: LocalDisk, seed: int) -> tuple[LocalFile, bytes, list[tuple[int, int]]]:
    """Records of all sizes, each in several buffers: the file, its bytes, and where they are."""
    draw = random.Random(seed)
    file, written, spans = disk.create("a"), b"", list[tuple[int, int]]()
    for _ in range(12):
        start, size = draw.randrange(2**20), draw.choice(SIZES)
        record = BLOB[start : start + size]
        file.write([record[:48], b"", record[48 : size // 3], record[max(48, size // 3) :]])
        spans.append((len(written), size))
        written += record
        if draw.random() < 0.5:
            file.sync()
    return file, written, spans


@pytest.mark.parametrize("seed", range(3))
def test_what_is_read_is_what_was_written(tmp_path: Path, seed: int) -> None:
    file, written, spans = write_some(LocalDisk(tmp_path, direct=True), seed)
    file.sync()
    assert (tmp_path / "a").read_bytes() == written
    reader = DirectReader(tmp_path / "a", Memory())
    kept = [reader.read(place, size) for place, size in spans]
    for buffer, (place, size) in zip(kept, spans, strict=True):
        assert buffer.to_pybytes() == written[place : place + size]
    file.close()
    assert (tmp_path / "a").stat().st_size == len(written)


def test_large_records_are_really_written_past_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, direct_bytes = os.pwrite, list[int]()

    def counting(descriptor: int, data: memoryview, place: int) -> int:
        direct_bytes.append(pwrite(descriptor, data, place))
        return direct_bytes[-1]

    monkeypatch.setattr(os, "pwrite", counting)
    file = LocalDisk(tmp_path, direct=True).create("a")
    file.write([BLOB[:100]])
    assert not direct_bytes
    file.write([BLOB[: 3 * 2**20]])
    assert 3 * 2**20 - 2 * direct.BLOCK_BYTES <= sum(direct_bytes) <= 3 * 2**20
    file.close()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_without_it_is_written_and_read_the_ordinary_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened = os.open

    def refusing(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(number, "not here")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    file, written, spans = write_some(LocalDisk(tmp_path, direct=True), 7)
    reader = DirectReader(tmp_path / "a", Memory())
    assert all(reader.read(p, n).to_pybytes() == written[p : p + n] for p, n in spans)
    file.close()


def test_a_file_that_can_be_opened_so_but_not_read_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(BLOB[: 3 * 2**20])
    preadv = os.preadv

    def refusing(descriptor: int, buffers: list[memoryview], place: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "larger blocks, please")
        return preadv(descriptor, buffers, place)

    monkeypatch.setattr(os, "preadv", refusing)
    reader = DirectReader(tmp_path / "a", Memory())
    for _ in range(2):
        assert reader.read(100, 2**21).to_pybytes() == BLOB[100 : 100 + 2**21]


def failing(after: int, number: int) -> Callable[[int, memoryview, int], int]:
    """A pwrite that does a part of the work (`number` 0), or fails, from the call `after` on."""
    pwrite, calls = os.pwrite, iter(range(1000))

    def call(descriptor: int, data: memoryview, place: int) -> int:
        if next(calls) < after:
            return pwrite(descriptor, data, place)
        if number:
            raise OSError(number, os.strerror(number))
        return pwrite(descriptor, data[: direct.BLOCK_BYTES], place)

    return call


@pytest.mark.parametrize("number", [0, errno.EINVAL, errno.ENOSPC])
@pytest.mark.parametrize("after", [0, 1])
def test_what_a_direct_write_leaves_is_written_the_ordinary_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, after: int
) -> None:
    """A full disk too: there the ordinary way asks for the reserve."""
    monkeypatch.setattr(os, "pwrite", failing(after, number))
    file, written, _ = write_some(LocalDisk(tmp_path, direct=True), 5)
    assert (tmp_path / "a").read_bytes() == written
    file.close()


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", failing(0, errno.EIO))
    file = LocalDisk(tmp_path, direct=True).create("a")
    with pytest.raises(OSError, match="Input/output error"):
        file.write([BLOB[: 2 * 2**20]])
    file.close()


def test_memory_is_used_again_only_when_nothing_refers_to_it(tmp_path: Path) -> None:
    batch = EventBatch.from_events(
        [BLOB[: 2**20], BLOB[2**20 : 2 * 2**20]], (), (Extent("s", 0, 2, 2),)
    )
    (tmp_path / "a").write_bytes(bytes(batch.encode()) + BLOB[: 2**20])
    memory = Memory()
    reader = DirectReader(tmp_path / "a", memory)
    body = EventBatch.decode(reader.read(0, 2 * 2**20 + 4096)).body.slice(1)
    for _ in range(8):
        reader.read(4096, 2 * 2**20)
    assert body[0].as_py() == BLOB[2**20 : 2 * 2**20]
    assert len(memory._free) == 1
    del body
    assert len(memory._free) == 2


def test_reading_stops_at_the_end_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BLOB[: 2 * 2**20 + 100])
    reader = DirectReader(tmp_path / "a", Memory())
    assert reader.read(2**20, 2**21).to_pybytes() == BLOB[2**20 : 2 * 2**20 + 100]
    assert reader.read(2**22, 2**21).to_pybytes() == b""
