"""Whose turn it is: Flume's numbers (its user guide, section Flume Sink Processors), as tables."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflume.component import lookup
from rayflume.flume import names
from rayflume.sink_group import SinkProcessor, Turn, penalty_ms
from rayflume.sink_processors.failover import Failover, FailoverProcessor
from rayflume.sink_processors.load_balance import LoadBalanceProcessor
from rayflume.sink_selectors.random import AtRandom
from rayflume.sink_selectors.round_robin import InTurn

ALL = ("a", "b", "c")
HOUR = 3_600_000


def turns(processor: SinkProcessor, now_ms: int, asking: tuple[str, ...] = ALL) -> str:
    """What each sink may do: `take out out`."""
    return " ".join(processor.turn(sink, asking, now_ms) for sink in asking)


@pytest.mark.parametrize(
    ("failures", "limit", "pause"),
    [(1, 30_000, 2_000), (2, 30_000, 4_000), (3, 30_000, 8_000), (4, 30_000, 16_000),
     (5, 30_000, 30_000), (16, 10**9, 65_536_000), (500, 30_000, 30_000), (1, 500, 500)],
)  # fmt: skip
def test_pauses_double_up_to_the_limit(failures: int, limit: int, pause: int) -> None:
    assert penalty_ms(failures, limit) == pause


@pytest.mark.parametrize(
    ("priority", "order"),
    [({}, "abc"), ({"c": 5, "a": 1}, "cab"), ({"a": 3, "b": 3, "c": 3}, "abc"),
     ({"b": 0}, "bac"), ({"a": -9}, "bca"), ({"b": 7, "c": 7}, "bca")],
)  # fmt: skip
def test_the_order_of_priorities(priority: dict[str, int], order: str) -> None:
    assert "".join(Failover(priority=priority).order(ALL)) == order


def test_only_the_best_sink_that_works_takes() -> None:
    group = FailoverProcessor(ALL, 30_000)
    assert turns(group, 0) == "take out out"
    group.failed("a", 0)
    assert turns(group, 0) == "out take out"
    group.failed("b", 1_000)
    assert turns(group, 1_000) == "out out take"
    group.failed("c", 1_000)
    assert turns(group, 1_999) == "out out out"
    assert group.wait_ms(1_000) == 1_000


def test_a_failed_sink_is_tried_first_when_its_pause_is_over_and_leads_again_when_it_delivers() -> (
    None
):
    group = FailoverProcessor(ALL, 30_000)
    group.failed("a", 0)
    assert turns(group, 1_999) == "out take out"
    assert turns(group, 2_000) == "trial wait out"
    group.took("a", False, 2_100)
    assert turns(group, 2_100) == "trial wait out", "no rows prove nothing, and cost nothing"
    group.took("a", True, 2_200)
    assert turns(group, 2_200) == "out take out", "the others go on while it is on trial"
    group.delivered("a")
    assert turns(group, 2_300) == "take out out"


def test_each_failed_retry_doubles_the_pause_and_failures_within_it_count_once() -> None:
    group, now = FailoverProcessor(ALL, 30_000), 0
    for pause in (2_000, 4_000, 8_000, 16_000, 30_000, 30_000):
        group.failed("a", now)
        group.failed("a", now + 1)
        assert group.wait_ms(now) == pause
        now += pause
        assert turns(group, now).startswith("trial")
        group.took("a", True, now)
    group.delivered("a")
    group.failed("a", now)
    assert group.wait_ms(now) == 2_000, "it begins anew"


def test_a_failed_sink_that_does_not_ask_holds_up_nobody() -> None:
    group = FailoverProcessor(ALL, 30_000)
    group.failed("a", 0)
    assert turns(group, 60_000, ("b", "c")) == "take out"


def test_of_two_that_may_be_tried_the_one_whose_pause_ended_first() -> None:
    group = FailoverProcessor(ALL, 30_000)
    group.failed("b", 0)
    group.failed("a", 10)
    assert turns(group, 5_000) == "out trial wait"
    group.delivered("b")
    assert turns(group, 5_000) == "trial wait out"


def test_a_trial_of_which_nobody_hears_ends() -> None:
    group = FailoverProcessor(("a", "b"), 5_000)
    group.failed("a", 0)
    group.took("a", True, 2_000)
    assert turns(group, 6_999, ("a", "b")) == "out take"
    assert turns(group, 7_000, ("a", "b")) == "trial wait"


def balanced(backoff: bool = False, limit: int = 30_000) -> LoadBalanceProcessor:
    return LoadBalanceProcessor(ALL, InTurn(), limit if backoff else None)


def test_round_robin_takes_one_after_the_other() -> None:
    group, order = balanced(), []
    for now in range(7):
        [sink] = [name for name in ALL if group.turn(name, ALL, now) is Turn.TAKE]
        assert group.turn(sink, ALL, now) is Turn.TAKE, "until it has taken"
        group.took(sink, True, now)
        order.append(sink)
    assert "".join(order) == "abcabca"


def test_a_sink_that_is_busy_is_passed_over() -> None:
    group = balanced()
    group.took("a", True, 0)
    assert turns(group, 0, ("b", "c")) == "take wait"
    assert turns(group, 0, ("c",)) == "take"


def test_without_backoff_a_failing_sink_keeps_its_turns() -> None:
    group = balanced()
    group.failed("a", 0)
    assert turns(group, 1) == "take wait wait"


@pytest.mark.parametrize(
    "failures",
    [
        ((0, 2_000), (2_000, 6_000), (6_000, 14_000), (14_000, 30_000), (30_000, 60_000)),
        ((0, 2_000), (500, 2_000)),
        ((0, 2_000), (HOUR + 1_999, HOUR + 5_999)),
        ((0, 2_000), (HOUR + 2_000, HOUR + 4_000)),
        ((0, 2_000), (2_000, 6_000), (HOUR + 6_000, HOUR + 8_000)),
    ],
)
def test_backoff_of_load_balancing(failures: tuple[tuple[int, int], ...]) -> None:
    """(when it fails, until when it is out): failures are in a row until the last is over an hour
    older than its pause.
    """
    group = balanced(backoff=True)
    for now, until in failures:
        group.failed("a", now)
        group.delivered("a")
        assert group.turn("a", ALL, until - 1) is Turn.OUT
        assert group.turn("a", ALL, until) is not Turn.OUT


def test_sixteen_failures_are_the_most() -> None:
    group, now = balanced(backoff=True, limit=10**9), 0
    for count in range(1, 20):
        group.failed("a", now)
        pause = 1_000 * 2 ** min(count, 16)
        assert group.wait_ms(now) == pause
        now += pause


def test_random_gives_each_its_share() -> None:
    places = iter([2, 0, 1, 1, 0])
    group = LoadBalanceProcessor(ALL, AtRandom(lambda count: next(places) % count), None)
    order = []
    for now in range(5):
        [sink] = [name for name in ALL if group.turn(name, ALL, now) is Turn.TAKE]
        group.took(sink, True, now)
        order.append(sink)
    assert "".join(order) == "cabba"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("fail", "take", "empty", "deliver", "wait")),
        st.sampled_from(ALL),
        st.integers(0, 40_000),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from(("failover", "load_balance", "backoff")), st.integers(0, 60_000))
def test_at_most_one_takes_and_none_within_its_pause(
    steps: list[tuple[str, str, int]], kind: str, limit: int
) -> None:
    """P1 to P3 of sink_group.SinkProcessor."""
    group: SinkProcessor = (
        FailoverProcessor(ALL, limit) if kind == "failover" else balanced(kind == "backoff", limit)
    )
    now, least = 0, dict.fromkeys(ALL, 0)
    for what, sink, wait in steps:
        given_turns = {name: group.turn(name, ALL, now) for name in ALL}
        assert list(given_turns.values()) == [group.turn(name, ALL, now) for name in ALL]
        may = [n for n, turn in given_turns.items() if turn in (Turn.TAKE, Turn.TRIAL)]
        assert len(may) <= 1
        assert all(now >= least[name] for name in may)
        if all(now >= until for until in least.values()):
            assert may, "somebody may take"
        assert group.wait_ms(now) > 0
        if what == "wait":
            now += wait
        elif what == "deliver":
            group.delivered(sink)
            least[sink] = 0
        elif what == "fail":
            fresh = now >= least[sink]
            group.failed(sink, now)
            if kind != "load_balance" and fresh:
                least[sink] = now + min(limit, 2_000)
        elif sink in may:
            group.took(sink, what == "take", now)


@given(st.lists(st.booleans(), min_size=30, max_size=200))
def test_round_robin_is_even(rows: list[bool]) -> None:
    group, taken = balanced(), Counter[str]()
    for now, found in enumerate(rows):
        [sink] = [name for name in ALL if group.turn(name, ALL, now) is Turn.TAKE]
        group.took(sink, found, now)
        taken[sink] += 1
    assert max(taken.values()) - min(taken.values()) <= 1
    assert math.isclose(sum(taken.values()), len(rows))


@pytest.mark.parametrize("kind", ["sink_processor", "sink_selector"])
def test_flumes_defaults_are_ours(kind: str) -> None:
    for part in (one for one in names.all_parts() if one.kind == kind and one.type):
        model = lookup(kind, part.type)()
        for prop in part.props:
            if prop.default is not None and not prop.nested:
                given_value = {prop.option: prop.read(prop.default)}
                other = lookup(kind, part.type).model_validate(given_value)
                assert getattr(model, prop.option) == getattr(other, prop.option), prop.name
