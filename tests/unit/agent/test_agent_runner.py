"""How a part waits: between tries, and for more rows."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import context, journaled, manual

from rayflume.agent.remote import RemoteChannel
from rayflume.agent.runner import BACKOFF_MS, Runner, describe
from rayflume.agent.sink_runner import GATHER_BYTES, GATHER_MS, SinkRunner
from rayflume.channels._journaled import JournaledChannel
from rayflume.component import lookup
from rayflume.delivery import Delivery
from rayflume.errors import ChannelClosed, StorageUnavailable
from rayflume.journal.disk import LocalDisk
from rayflume.threads import SystemThreads


class Waiting(RemoteChannel):
    """A channel of this process whose takes wait for a minute, and which tells of each."""

    def __init__(self, channel: JournaledChannel, near: bool = True) -> None:
        self._channel = channel
        self.near = near
        self.taking = threading.Event()
        self.woken: list[str] = []

    def _call(self, method: str, *args: Any, wait_ms: int = 0) -> Any:
        if method == "take":
            holder, delivery, bytes_max, _, turn = args
            self.taking.set()
            return self._channel.take(holder, delivery, bytes_max, 60_000, turn)
        if method == "wake":
            self.woken.append(args[0])
        return getattr(self._channel, method)(*args)


def test_an_error_of_the_operating_system_names_the_file_first() -> None:
    error = PermissionError(13, "Permission denied", "/srv/wal")
    assert describe(error) == "/srv/wal: Permission denied (PermissionError)"
    assert describe(OSError("odd")) == "OSError: odd"


class Noting(SystemThreads):
    """Events that note how long was waited and return at once."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def event(self) -> NotingEvent:
        return NotingEvent(self.waited)


class NotingEvent:
    def __init__(self, waited: list[float]) -> None:
        self._waited = waited

    def set(self) -> None:
        raise AssertionError("nobody stops it")

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._waited.append(timeout)
        return False


def test_pauses_grow_to_a_limit_and_are_never_quite_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, tries = Noting(), 40
    runner = Runner("lake/0", replace(manual(tmp_path)[0], threads=threads))
    monkeypatch.setattr(random, "uniform", random.Random(7).uniform)
    left = [StorageUnavailable("the store throttles")] * tries

    told = []

    def step() -> None:
        told.append(runner.health.last_error)
        if left:
            raise left.pop()

    assert runner._retry(step)
    pauses = [waited * 1000 for waited in threads.waited]
    assert len(pauses) == tries
    wanted = [*BACKOFF_MS, *[BACKOFF_MS[-1]] * tries][:tries]
    assert all(0.5 * ms <= pause <= 1.5 * ms for pause, ms in zip(pauses, wanted, strict=True))
    assert len({round(pause) for pause in pauses[len(BACKOFF_MS) :]}) > tries // 2
    assert told == [None, *["the store throttles"] * tries]
    assert runner.health.last_error is None  # it has passed


def test_a_part_that_is_up_does_not_show_what_it_waited_for(tmp_path: Path) -> None:
    runner = Runner("web", replace(manual(tmp_path)[0], threads=Noting()))
    left, shown = [ChannelClosed("channel wal is closed")], []

    def step() -> None:
        shown.append((runner.health.state, runner.health.last_error))
        if left:
            raise left.pop()

    assert runner._up(step)
    assert shown == [("starting", None), ("starting", "channel wal is closed")]
    assert (runner.health.state, runner.health.last_error) == ("running", None)


@pytest.mark.parametrize(
    ("taken_bytes", "age_ms", "waited"),
    [
        (0, 0, []),
        (1, 0, [GATHER_MS]),
        (GATHER_BYTES - 1, 0, [GATHER_MS]),
        (GATHER_BYTES, 0, []),
        (1, GATHER_MS + 50, [50]),
    ],
)
def test_after_a_small_take_more_is_waited_for_but_not_longer_than_the_delivery_may_last(
    tmp_path: Path, taken_bytes: int, age_ms: int, waited: list[int]
) -> None:
    around, clock = manual(tmp_path)
    threads = Noting()
    options = {"path": "lake", "format": {"type": "text"}, "roll": {"age": age_ms}}
    sink = lookup("sink", "parquet").model_validate(options).build(around)
    channel = journaled(LocalDisk(tmp_path / "wal"), around)
    runner = SinkRunner(channel, sink, replace(around, threads=threads))
    runner._lane.taken_bytes = taken_bytes
    runner._lane.open = Delivery("1", began_ms=clock.monotonic_ms())
    clock.advance(GATHER_MS)
    runner._gather()
    assert [round(1000 * s) for s in threads.waited] == waited


def test_an_idle_sink_of_this_process_stops_at_once(tmp_path: Path) -> None:
    around = context(tmp_path)
    channel = Waiting(journaled(LocalDisk(tmp_path / "wal"), around))
    sink = lookup("sink", "null").model_validate({}).build(around)
    runner = SinkRunner(channel, sink, around)
    runner.start()
    assert channel.taking.wait(10)
    runner.stop()  # waits for the thread, but not for a minute
    assert (runner.health.state, len(channel.woken)) == ("stopped", 1)


def test_a_sink_does_not_ask_a_channel_of_another_process_to_let_it_stop(tmp_path: Path) -> None:
    around = context(tmp_path)
    channel = Waiting(journaled(LocalDisk(tmp_path / "wal"), around), near=False)
    runner = SinkRunner(channel, lookup("sink", "null").model_validate({}).build(around), around)
    runner.stop()
    assert channel.woken == []
