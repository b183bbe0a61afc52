"""Decisions about an agent, walked by hand: statuses and times go in, actions come out."""

from __future__ import annotations

import pytest

from rayflume.agent.supervisor import RESTART_MS, STEADY_MS, WAITING_MS, Phase, Supervisor
from rayflume.agent.watched import Action, Key, Verb
from rayflume.interfaces import Json

WAL: Key = ("wal", 0)
LAKE: Key = ("lake", 0)
WEB: Key = ("web", 0)
API: Key = ("api", 0)


class Walk:
    """A supervisor with a channel, a sink and sources, and the time."""

    def __init__(self, *, until_drained: bool = False, server: bool = False) -> None:
        parts = {WEB: ("source", False), WAL: ("channel", False), LAKE: ("sink", False)}
        if server:
            parts[API] = ("source", True)
        self.supervisor = Supervisor(parts, until_drained=until_drained)
        self.now_ms = 0

    def see(self, key: Key, state: str, rows: int = 0, error: str | None = None) -> None:
        detail: Json = {"waiting": rows, "leased": 0, "prepared": 0}
        status: dict[str, Json] = {"state": state, "last_error": error, "detail": detail}
        self.supervisor.observe(key, status, self.now_ms)

    def act(self, after_ms: int = 200) -> list[tuple[Verb, Key]]:
        """Let time pass, take the actions, and carry out the stops."""
        self.now_ms += after_ms
        actions = self.supervisor.actions(self.now_ms)
        for action in actions:
            if action.verb is Verb.STOP:
                self.supervisor.stopped(action.key)
        return [(action.verb, action.key) for action in actions]

    def run(self, rows: int = 0) -> None:
        """Start all, and see all of them running."""
        self.act()
        for key in self.supervisor.keys:
            self.see(key, "running", rows)


def test_parts_start_in_the_order_channel_sink_source() -> None:
    assert Walk().act() == [(Verb.START, WAL), (Verb.START, LAKE), (Verb.START, WEB)]


def test_what_was_started_is_not_started_again() -> None:
    walk = Walk()
    walk.act()
    assert walk.act() == []
    walk.see(WEB, "running")
    assert walk.act() == []


def test_a_dead_part_is_restarted_with_growing_back_off() -> None:
    walk = Walk()
    walk.run()
    for tries, pause_ms in enumerate([*RESTART_MS, RESTART_MS[-1]]):
        walk.supervisor.observe(LAKE, None, walk.now_ms)
        assert walk.supervisor.shown(LAKE) == {
            "state": "dead",
            "restarts": tries + 1,
            "last_error": "the process died",
        }
        assert walk.act(pause_ms - 1) == []
        assert walk.act(1) == [(Verb.KILL, LAKE), (Verb.START, LAKE)]
        walk.see(LAKE, "running")


def test_the_back_off_begins_anew_after_a_steady_time() -> None:
    walk = Walk()
    walk.run()
    for _ in range(3):
        walk.supervisor.observe(LAKE, None, walk.now_ms)
        walk.act(RESTART_MS[-1])
        walk.see(LAKE, "running")
    walk.now_ms += STEADY_MS + 1
    walk.see(LAKE, "running")
    walk.supervisor.observe(LAKE, None, walk.now_ms)
    assert walk.act(RESTART_MS[0]) == [(Verb.KILL, LAKE), (Verb.START, LAKE)]


def test_a_crashed_part_is_restarted_and_its_error_is_kept() -> None:
    walk = Walk()
    walk.run()
    walk.see(WEB, "crashed", error="TypeError: no")
    assert walk.supervisor.shown(WEB)["last_error"] == "TypeError: no"
    assert walk.act(RESTART_MS[0]) == [(Verb.KILL, WEB), (Verb.START, WEB)]


def test_a_part_that_can_not_be_started_is_tried_again() -> None:
    walk = Walk()
    walk.act()
    walk.supervisor.start_failed(WAL, "no node", walk.now_ms)
    assert walk.supervisor.shown(WAL)["last_error"] == "no node"
    assert walk.act(RESTART_MS[0]) == [(Verb.KILL, WAL), (Verb.START, WAL)]


