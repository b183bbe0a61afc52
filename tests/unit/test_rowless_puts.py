"""Batches of which interceptors or selectors leave a channel no row: their positions stay small,
and survive a restart, although no sink ever commits.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import context

from rayflume import flow
from rayflume.batch import EventBatch, Extent
from rayflume.channels import _journaled
from rayflume.channels._journaled import JournaledChannel
from rayflume.channels.memory import MemoryChannel
from rayflume.clock import ManualClock
from rayflume.component import lookup
from rayflume.flow import Route
from rayflume.metrics import Metrics

OPTIONS: dict[str, dict[str, object]] = {
    "memory": {},
    "file": {"directory": "wal", "minimum_required_space": 0},
}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_journaled, "_ROWLESS_PUTS_MAX", 16)


def opened(kind: str, directory: Path) -> JournaledChannel:
    around = context(directory, "c1", ManualClock())
    channel: JournaledChannel = lookup("channel", kind)(**OPTIONS[kind]).build(around)
    channel.open()
    return channel


def route_to(channel: JournaledChannel, directory: Path) -> Route:
    around = context(directory, "c1", ManualClock())
    drop = lookup("interceptor", "regex_filter").model_validate({"regex": "^keep"}).build(around)
    selector = lookup("selector", "replicating")().build(around)
    return Route("web", [drop], selector, {"c1": channel}, Metrics())


def read(route: Route, start: int, stop: int, body: bytes = b"drop") -> None:
    for place in range(start, stop):
        extents = (Extent("s/1", place, place + 1, 1, b"%d" % place),)
        flow.ingest(EventBatch.from_events([body], (), extents), route)


def test_positions_of_dropped_rows_are_one_piece_in_a_memory_channel(tmp_path: Path) -> None:
    channel = opened("memory", tmp_path)
    assert isinstance(channel, MemoryChannel)
    route = route_to(channel, tmp_path)
    read(route, 0, 1, b"keep")  # waits for a sink that never comes
    read(route, 1, 50)
    assert len(channel._behind) == 1
    channel.close()
    channel = opened("memory", tmp_path)
    assert channel.positions("s/") == {}  # the row is lost with the channel, and is read again
    channel.close()


@pytest.mark.parametrize("kind", OPTIONS)
def test_positions_of_dropped_rows_survive_a_restart(kind: str, tmp_path: Path) -> None:
    channel = opened(kind, tmp_path)
    read(route_to(channel, tmp_path), 0, 40)
    assert not channel._put_times  # nothing waits
    channel.close()
    channel = opened(kind, tmp_path)
    position = channel.positions("s/")["s/1"]
    if kind == "memory":
        assert position.next >= 32
    else:
        assert position.next == 40
    assert position.token == b"%d" % (position.next - 1)
    channel.close()
