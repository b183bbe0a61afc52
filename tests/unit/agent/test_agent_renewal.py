"""From one plan to the next, step by step: what a supervisor does with each part, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.agent.supervisor import Phase, Supervisor
from rayflume.agent.watched import Action, Key, Verb, Wanted
from rayflume.interfaces import Json

WEB, WAL, LAKE, NEW, OTHER = ("web", 0), ("wal", 0), ("lake", 0), ("new", 0), ("other", 0)
OLD = {
    WEB: Wanted("source", False, "w1:", ("wal",)),
    WAL: Wanted("channel", False, "c1:x"),
    LAKE: Wanted("sink", False, "s1:", ("wal",)),
}


class Agent:
    """Parts that do at once what they are told; `rows`, `prepared`: what the channels hold."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(
            {key: (part.kind, part.server) for key, part in OLD.items()}, until_drained=False
        )
        self.made = {key: part.print for key, part in OLD.items()}
        self.states: dict[Key, str] = {}
        self.rows: dict[Key, int] = {WAL: 0}
        self.prepared: dict[Key, list[Json]] = {}
        self.wanted, self.former = OLD, OLD
        self.done: list[str] = []
        self.now_ms = 0
        self.settle()
        self.done.clear()

    def renew(self, wanted: dict[Key, Wanted]) -> None:
        self.former, self.wanted = self.wanted, wanted
        self.supervisor.renew(wanted, self.former)

    def tick(self) -> bool:
        """One round; whether anything was done."""
        self.now_ms += 1_000
        for key, state in self.states.items():
            if self.supervisor.alive(key):
                self.supervisor.observe(key, self.status(key, state), self.now_ms)
        actions = self.supervisor.actions(self.now_ms)
        for action in actions:
            self.do(action)
        return bool(actions)

    def settle(self) -> list[str]:
        """Rounds until nothing is done any more; all that was done."""
        self.done, idle = [], 0
        for _ in range(40):
            idle = 0 if self.tick() else idle + 1
            if idle == 3:
                return self.done
        raise AssertionError(self.done)

    def status(self, key: Key, state: str) -> dict[str, Json] | None:
        if state == "dead":
            return None
        detail: dict[str, Json] = {"deliveries": 0}
        if key in self.rows:
            detail = {"waiting": self.rows[key], "leased": 0, "prepared": 0}
            detail["prepared_sinks"] = self.prepared.get(key, [])
        return {"state": state, "last_error": None, "detail": detail, "plan": self.made[key]}

    def do(self, action: Action) -> None:
        key, verb = action.key, action.verb
        self.done.append(f"{verb} {key[0]}{' as it was' if action.former else ''}")
        if verb is Verb.START:
            self.states[key] = "running"
            self.made[key] = (self.former if action.former else self.wanted)[key].print
            if (self.former | self.wanted)[key].kind == "channel":
                self.rows.setdefault(key, 0)
        elif verb is Verb.HOLD:
            self.states[key] = "held"
        elif verb is Verb.RESUME:
            self.states[key] = "running"
        elif verb is Verb.ADJUST:
            self.made[key] = self.wanted[key].print
            self.supervisor.adjusted(key)
        elif verb in (Verb.RENEW, Verb.REMOVE):
            del self.states[key]
            self.supervisor.renewed(key)


def changed(**prints: str) -> dict[Key, Wanted]:
    return {
        key: Wanted(part.kind, part.server, prints.get(key[0], part.print), part.wires)
        for key, part in OLD.items()
    }


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.mark.parametrize(
    ("prints", "done"),
    [
        ({}, []),
        ({"web": "w2:"}, ["hold web", "renew web", "start web"]),
        ({"lake": "s2:"}, ["hold lake", "renew lake", "start lake"]),
        ({"wal": "c1:y"}, ["adjust wal"]),
        ({"wal": "c2:x"}, ["hold lake", "renew wal", "start wal", "resume lake"]),
        (
            {"wal": "c2:x", "lake": "s2:"},
            ["hold lake", "renew wal", "renew lake", "start wal", "start lake"],
        ),
    ],
)
def test_only_what_differs_is_touched(
    agent: Agent, prints: dict[str, str], done: list[str]
) -> None:
    agent.renew(changed(**prints))
    assert agent.settle() == done
    assert agent.supervisor.renewing() == []
    assert agent.supervisor.state == "running"


def test_what_is_added_starts_and_what_is_removed_ends(agent: Agent) -> None:
    agent.renew({**OLD, NEW: Wanted("sink", False, "n:", ("wal",))})
    assert agent.settle() == ["start new"]
    agent.renew(OLD)
    assert agent.settle() == ["hold new", "remove new"]
    assert NEW not in agent.supervisor.keys