def test_f14_a_part_whose_host_is_away_is_tried_every_two_seconds_however_long_it_takes() -> None:
    """It is no crash: it does not count as a restart, and the back-off does not grow."""
    walk = Walk()
    walk.act()
    for _ in range(20):
        walk.supervisor.start_failed(WAL, "its node is gone", walk.now_ms, waiting=True)
        assert walk.act(WAITING_MS - 1) == []
        assert walk.act(1) == [(Verb.KILL, WAL), (Verb.START, WAL)]
    assert walk.supervisor.shown(WAL)["last_error"] == "its node is gone"
    assert walk.supervisor.shown(WAL)["restarts"] == 0


def test_a_failed_part_is_not_restarted_and_shows() -> None:
    walk = Walk()
    walk.run()
    walk.see(LAKE, "failed", error="no permission")
    assert walk.act(RESTART_MS[-1]) == []
    assert (walk.supervisor.state, walk.supervisor.phase) == ("failed", Phase.RUNNING)


def test_drain_reads_to_the_end_then_empties_the_channels_then_stops_in_order() -> None:
    walk = Walk(server=True)
    walk.run(rows=5)
    walk.supervisor.drain()
    assert walk.act() == [(Verb.DRAIN, WEB), (Verb.DRAIN, API)]
    walk.see(WEB, "draining")
    walk.see(API, "drained")
    assert (walk.act(), walk.supervisor.state) == ([], "draining")
    walk.see(WEB, "drained")
    assert walk.act() == [(Verb.STOP, WEB), (Verb.STOP, API), (Verb.DRAIN, WAL)]
    walk.see(WAL, "running", rows=2)
    assert walk.act() == []
    walk.see(WAL, "running", rows=0)
    assert walk.act() == [(Verb.STOP, LAKE)]
    assert walk.act() == [(Verb.STOP, WAL)]
    assert walk.act() == []
    assert (walk.supervisor.phase, walk.supervisor.state) == (Phase.ENDED, "drained")


def test_the_first_ctrl_c_stops_sources_without_reading_on() -> None:
    walk = Walk()
    walk.run(rows=5)
    walk.supervisor.drain_channels()
    assert walk.act() == [(Verb.STOP, WEB), (Verb.DRAIN, WAL)]
    walk.see(WAL, "running", rows=0)
    assert walk.act() == [(Verb.STOP, LAKE)]


def test_stop_leaves_the_rows_and_goes_against_the_flow() -> None:
    walk = Walk()
    walk.run(rows=5)
    walk.supervisor.stop()
    assert [walk.act() for _ in range(4)] == [
        [(Verb.STOP, WEB)],
        [(Verb.STOP, LAKE)],
        [(Verb.STOP, WAL)],
        [],
    ]
    assert walk.supervisor.state == "stopped"


def test_a_sink_that_dies_while_draining_is_restarted() -> None:
    walk = Walk()
    walk.run(rows=5)
    walk.supervisor.drain_channels()
    walk.act()
    walk.see(WAL, "running", rows=5)
    walk.supervisor.observe(LAKE, None, walk.now_ms)
    assert walk.act(RESTART_MS[0]) == [(Verb.KILL, LAKE), (Verb.START, LAKE)]


def test_a_channel_that_dies_while_draining_is_asked_to_drain_again() -> None:
    walk = Walk()
    walk.run(rows=5)
    walk.supervisor.drain_channels()
    walk.act()
    walk.supervisor.observe(WAL, None, walk.now_ms)
    assert walk.act(RESTART_MS[0]) == [(Verb.KILL, WAL), (Verb.START, WAL)]
    walk.see(WAL, "running", rows=0)
    assert walk.act() == [(Verb.DRAIN, WAL)]


