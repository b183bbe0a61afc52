"""F6 on a real, small file system: the lake's disk is full for a while."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from lakes import LakeWorld, LocalPlace

from rayflume.clock import SystemClock


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_f6_a_full_disk_is_waited_for_and_nothing_is_torn(tmp_path: Path, small_disk: Path) -> None:
    world = LakeWorld(tmp_path, LocalPlace(small_disk / "lake"), codec="none")
    world.put(0, 100)
    world.run()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(4 << 20))
    world.put(100, 1_000, "wide", 1_000)
    runner = threading.Thread(target=world.run)
    runner.start()
    clock = SystemClock()
    deadline = clock.monotonic_ms() + 30_000
    while len(world.errors) < 5:
        assert clock.monotonic_ms() < deadline, "nothing was refused"
        world.pause.wait(0.05)
    assert all("the disk is full" in error for error in world.errors)
    assert sum(world.rows().values()) == 100
    ballast.unlink()
    freed = clock.monotonic_ms()
    runner.join(30)
    assert not runner.is_alive()
    assert clock.monotonic_ms() - freed < 20_000
    world.collect()
    world.judge(range(1_000))
    world.close()
