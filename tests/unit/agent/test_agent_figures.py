from __future__ import annotations

from typing import Any

import pytest

from rayflume.agent.figures import RATE_WINDOW_MS, Meter
from rayflume.agent.follow import outcome, sentence
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