def moved() -> dict[Key, Wanted]:
    """Source and sink on a channel of another name."""
    return {
        WEB: Wanted("source", False, "w9:", ("other",)),
        OTHER: Wanted("channel", False, "o:"),
        LAKE: Wanted("sink", False, "s9:", ("other",)),
    }


def test_a_channel_is_dropped_when_nobody_feeds_it_and_it_is_empty(agent: Agent) -> None:
    agent.rows[WAL] = 5  # came after it was looked at
    agent.renew(moved())
    assert agent.settle() == ["hold web", "start other", "renew web", "drain wal", "start web"]
    assert [text.split(" is ")[0] for text in agent.supervisor.renewing()] == [
        "channel wal", "sink lake",
    ]  # fmt: skip
    agent.rows[WAL] = 0
    assert agent.settle() == ["hold lake", "renew lake", "remove wal", "start lake"]
    assert set(agent.supervisor.keys) == {WEB, OTHER, LAKE}


def test_a_sink_that_died_with_prepared_deliveries_lands_them_as_it_was(agent: Agent) -> None:
    agent.prepared[WAL] = ["lake"]
    agent.states[LAKE] = "dead"
    agent.renew(changed(lake="s2:"))
    assert agent.settle() == [
        "kill lake",
        "start lake as it was",
        "hold lake",
        "renew lake",
        "start lake",
    ]
    agent.states[LAKE] = "dead"
    agent.prepared[WAL] = []
    agent.renew(changed(lake="s3:"))
    assert agent.settle()[0] == "renew lake", "there is nothing that only it can do"


def test_a_sink_that_failed_is_changed_at_once(agent: Agent) -> None:
    agent.states[LAKE] = "failed"
    agent.prepared[WAL] = ["lake"]
    agent.renew(changed(lake="s2:"))
    assert agent.settle() == ["renew lake", "start lake"]


def test_a_sink_that_does_not_come_to_rest_holds_up_only_its_channel(agent: Agent) -> None:
    hold = agent.do

    def deaf(action: Action) -> None:
        if action != Action(Verb.HOLD, LAKE):
            hold(action)

    agent.do = deaf  # type: ignore[method-assign]
    agent.renew(changed(web="w2:", wal="c2:x"))
    for _ in range(5):
        agent.tick()
    assert agent.done == ["hold web", "renew web", "start web"]
    assert agent.supervisor.renewing() == ["channel wal is running"]


def test_a_rebuilt_supervisor_goes_on_where_the_one_before_died(agent: Agent) -> None:
    """The source runs by the new plan already, the sink by the old one, the channel is away."""
    agent.made[WEB], agent.states[WAL] = "w2:", "dead"
    wanted = changed(web="w2:", wal="c2:x", lake="s2:")
    agent.former, agent.wanted = OLD, wanted
    agent.supervisor = Supervisor(
        {key: (part.kind, part.server) for key, part in wanted.items()}, until_drained=False
    )
    agent.supervisor.renew(wanted, OLD)
    for key in (WEB, LAKE):
        agent.supervisor.adopt(key)
    assert agent.supervisor.actions(0) == [Action(Verb.RENEW, WAL)], (
        "nothing is done with a part before it has said what it is"
    )
    del agent.states[WAL]
    agent.supervisor.renewed(WAL)
    assert agent.settle() == ["hold lake", "start wal", "renew lake", "start lake"]
    assert agent.made == {WEB: "w2:", WAL: "c2:x", LAKE: "s2:"}


def test_draining_waits_until_all_parts_are_as_they_are_wanted(agent: Agent) -> None:
    agent.renew(changed(web="w2:"))
    agent.supervisor.drain()
    assert agent.settle()[:3] == ["hold web", "renew web", "start web"]
    assert agent.supervisor.phase is Phase.SOURCES


PLANS = (
    OLD, changed(web="w2:"), changed(wal="c1:y"), changed(wal="c2:x", lake="s2:"), moved(),
    {**OLD, NEW: Wanted("sink", False, "n:", ("wal",))},
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.sampled_from(PLANS), st.sampled_from((WEB, WAL, LAKE, NEW, OTHER, None))),
        max_size=6,
    )
)
def test_whatever_dies_in_between_the_newest_plan_comes_true(
    plans: list[tuple[dict[Key, Wanted], Key | None]],
) -> None:
    agent = Agent()
    for wanted, victim in plans:
        agent.renew(wanted)
        agent.tick()
        if victim in agent.states and victim is not None:
            agent.states[victim] = "dead"
        for _ in range(60):
            agent.now_ms += 5_000
            agent.tick()
        assert agent.supervisor.renewing() == []
        assert set(agent.states) == set(wanted)
        assert {agent.made[key] for key in wanted} == {part.print for part in wanted.values()}
        assert set(agent.states.values()) == {"running"}
