from __future__ import annotations

from typing import Any

import pytest
import typer

from rayflume.agent.api import exact
from rayflume.agent.figures import RATE_WINDOW_MS, DeadLetters, Meter
from rayflume.agent.follow import outcome, sentence
from rayflume.cli._progress import dead_letters
from rayflume.cli.run_ import refuse_all_dead
from rayflume.interfaces import Json


def part(name: str, kind: str, state: str = "running", **metrics: int) -> dict[str, Json]:
    return {
        "name": name,
        "kind": kind,
        "type": "x",
        "replica": 0,
        "pid": 1,
        "node": "n",
        "state": state,
        "restarts": 0,
        "last_error": "why" if state == "failed" else None,
        "metrics": dict(metrics),
    }


def status(*parts: dict[str, Json]) -> dict[str, Json]:
    return {"agent": "a", "state": "running", "components": list(parts)}


def sink(rows: int, **more: int) -> dict[str, Json]:
    return part("lake", "sink", "running", EventDrainSuccessCount=rows, **more)


def test_totals_and_the_order_of_the_flow() -> None:
    figures = Meter(0).read(
        status(
            part("wal", "channel", ChannelSize=3),
            sink(10, EventDeadLetterCount=2, DeliveryRetryCount=1),
            part(
                "web", "source", EventAcceptedCount=13, EventFilteredCount=4, BytesReceivedCount=99
            ),
        ),
        2_000,
    )
    assert [p.name for p in figures.parts] == ["web", "wal", "lake"]
    assert (figures.rows_in, figures.filtered, figures.bytes_in) == (17, 4, 99)
    assert (figures.rows_delivered, figures.dead, figures.backlog) == (8, 2, 3)
    assert (figures.errors, figures.elapsed_ms) == (1, 2_000)


def with_dead(part: dict[str, Any], reason: str | None) -> dict[str, Any]:
    told = {"path": "/lake/_rayflume/dead_letters", "first_reason": reason}
    return part | {"detail": {"dead_letters": told}}


def test_dead_letters_are_told_by_sink_with_place_and_first_reason() -> None:
    first = with_dead(sink(10, EventDeadLetterCount=2), None)
    second = with_dead(sink(5, EventDeadLetterCount=1), "no number") | {"replica": 1}
    other = part("k", "sink", EventDrainSuccessCount=9)
    figures = Meter(0).read(status(first, second, other), 0)
    assert not figures.all_dead
    expected = DeadLetters("lake", 3, "/lake/_rayflume/dead_letters", "no number")
    assert figures.dead_letters() == [expected]
    place, advice = dead_letters(figures)
    assert place == (
        "3 rows went to the dead letters of the sink lake, in /lake/_rayflume/dead_letters; the "
        "first because no number"
    )
    assert "`rayflume replay /lake/_rayflume/dead_letters --config CONF --sink lake`" in advice


def test_dead_letters_of_an_earlier_life_are_counted_where_no_reason_is_known() -> None:
    figures = Meter(0).read(status(sink(1, EventDeadLetterCount=1)), 0)
    assert figures.all_dead
    assert list(dead_letters(figures)) == ["1 row went to the dead letters of the sink lake"]
    with pytest.raises(typer.Exit):
        refuse_all_dead(figures)


@pytest.mark.parametrize("metrics", [{}, {"EventDrainSuccessCount": 2, "EventDeadLetterCount": 1}])
def test_a_run_that_delivered_something_or_had_nothing_to_deliver_is_no_failure(
    metrics: dict[str, int],
) -> None:
    refuse_all_dead(Meter(0).read(status(part("lake", "sink") | {"metrics": dict(metrics)}), 0))


def test_the_json_of_a_status_has_the_dead_letters_of_sinks_that_have_any() -> None:
    shown = [with_dead(sink(3, EventDeadLetterCount=1), "no number"), with_dead(sink(3), None)]
    found = exact(status(*shown))["components"]
    assert isinstance(found, list)
    path = "/lake/_rayflume/dead_letters"
    dead = [one.get("dead_letters") for one in found if isinstance(one, dict)]
    assert dead == [{"rows": 1, "path": path, "first_reason": "no number"}, None]
    assert all("detail" not in one for one in found if isinstance(one, dict))


def test_rates_are_those_of_the_last_seconds() -> None:
    meter = Meter(0)
    assert meter.read(status(sink(0)), 0).parts[0].rows_rate == 0
    for second in range(1, 11):
        figures = meter.read(status(sink(100 * second)), 1_000 * second)
    assert figures.parts[0].rows_rate == pytest.approx(100)
    for second in range(11, 12 + RATE_WINDOW_MS // 1000):
        figures = meter.read(status(sink(1_000)), 1_000 * second)
    assert figures.parts[0].rows_rate == 0


def test_counters_of_earlier_lives_are_added_and_gauges_are_not() -> None:
    meter = Meter(0)
    meter.read(status(sink(100, OpenFileCount=5)), 0)
    assert meter.read(status(sink(0)), 100).rows_delivered == 100
    assert meter.read(status(sink(40, OpenFileCount=2)), 200).rows_delivered == 140
    figures = meter.read(status(sink(10)), 300)
    assert figures.rows_delivered == 150
    assert figures.parts[0].metrics.get("OpenFileCount", 0) == 0


@pytest.mark.parametrize(
    ("parts", "blocked"),
    [
        ([part("lake", "sink", "failed"), part("out", "sink")], ["lake"]),
        ([part("lake", "sink", "failed"), part("lake", "sink") | {"replica": 1}], []),
        ([part("a", "source", "failed"), part("b", "source")], []),
        ([part("a", "source", "failed"), part("b", "source", "failed")], ["a", "b"]),
    ],
)
def test_blocked_are_the_parts_nothing_goes_on_without(
    parts: list[dict[str, Any]], blocked: list[str]
) -> None:
    assert [p.name for p in Meter(0).read(status(*parts), 0).blocked()] == blocked


def test_an_outcome_is_failed_when_one_part_is() -> None:
    assert outcome(status(sink(1)) | {"state": "stopped"}) == "stopped"
    failed = status(part("lake", "sink", "failed")) | {"state": "stopped"}
    assert outcome(failed) == "failed"
    [shown] = Meter(0).read(failed, 0).parts
    assert sentence(shown) == "sink lake: failed: why"
