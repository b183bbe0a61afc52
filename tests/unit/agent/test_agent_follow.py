"""Following an agent: what signals, failures and silence lead to. Time is walked by hand."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from rayflume.agent.figures import AgentFigures
from rayflume.agent.follow import SILENT_MS, Abandoned, Follow, Follower, Signals
from rayflume.clock import ManualClock
from rayflume.errors import Retry
from rayflume.interfaces import Json


class ScriptedAgent:
    """An agent that ends a few looks after it was told to; `on_look` plays the world."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked: list[str] = []
        self.looks = 0
        self.states = {"web": "running", "wal": "running", "lake": "running"}
        self.error: str | None = None
        self.errors: dict[str, str] = {}
        self.detail: dict[str, Json] = {}
        self.on_look: Callable[[int], None] = lambda look: None
        self.end_after_drain = True

    def join(self, timeout_s: float | None = None) -> bool:
        self.looks += 1
        self.clock.advance(1_000)
        self.on_look(self.looks)
        assert self.looks < 500, "it never ends"
        return "stop" in self.asked or ("drain_channels" in self.asked and self.end_after_drain)

    def status(self) -> dict[str, Json]:
        kinds = {"web": "source", "wal": "channel", "lake": "sink"}
        components: list[Json] = [
            {
                "name": name,
                "kind": kinds[name],
                "type": "x",
                "replica": 0,
                "pid": 1,
                "node": "n",
                "state": state,
                "restarts": 0,
                "last_error": self.error if name == "lake" else self.errors.get(name),
                "metrics": {},
                "detail": self.detail if name == "lake" else {},
            }
            for name, state in self.states.items()
        ]
        return {"agent": "a", "state": "running", "components": components}

    def drain(self) -> None:
        self.asked.append("drain")

    def drain_channels(self) -> None:
        self.asked.append("drain_channels")

    def stop(self) -> None:
        self.asked.append("stop")


class Scene:
    """An agent, its follower, and what the user was told."""

    def __init__(self, *, owner: bool = True) -> None:
        self.clock = ManualClock()
        self.agent = ScriptedAgent(self.clock)
        self.signals = Signals()
        self.said: list[str] = []
        options = Follow(lambda figures: None, self.said.append, 60_000, owner)
        self.follower = Follower(self.agent, options, self.clock)

    def signal_at(self, *looks: int) -> None:
        def play(look: int) -> None:
            self.signals.count += look in looks

        self.agent.on_look = play

    def run(self) -> AgentFigures:
        return self.follower.run(self.signals)


def test_the_first_signal_drains_and_says_what_the_second_does() -> None:
    scene = Scene()
    scene.signal_at(3)
    scene.run()
    assert scene.agent.asked == ["drain_channels"]
    assert scene.said == [
        "draining: no more is read, 0 rows are delivered within 60 s; Ctrl-C again stops at once"
    ]


def test_the_second_signal_stops() -> None:
    scene = Scene()
    scene.agent.end_after_drain = False
    scene.signal_at(3, 6)
    scene.run()
    assert scene.agent.asked == ["drain_channels", "stop"]
    assert "stopping at once" in scene.said[-1]


def test_the_third_signal_leaves() -> None:
    scene = Scene()
    scene.agent.end_after_drain = False
    scene.agent.stop = lambda: None  # type: ignore[method-assign]
    scene.signal_at(3, 6, 9)
    with pytest.raises(Abandoned):
        scene.run()


def test_a_drain_that_takes_longer_than_the_grace_becomes_a_stop() -> None:
    scene = Scene()
    scene.agent.end_after_drain = False
    scene.signal_at(3)
    scene.run()
    assert scene.agent.asked == ["drain_channels", "stop"]
    assert scene.agent.looks in (64, 65)
    assert scene.said[-1].startswith("not drained within 60 s: stopping")


def test_a_failed_sink_is_told_at_once_and_stops_the_run() -> None:
    scene = Scene()
    scene.agent.states["lake"] = "failed"
    scene.agent.error = "no permission"
    scene.run()
    assert scene.agent.asked == ["stop"]
    assert scene.said[0] == "sink lake: failed: no permission"


def test_an_error_that_passes_is_not_told_and_one_that_lasts_is_told_once() -> None:
    scene = Scene()

    def play(look: int) -> None:
        scene.agent.error = "full" if look in (1, 2) or look > 4 else None
        scene.signals.count += look == 20

    scene.agent.on_look = play
    scene.run()
    assert scene.said[:1] == ["sink lake: full"]
    assert sum("full" in text for text in scene.said) == 1


def test_the_error_of_a_channel_is_not_told_again_for_each_part_that_waits_for_it() -> None:
    scene = Scene()
    locked = "the journal is in use"
    scene.agent.errors["wal"] = locked
    scene.agent.errors["web"] = scene.agent.error = f"channel wal is not open: {locked}"
    scene.signal_at(10)
    scene.run()
    assert [text for text in scene.said if locked in text] == [f"channel wal: {locked}"]


def test_why_rows_become_dead_letters_is_told_once() -> None:
    scene = Scene()

    def play(look: int) -> None:
        if look > 2:
            told: dict[str, Json] = {"path": "/lake", "first_reason": f"row {look} has no time"}
            scene.agent.detail = {"dead_letters": told}
        scene.signals.count += look == 10

    scene.agent.on_look = play
    scene.run()
    assert scene.said[0] == (
        "sink lake: rows become dead letters, the first because row 3 has no time; "
        "`rayflume replay` delivers them when that is mended"
    )
    assert sum("dead letters" in text for text in scene.said) == 1


def test_a_watcher_leaves_at_the_first_signal_and_asks_nothing() -> None:
    scene = Scene(owner=False)
    scene.signal_at(2)
    with pytest.raises(Abandoned):
        scene.run()
    assert scene.agent.asked == []


def test_a_silent_supervisor_is_given_up_after_a_while() -> None:
    scene = Scene()

    def silent(look: int) -> None:
        scene.clock.advance(SILENT_MS // 4)
        raise Retry("the supervisor does not answer")

    scene.agent.on_look = silent
    with pytest.raises(Retry):
        scene.run()
    assert scene.said == ["the supervisor does not answer"]


def test_real_signals_are_counted_and_the_handlers_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals().caught() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.count == 2
    assert signal.getsignal(signal.SIGTERM) is before