def test_until_drained_drains_finite_sources_at_once_and_servers_after_them() -> None:
    walk = Walk(until_drained=True, server=True)
    walk.run()
    assert walk.supervisor.actions(1) == [Action(Verb.DRAIN, WEB, unterminated=True)]
    walk.see(WEB, "draining")
    assert walk.act() == []
    walk.see(WEB, "drained")
    assert walk.act() == [(Verb.DRAIN, API)]


def test_a_drain_that_was_asked_for_leaves_an_unterminated_line() -> None:
    walk = Walk()
    walk.run()
    walk.supervisor.drain()
    assert walk.supervisor.actions(1) == [Action(Verb.DRAIN, WEB, unterminated=False)]


def test_until_drained_with_a_failed_source_delivers_the_rest_and_fails() -> None:
    walk = Walk(until_drained=True)
    walk.run(rows=5)
    walk.see(WEB, "failed", error="unreadable")
    assert (Verb.DRAIN, WAL) in walk.act()
    walk.see(WAL, "running", rows=1)
    assert walk.act() == []
    walk.see(WAL, "running", rows=0)
    assert walk.act() == [(Verb.STOP, LAKE)]
    walk.act()
    walk.act()
    assert (walk.supervisor.phase, walk.supervisor.state) == (Phase.ENDED, "failed")
    assert walk.supervisor.shown(WEB)["state"] == "failed"


@pytest.mark.parametrize("key", [LAKE, WAL])
def test_until_drained_ends_as_failed_when_rows_can_not_be_delivered(key: Key) -> None:
    walk = Walk(until_drained=True)
    walk.run(rows=5)
    walk.act()
    walk.see(key, "failed", error="no permission")
    stops = [action for _ in range(4) for action in walk.act()]
    assert stops == [(Verb.STOP, WEB), (Verb.STOP, LAKE), (Verb.STOP, WAL)]
    assert (walk.supervisor.phase, walk.supervisor.state) == (Phase.ENDED, "failed")


def test_one_failed_replica_of_a_sink_blocks_nothing() -> None:
    walk = Walk(until_drained=True)
    walk.supervisor.add(("lake", 1), "sink", False)
    walk.run(rows=5)
    walk.see(LAKE, "failed", error="no permission")
    assert walk.act() == [(Verb.DRAIN, WEB)]


def test_a_failed_part_is_stopped_too_and_only_once() -> None:
    walk = Walk()
    walk.run()
    walk.see(WEB, "failed", error="x")
    walk.supervisor.stop()
    assert walk.act() == [(Verb.STOP, WEB)]
    assert walk.act() == [(Verb.STOP, LAKE)]


def test_an_adopted_part_is_not_started() -> None:
    walk = Walk()
    for key in (WAL, LAKE, WEB):
        walk.supervisor.adopt(key)
    assert walk.act() == []
    walk.see(WAL, "running")
    walk.supervisor.observe(LAKE, None, walk.now_ms)
    assert walk.act(RESTART_MS[0]) == [(Verb.KILL, LAKE), (Verb.START, LAKE)]


def test_an_adopted_part_of_a_draining_agent_is_drained_again() -> None:
    walk = Walk()
    for key in (WAL, LAKE, WEB):
        walk.supervisor.adopt(key)
    walk.supervisor.drain()
    for key in (WAL, LAKE, WEB):
        walk.see(key, "running")
    assert walk.act() == [(Verb.DRAIN, WEB)]


def test_a_part_that_is_added_is_started() -> None:
    walk = Walk()
    walk.run()
    walk.supervisor.add(("web", 1), "source", False)
    assert walk.act() == [(Verb.START, ("web", 1))]


def test_asking_again_changes_nothing() -> None:
    walk = Walk()
    walk.run(rows=5)
    walk.supervisor.stop()
    walk.supervisor.drain()
    walk.supervisor.drain_channels()
    assert walk.supervisor.state == "draining"
    for _ in range(4):
        walk.act()
    walk.supervisor.stop()
    assert walk.supervisor.state == "stopped"
