"""How a part waits between tries."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import manual

from rayflume.agent.runner import BACKOFF_MS, Runner
from rayflume.errors import StorageUnavailable
from rayflume.threads import SystemThreads


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

    def step() -> None:
        if left:
            raise left.pop()

    assert runner._retry(step)
    pauses = [waited * 1000 for waited in threads.waited]
    assert len(pauses) == tries
    wanted = [*BACKOFF_MS, *[BACKOFF_MS[-1]] * tries][:tries]
    assert all(0.5 * ms <= pause <= 1.5 * ms for pause, ms in zip(pauses, wanted, strict=True))
    assert len({round(pause) for pause in pauses[len(BACKOFF_MS) :]}) > tries // 2
    assert runner.health.last_error == "the store throttles"
