"""Clauses of Selector, over every type in the folder, built from the example of its options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from rayflume.batch import EventBatch, Extent, concat
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup, types_of
from rayflume.interfaces import Selector
from rayflume.metrics import Metrics

CHANNELS = ["b", "a", "c"]
OPTIONS: dict[str, dict[str, object]] = {
    "hash": {"headers": ["k"]},
    "replicating": {"optional": ["c"]},
    "multiplexing": {
        "header": "k",
        "mapping": {"1": ["a", "b"], "2": ["b"]},
        "default": ["a"],
        "optional": {"2": ["c", "a"]},
    },
    "load_balancing": {"policy": "random"},
}


@pytest.fixture(params=types_of("selector"))
def selector(request: pytest.FixtureRequest) -> Selector:
    context = Context("agent", "web", ManualClock(), Metrics(), Path.cwd())
    options = lookup("selector", request.param).model_validate(OPTIONS[request.param])
    built: Selector = options.build(context)
    return built


def rows(first: int, count: int) -> EventBatch:
    bodies = [f"body {i}".encode() if i % 11 else None for i in range(first, first + count)]
    headers = [{"k": str(i % 4)} if i % 3 else {} for i in range(first, first + count)]
    return EventBatch.from_events(bodies, headers, (Extent("s", first, first + count, count),))


def test_l1_each_required_channel_appears_once_with_all_extents(selector: Selector) -> None:
    parts = (rows(0, 40), EventBatch(pa.array([], pa.binary()), {}, (Extent("t", 3, 9, 0),)))
    batch = concat([*parts, rows(40, 1)])
    for given in (batch, rows(7, 1), parts[1]):
        shares = selector.select(given, CHANNELS)
        names = [share.channel for share in shares]
        assert len(set(names)) == len(names) and set(names) <= set(CHANNELS)
        required = [share.channel for share in shares if share.required]
        assert sorted(required) == sorted(selector.required(CHANNELS))
        for share in shares:
            covered = [replace(extent, rows=0) for extent in share.batch.extents]
            assert covered == [replace(extent, rows=0) for extent in given.extents]
            assert sum(e.rows for e in share.batch.extents) == share.batch.num_rows


def test_rows_that_are_read_again_otherwise_cut_go_the_same_way(selector: Selector) -> None:
    def routes(pieces: list[EventBatch]) -> dict[str, list[bytes | None]]:
        found: dict[str, list[bytes | None]] = {}
        for piece in pieces:
            for share in selector.select(piece, CHANNELS):
                found.setdefault(share.channel, []).extend(share.batch.body.to_pylist())
        return found

    whole = routes([rows(0, 200)])
    assert routes([rows(0, 1), rows(1, 130), rows(131, 69)]) == whole
    assert {body for bodies in whole.values() for body in bodies} == set(
        rows(0, 200).body.to_pylist()
    )


def test_rows_of_a_share_keep_their_order(selector: Selector) -> None:
    order = {body: i for i, body in enumerate(rows(0, 200).body.to_pylist())}
    for share in selector.select(rows(0, 200), CHANNELS):
        places = [order[body] for body in share.batch.body.to_pylist() if body is not None]
        assert places == sorted(places)
