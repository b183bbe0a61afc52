"""multiplexing and load_balancing: events, configuration, and who gets what, as in Flume."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.interfaces import Selector
from rayflume.metrics import Metrics
from rayflume.selectors.load_balancing import LoadBalancing
from rayflume.selectors.multiplexing import Multiplexing

CHANNELS = ["a", "b", "c"]
GUIDE: dict[str, object] = {
    "header": "State",
    "mapping": {"CZ": ["a"], "US": ["b", "c"], "10.0.0.1": ["c"]},
    "default": ["b"],
    "optional": {"CZ": ["c", "a"], "XX": ["b", "c"]},
}
METRICS = Metrics()


def built(kind: str, options: dict[str, object], replay: str = "replayable") -> Selector:
    context = Context("agent", "web", ManualClock(), METRICS, Path.cwd(), replay=replay)
    selector: Selector = lookup("selector", kind).model_validate(options).build(context)
    return selector


def batch(values: list[str | None]) -> EventBatch:
    headers = [{} if value is None else {"State": value} for value in values]
    bodies: list[bytes | None] = [str(i).encode() for i in range(len(values))]
    return EventBatch.from_events(bodies, headers, (Extent("s", 0, 99, len(values)),))


def routed(options: dict[str, object], value: str | None) -> str:
    """The channels one event goes to; the optional ones as capitals, which miss it when full."""
    found = ""
    for share in built("multiplexing", options).select(batch([value]), CHANNELS):
        if share.batch.num_rows:
            found += share.channel if share.required else share.channel.upper()
    return found


@pytest.mark.parametrize(
    ("options", "value", "channels"),
    [
        (GUIDE, "US", "bc"),
        (GUIDE, "10.0.0.1", "c"),
        (GUIDE, "us", "b"),
        (GUIDE, "US ", "b"),
        (GUIDE, None, "b"),
        (GUIDE, "", "b"),
        (GUIDE, " \t", "b"),
        (GUIDE, "CZ", "ac"),  # c is required of others, so it does not miss this one either
        (GUIDE, "XX", "bc"),
        ({**GUIDE, "mapping": {"CZ": ["a"]}}, "CZ", "aC"),
        ({**GUIDE, "mapping": {"CZ": ["a"]}}, "XX", "bC"),
        ({**GUIDE, "default": []}, "ZZ", ""),
        ({**GUIDE, "default": []}, None, ""),
        ({"default": ["b"]}, "US", "b"),
        ({"mapping": {"x": ["a"]}, "optional": {"US": ["c"]}, "header": "State"}, "US", "C"),
    ],
)
def test_multiplexing(options: dict[str, object], value: str | None, channels: str) -> None:
    assert routed(options, value) == channels


def test_multiplexing_of_a_batch_by_value_and_by_one_value_for_all() -> None:
    selector = built("multiplexing", GUIDE)
    shares = selector.select(batch(["US", "CZ", None, "US", "ZZ"]), CHANNELS)
    got = {share.channel: share.batch.body.to_pylist() for share in shares}
    assert got == {"a": [b"1"], "b": [b"0", b"2", b"3", b"4"], "c": [b"0", b"1", b"3"]}
    constant = EventBatch.from_events([b"x", b"y"]).with_header("State", "US")
    shares = selector.select(constant, CHANNELS)
    assert [share.batch.num_rows for share in shares] == [0, 2, 2]
    assert shares[1].batch is constant


def test_multiplexing_counts_what_goes_nowhere() -> None:
    metrics = Metrics()
    selector = Multiplexing(header="State", mapping={"US": ["a"]}).build(
        Context("agent", "web", ManualClock(), metrics, Path.cwd())
    )
    selector.select(batch(["US", "CZ", None]), CHANNELS)
    assert metrics.snapshot()["EventFilteredCount"] == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"mapping": {"x": ["aa"]}},
            "`mapping.x` names 'aa', which is no channel of this source; did you mean 'a'?",
        ),
        ({"default": ["a"], "mapping": {"x": []}}, "`mapping.x` names no channel"),
        ({"default": ["a"], "optional": {"x": ["d"]}}, "`optional.x` names 'd'"),
        ({"optional": {"x": ["a"]}}, "no channel is required; name one"),
    ],
)
def test_multiplexing_checks_the_channels(options: dict[str, object], problem: str) -> None:
    found = Multiplexing.model_validate(options).check_channels(CHANNELS)
    assert len(found) == 1 and found[0].startswith(problem)
    assert Multiplexing.model_validate(GUIDE).check_channels(CHANNELS) == []


def counts(selector: Selector, given: EventBatch) -> list[int]:
    return [share.batch.num_rows for share in selector.select(given, CHANNELS)]


def test_round_robin_deals_rows_that_never_come_again_in_turn() -> None:
    selector = built("load_balancing", {}, "lossy")
    first = selector.select(batch([None] * 4), CHANNELS)
    assert [share.batch.body.to_pylist() for share in first] == [[b"0", b"3"], [b"1"], [b"2"]]
    second = selector.select(batch([None] * 2), CHANNELS)
    assert [share.batch.body.to_pylist() for share in second] == [[], [b"0"], [b"1"]]


@pytest.mark.parametrize("replay", ["lossy", "keyed", "replayable"])
@pytest.mark.parametrize("policy", ["round_robin", "RANDOM"])
def test_every_row_goes_to_one_channel_and_all_get_about_as_many(policy: str, replay: str) -> None:
    selector = built("load_balancing", {"policy": policy}, replay)
    given = batch([None] * 9_000)
    shares = selector.select(given, CHANNELS)
    seen = Counter(body for share in shares for body in share.batch.body.to_pylist())
    assert set(seen.values()) == {1} and len(seen) == 9_000
    assert all(2_700 < share.batch.num_rows < 3_300 for share in shares)


def test_equal_rows_that_may_come_again_meet_in_one_channel() -> None:
    selector = built("load_balancing", {})
    same = EventBatch.from_events([b"same"] * 10, (), (Extent("s", 0, 10, 10),))
    assert sorted(counts(selector, same)) == [0, 0, 10]
    assert counts(selector, same.slice(3, 4)) == [n * 4 // 10 for n in counts(selector, same)]


def test_load_balancing_needs_channels_to_balance() -> None:
    assert len(LoadBalancing().check_channels(["a"])) == 1
    assert LoadBalancing().check_channels(CHANNELS) == []
    with pytest.raises(ValidationError):
        LoadBalancing.model_validate({"policy": "best"})
