"""F2 for a lake on HDFS: death after each call, and an answer that is lost after its effect.

The calls of a collector's life are counted once; each is then the last of its process, or the one
whose answer does not come. (Death before a call is death after the one before it.)
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
from fault_volume import scaled
from hdfs_servers import Hdfs, HdfsPlace
from lakes import LakeWorld

from rayflume.errors import StorageUnavailable
from rayflume.storage import hdfs as storage
from rayflume.storage._hdfs_client import HdfsClient

pytestmark = pytest.mark.hdfs
CALLS = {"make", "create", "write", "sync", "close", "list", "look at", "publish", "delete"}
"""All calls of the first life of a lake; "read" is of the next one."""


class Killed(BaseException):
    """The process is dead from here on. Nothing in rayflume catches it."""


class Calls:
    """Stands before HdfsClient.call: after the chosen call the process is dead, or its answer is
    lost.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._call = HdfsClient.call
        self._lock = threading.Lock()
        self.choose(None)
        calls = self

        def call(client: HdfsClient, doing: str, path: str, step: Any) -> Any:
            return calls.around(client, doing, path, step)

        monkeypatch.setattr(HdfsClient, "call", call)

    def choose(self, number: int | None, how: str = "") -> None:
        """Another process from here on; None: it lives."""
        self._chosen, self._how, self._seen = number, how, 0
        self.dead, self.hit = False, ""

    def around(self, client: HdfsClient, doing: str, path: str, step: Any) -> Any:
        with self._lock:
            mine = self._seen == self._chosen
            self._seen += 1
        if self.dead:
            raise Killed
        if not mine:
            return self._call(client, doing, path, step)
        self.hit = doing
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # are answers, too
            self._call(client, doing, path, step)
        if self._how == "lost":
            raise StorageUnavailable("the answer is lost")
        self.dead = True
        raise Killed


@pytest.mark.parametrize("turn", range(2 if scaled(2) > 2 else 1))
def test_f2_death_or_silence_after_each_call(
    tmp_path: Path, hdfs: Hdfs, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """Death and silence in turn; a larger volume has both at each call."""
    # The leftovers of `check` and `create` need not be an hour old to be deleted.
    monkeypatch.setattr(storage, "_FORGOTTEN_MS", 0)
    calls, hit, number = Calls(monkeypatch), set(), 0
    while True:
        how = ("death", "lost")[(number + turn) % 2]
        directory = tmp_path / str(number)
        directory.mkdir()
        world = LakeWorld(directory, HdfsPlace(hdfs))
        world.put(0, 1)
        calls.choose(number, how)
        with contextlib.suppress(Killed):
            world.run()
        doing = calls.hit
        calls.choose(None)
        if how == "death" or world.place.leftovers():
            world.collect()
        world.judge(range(1))
        world.close()
        if not doing:
            break
        hit.add((doing, how))
        number += 1
    assert number > 25
    assert {doing for doing, _ in hit} == CALLS
