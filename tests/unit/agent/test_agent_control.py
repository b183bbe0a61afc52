"""The control loop over a host whose parts are plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rayflume.agent.control import (
    ATTENTION_MS,
    STEADY_TICK_MS,
    TICK_MS,
    Alarm,
    Control,
    Watch,
)
from rayflume.agent.inline import parts_inline
from rayflume.agent.parts import Status
from rayflume.agent.supervisor import Phase
from rayflume.agent.watched import Key
from rayflume.clock import ManualClock
from rayflume.config import plan_of
from rayflume.errors import ConfigError
from rayflume.interfaces import Json

WAL, OUT, WEB = ("wal", 0), ("out", 0), ("web", 0)


class FakeHost:
    """Parts that do what they are told at once."""

    def __init__(self) -> None:
        self.parts: dict[Key, Status] = {}
        self.calls: list[tuple[str, Key]] = []
        self.start_error: Exception | None = None
        self.stop_error: Exception | None = None

    def start(self, key: Key) -> None:
        self.calls.append(("start", key))
        if self.start_error is not None and key == OUT:
            raise self.start_error
        detail: Json = {"waiting": 0, "leased": 0, "prepared": 0}
        self.parts[key] = {
            "state": "running",
            "last_error": None,
            "metrics": {"EventDrainSuccessCount": 1},
            "detail": detail,
        }

    def kill(self, key: Key) -> None:
        self.calls.append(("kill", key))
        self.parts.pop(key, None)

    def drain(self, key: Key, unterminated: bool) -> None:
        self.calls.append(("drain", key))
        if key == WEB:
            self.parts[key]["state"] = "drained"

    def stop(self, key: Key) -> Status | None:
        self.calls.append(("stop", key))
        if self.stop_error is not None:
            raise self.stop_error
        return self.parts[key] | {"state": "stopped", "metrics": {"EventDrainSuccessCount": 9}}

    def statuses(self, keys: list[Key]) -> Mapping[Key, Status | None]:
        return {key: self.parts.get(key) for key in keys}

    def place(self, key: Key) -> tuple[int, str]:
        return (7, "here") if key in self.parts else (0, "")


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def control(
    host: FakeHost,
    directory: Path,
    clock: ManualClock,
    until_drained: bool,
    alarm: Alarm | None = None,
) -> Control:
    plan = plan_of(
        {
            "agent": "clicks",
            "sources": {"web": {"type": "seq", "channels": ["wal"]}},
            "channels": {"wal": {"type": "file", "directory": "wal"}},
            "sinks": {"out": {"type": "null", "channel": "wal"}},
        },
        directory,
    )
    watch = Watch(plan, until_drained, alarm=alarm)
    return Control(watch, host, parts_inline(plan), clock)


def test_status_has_the_documented_form(host: FakeHost, tmp_path: Path) -> None:
    loop = control(host, tmp_path, ManualClock(), False)
    loop.tick()
    loop.tick()
    status = loop.status()
    assert (status["agent"], status["state"]) == ("clicks", "running")
    assert isinstance(status["components"], list)
    by_name = {part["name"]: part for part in status["components"] if isinstance(part, dict)}
    assert by_name["out"] == {
        "name": "out",
        "kind": "sink",
        "type": "null",
        "replica": 0,
        "pid": 7,
        "node": "here",
        "state": "running",
        "restarts": 0,
        "last_error": None,
        "metrics": {"EventDrainSuccessCount": 1},
        "detail": {"waiting": 0, "leased": 0, "prepared": 0},
    }
    assert set(by_name) == {"wal", "out", "web"}


def test_parts_are_asked_again_while_many_others_are_started(
    host: FakeHost, tmp_path: Path
) -> None:
    clock, asked = ManualClock(), list[list[Key]]()

    class Slow(FakeHost):
        def start(self, key: Key) -> None:
            clock.advance(3_000)
            super().start(key)

        def statuses(self, keys: list[Key]) -> Mapping[Key, Status | None]:
            asked.append(keys)
            return super().statuses(keys)

    loop = control(Slow(), tmp_path, clock, False)
    loop.tick()
    assert asked == [[], [WAL, OUT]], "the source is not started yet, so it can't answer"
    loop.tick()
    assert {loop.supervisor.shown(key)["state"] for key in (WAL, OUT, WEB)} == {"running"}
    assert {loop.supervisor.shown(key)["restarts"] for key in (WAL, OUT, WEB)} == {0}


def test_until_drained_runs_to_its_end_and_keeps_the_last_counts(
    host: FakeHost, tmp_path: Path
) -> None:
    loop = control(host, tmp_path, ManualClock(), True)
    loop.run()
    assert [call for call in host.calls if call[0] == "stop"] == [
        ("stop", WEB),
        ("stop", OUT),
        ("stop", WAL),
    ]
    status = loop.status()
    assert status["state"] == "drained"
    assert isinstance(status["components"], list)
    for part in status["components"]:
        assert isinstance(part, dict)
        assert part["metrics"] == {"EventDrainSuccessCount": 9}


@pytest.mark.parametrize("error", [ConfigError("no such node"), TypeError("a bug")])
def test_a_part_that_can_not_start_is_tried_again(
    host: FakeHost, tmp_path: Path, error: Exception
) -> None:
    clock = ManualClock()
    loop = control(host, tmp_path, clock, False)
    host.start_error = error
    loop.tick()
    assert loop.supervisor.shown(OUT)["restarts"] == 1
    assert str(error) in str(loop.supervisor.shown(OUT)["last_error"])
    host.start_error = None
    clock.advance(500)
    loop.tick()
    loop.tick()
    assert loop.supervisor.shown(OUT)["state"] == "running"


def test_a_part_that_fails_to_stop_does_not_hold_up_the_end(host: FakeHost, tmp_path: Path) -> None:
    loop = control(host, tmp_path, ManualClock(), False)
    loop.tick()
    host.stop_error = OSError("disk")
    loop.stop()
    loop.run()
    assert loop.supervisor.phase is Phase.ENDED


def test_a_round_that_fails_does_not_end_the_loop(host: FakeHost, tmp_path: Path) -> None:
    loop = control(host, tmp_path, ManualClock(), True)
    failures = iter([True])
    statuses = host.statuses

    def failing(keys: list[Key]) -> Mapping[Key, Status | None]:
        if next(failures, False):
            raise RuntimeError("dictionary changed size during iteration")
        return statuses(keys)

    host.statuses = failing  # type: ignore[method-assign]
    loop.run()
    assert loop.status()["state"] == "drained"


def test_parts_that_all_run_are_asked_rarely_until_one_gives_the_alarm(
    host: FakeHost, tmp_path: Path
) -> None:
    clock, watched = ManualClock(), list[set[Key]]()
    alarm: Alarm = lambda keys, wake: watched.append(set(keys))  # noqa: E731
    loop = control(host, tmp_path, clock, False, alarm)
    loop.tick()
    clock.advance(ATTENTION_MS)
    assert loop.pause_ms() == TICK_MS, "they are starting"
    loop.tick()
    assert (loop.pause_ms(), watched) == (STEADY_TICK_MS, [{WAL, OUT, WEB}])
    host.parts[OUT]["state"] = "waiting"
    loop.tick()
    assert loop.pause_ms() == TICK_MS


def test_an_alarm_ends_the_pause(host: FakeHost, tmp_path: Path) -> None:
    clock, rounds = ManualClock(), 0

    def alarm(keys: list[Key], wake: Callable[[], None]) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            loop.stop()
        wake()

    loop = control(host, tmp_path, clock, False, alarm)
    loop.tick()
    loop.tick()
    clock.advance(ATTENTION_MS)
    loop.run()  # would take 5 s a round
    assert rounds == 3


def test_who_asks_for_the_status_sees_the_present(host: FakeHost, tmp_path: Path) -> None:
    clock = ManualClock()
    loop = control(host, tmp_path, clock, False, lambda keys, wake: None)
    loop.tick()
    loop.tick()
    clock.advance(STEADY_TICK_MS)
    host.parts[OUT]["last_error"] = "no room"
    components = loop.status()["components"]
    assert isinstance(components, list)
    shown = {part["name"]: part["last_error"] for part in components if isinstance(part, dict)}
    assert shown["out"] == "no room"
    assert loop.pause_ms() == TICK_MS, "he may ask again"


def test_without_an_alarm_parts_are_asked_all_the_time(host: FakeHost, tmp_path: Path) -> None:
    clock = ManualClock()
    loop = control(host, tmp_path, clock, False)
    loop.tick()
    loop.tick()
    clock.advance(ATTENTION_MS)
    assert loop.pause_ms() == TICK_MS
