"""F2 and F6 for a lake on a local disk: death, error and delay at each call that changes the disk.

A run without faults tells how many such calls there are; each is then hit on its own, before or
after it is done. What a dead process leaves, the next one recovers: every row once, nothing that no
Prepared record names, nothing staged left.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from lakes import LakeWorld, LocalPlace
from traced_os import CHANGES, Call, Killed, TracedOs

from rayflume.errors import Refused
from rayflume.interfaces import Published
from rayflume.naming import STAGING, data_name
from rayflume.storage.local import LocalStorage

ROWS = 2
DELIVERY = "00000000000000aa-1-7"
SITES = {
    "check>make_base>sync_path:fsync", "check>directory>_make:mkdir",
    "check>directory>_make:fsync", "check>_new_file:create", "check>_write_all:write",
    "check:fsync", "check>_try_link:link", "check>_try_link:unlink", "check:unlink",
    "create>directory>_make:mkdir", "create>directory>_make:fsync", "create>_new_file:create",
    "create>_write_all:write", "create:fsync", "create:link", "create:unlink",
    "stage>_new_file:create", "write>_write_all:write", "finish:fsync",
    "publish>_link>directory>_make:mkdir", "publish>_link>directory>_make:fsync",
    "publish>_link:link", "publish:fsync", "publish>discard:unlink",
}  # fmt: skip
"""The failpoints from a lake's first start to a delivery in two partitions."""

Hook = Callable[[TracedOs, LakeWorld], None]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> TracedOs:
    return TracedOs(monkeypatch)


def new_world(directory: Path) -> LakeWorld:
    """A journal with rows of two partitions, and no lake yet."""
    directory.mkdir()
    place = LocalPlace(directory / "lake")
    world = LakeWorld(directory, place, partition_by=["p=%{n}"])
    world.put(0, ROWS)
    return world


def hit_each(directory: Path, traced: TracedOs, hook: Hook, *, after: bool) -> set[str]:
    """Run the collector once for each call, with `hook` in it; returns the sites that were hit."""
    sites: set[str] = set()
    number = 0
    while True:
        world = new_world(directory / f"{number}-{after}")
        chosen = Chosen(number, after, lambda world=world: hook(traced, world))  # type: ignore[misc]
        traced.at = chosen.at
        with suppress(Killed, Refused):
            world.run()
        traced.revive()
        if chosen.site is not None:
            age_leftovers(world)
            world.collect()
        world.judge(range(ROWS))
        world.close()
        traced.revive()
        if chosen.site is None:
            return sites
        sites.add(chosen.site)
        number += 1


class Chosen:
    """Acts once, at the call of this number among those that change the disk."""

    def __init__(self, number: int, after: bool, act: Callable[[], None]) -> None:
        self._number, self._after, self._act = number, after, act
        self._seen = 0
        self.site: str | None = None

    def at(self, call: Call) -> None:
        if call.operation not in CHANGES or call.after != self._after or self.site is not None:
            return
        self._seen += 1
        if self._seen > self._number:
            self.site = call.site
            self._act()


def age_leftovers(world: LakeWorld) -> None:
    """Let two hours pass for the small files that a dead check or create leaves."""
    assert isinstance(world.place, LocalPlace)
    for path in (world.place.base / STAGING).glob("c*-*"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 7200))


def test_f2_death_before_each_call(tmp_path: Path, traced: TracedOs) -> None:
    assert hit_each(tmp_path, traced, lambda os, _: os.die(), after=False) == SITES


def test_f2_death_after_each_call(tmp_path: Path, traced: TracedOs) -> None:
    assert hit_each(tmp_path, traced, lambda os, _: os.die(), after=True) == SITES


@pytest.mark.parametrize(
    ("number", "after"),
    [(errno.ENOSPC, False), (errno.EIO, False), (errno.EIO, True)],
    ids=("ENOSPC", "EIO", "EIO-though-done"),
)
def test_f6_an_error_of_each_call_is_got_over(
    tmp_path: Path, traced: TracedOs, number: int, after: bool
) -> None:
    def fail(_traced: TracedOs, _world: LakeWorld) -> None:
        raise OSError(number, os.strerror(number))

    assert hit_each(tmp_path, traced, fail, after=after) == SITES


def test_f2_a_delay_at_each_call_while_another_process_takes_over(
    tmp_path: Path, traced: TracedOs
) -> None:
    def others_first(traced: TracedOs, world: LakeWorld) -> None:
        for holder in list(world.holders):
            world.channel.holder_gone(holder)
        world.run()
        world.channel.drain(True)  # the one that was delayed waits to be told that nothing is left

    assert hit_each(tmp_path, traced, others_first, after=False) == SITES


def child(lake: Path, traced: TracedOs, number: int) -> None:
    """What a collector does, until its process is killed at that call. Never returns."""
    chosen = Chosen(number, True, lambda: os.kill(os.getpid(), signal.SIGKILL))
    traced.at = chosen.at
    storage = LocalStorage(lake)
    storage.check()
    handles = []
    for n in range(2):
        writer = storage.stage(f"p={n}/{data_name(DELIVERY, n)}", DELIVERY)
        writer.write(b"rows" * 1000)
        handles.append(writer.finish())
    prepared = lake.with_name("prepared.part")
    prepared.write_text(json.dumps(handles))
    prepared.rename(lake.with_name("prepared"))
    storage.publish(handles)
    os._exit(0)


def test_f2_a_process_killed_after_each_call_is_recovered_by_another(
    tmp_path: Path, traced: TracedOs
) -> None:
    number, killed = 0, True
    while killed:
        lake = tmp_path / str(number) / "lake"
        lake.parent.mkdir()
        pid = os.fork()
        if pid == 0:
            try:
                child(lake, traced, number)
            finally:
                os._exit(1)
        status = os.waitpid(pid, 0)[1]
        killed = os.WIFSIGNALED(status)
        assert killed or os.waitstatus_to_exitcode(status) == 0
        recover(lake)
        number += 1
    assert number > 25


def recover(lake: Path) -> None:
    """The next process: publish what is prepared, discard the rest."""
    storage, prepared = LocalStorage(lake), lake.with_name("prepared")
    storage.check()
    handles = json.loads(prepared.read_text()) if prepared.exists() else []
    assert storage.publish(handles) == [Published.LANDED] * len(handles)
    for _, handle in storage.staged(DELIVERY[:16]):
        storage.discard(handle)
    assert {p: storage.read(p) for p in storage.list("")} == {
        handle["target"]: b"rows" * 1000 for handle in handles
    }
    assert not list((lake / STAGING).glob("*.staged"))
