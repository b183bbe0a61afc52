"""Groups of sinks in a running agent: a store that dies and returns, rows shared out, each once."""

from __future__ import annotations

from pathlib import Path

import pytest
from reload_agent import Changing, plan, sink, until

from rayflume.errors import StorageUnavailable
from rayflume.interfaces import Json
from rayflume.storage import local


class Store:
    """Local stores that fail while they are `down`. `calls`: which of a storage's methods fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *calls: str) -> None:
        self.down: set[str] = set()
        for call in calls:
            monkeypatch.setattr(local.LocalStorage, call, self._failing(call))

    def _failing(self, call: str) -> object:
        good = getattr(local.LocalStorage, call)

        def tried(storage: local.LocalStorage, *args: object) -> object:
            if any(storage._tree.base.name == name for name in self.down):
                raise StorageUnavailable("the store is away")
            return good(storage, *args)

        return tried


def grouped(directory: Path, processor: dict[str, Json]) -> Changing:
    sinks = {name: sink(path=name, roll={"age": "100ms"}) for name in ("near", "far")}
    group = {"g": {"sinks": ["near", "far"], "processor": processor}}
    return Changing(directory, plan(directory, sinks=sinks, sink_groups=group))


def delivered(running: Changing, name: str) -> int:
    return int(running.part(name)["metrics"].get("EventDrainSuccessCount", 0))


FAILOVER: dict[str, Json] = {
    "type": "failover", "priority": {"near": 10, "far": 5}, "max_penalty": "500ms",
}  # fmt: skip


@pytest.mark.parametrize("call", ["stage", "publish"])
def test_another_sink_takes_over_and_the_first_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """With `publish` the delivery is prepared already: it stays with its sink, and lands once."""
    store, running = Store(monkeypatch, call), grouped(tmp_path, FAILOVER)
    running.write(100)
    until(lambda: delivered(running, "near") == 100)
    store.down.add("near")
    running.write(200)
    until(lambda: running.part("near")["metrics"].get("DeliveryRetryCount", 0) > 0)
    running.write(100)
    until(lambda: delivered(running, "far") >= 100)
    store.down.clear()
    running.write(50)
    until(lambda: sum(delivered(running, name) for name in ("near", "far")) == 450)
    running.write(50)
    until(lambda: sum(delivered(running, name) for name in ("near", "far")) == 500)

    def near_leads_again() -> bool:
        """Whether it takes all rows of a round; what the other one has open may still go first."""
        near, before = delivered(running, "near"), total(running)
        running.write(50)
        until(lambda: total(running) == before + 50)
        return delivered(running, "near") == near + 50

    until(near_leads_again)
    running.end()
    running.judge("near", "far")


def test_rows_are_shared_out_and_a_failing_sink_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    balance: dict[str, Json] = {
        "type": "load_balance", "backoff": True,
        "selector": {"type": "round_robin", "max_time_out": "60s"},
    }  # fmt: skip
    store, running = Store(monkeypatch, "stage"), grouped(tmp_path, balance)
    for _ in range(12):
        before = running.written
        running.write(10)
        until(lambda before=before: size(running) + total(running) >= before + 10)
    until(lambda: total(running) == 120)
    shares = [delivered(running, name) for name in ("near", "far")]
    assert min(shares) >= 20, shares
    store.down.add("near")
    running.write(300)
    until(lambda: total(running) == 420)
    assert delivered(running, "near") == shares[0], "its pause is 2 s"
    store.down.clear()
    running.end()
    running.judge("near", "far")


def total(running: Changing) -> int:
    return sum(delivered(running, name) for name in ("near", "far"))


def size(running: Changing) -> int:
    return int(running.part("wal")["metrics"].get("ChannelSize", 0))


def test_a_sink_that_cannot_open_its_store_leaves_its_rows_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "near").write_text("a file where the lake should be")
    running = grouped(tmp_path, FAILOVER)
    running.write(100)
    until(lambda: delivered(running, "far") == 100)
    assert running.part("near")["state"] != "running"
    running.agent.stop()
    assert running.agent.join(30)
    running.judge("far")


def test_another_order_takes_effect_without_a_restart(tmp_path: Path) -> None:
    running = grouped(tmp_path, FAILOVER)
    running.write(100)
    until(lambda: delivered(running, "near") == 100)
    sinks = {name: sink(path=name, roll={"age": "100ms"}) for name in ("near", "far")}
    turned = FAILOVER | {"priority": {"near": 5, "far": 10}}
    group = {"g": {"sinks": ["near", "far"], "processor": turned}}
    what = running.apply(plan(tmp_path, sinks=sinks, sink_groups=group))
    assert (what.adjust, what.change) == (("wal",), ())

    def leads() -> bool:
        running.write(1)
        return delivered(running, "far") > 0

    until(leads)
    running.end()
    running.judge("near", "far")
