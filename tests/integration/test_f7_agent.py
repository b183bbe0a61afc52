"""F7 with a whole agent in this process: a lake that throttles, fails by chance, and dies."""

from __future__ import annotations

import collections
import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pyarrow.parquet as pq
import pytest
from fault_proxy import Fault, FaultProxy
from lakes import S3Place
from servers import S3Server, weed_home, weed_server

from rayflume.agent.inline import InlineAgent
from rayflume.clock import SystemClock
from rayflume.config import plan_of
from rayflume.interfaces import Json

pytestmark = pytest.mark.s3
FAULTS = 20
LAKE_FAULTS = [Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.ERROR_500, Fault.RESET, Fault.RESET_AFTER,
               Fault.ERROR_AFTER, Fault.WRONG_ETAG]  # fmt: skip


def before(server: S3Server) -> FaultProxy:
    url = urlsplit(server.endpoint)
    assert url.hostname and url.port
    return FaultProxy(url.hostname, url.port)


@pytest.fixture
def proxy(weed_s3: S3Server) -> Iterator[FaultProxy]:
    with before(weed_s3) as proxy:
        yield proxy


class Agent:
    """A tailing agent that writes to S3; lines are put in by hand."""

    def __init__(self, directory: Path, place: S3Place) -> None:
        self.inputs = directory / "in"
        self.inputs.mkdir()
        self.place = place
        self.written = 0
        sink = {
            "type": "parquet", "channel": "wal", "path": place.path, "storage": place.storage,
            "format": {"type": "text"}, "roll": {"age": "200ms"},
        }  # fmt: skip
        source = {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"]}
        plan = {
            "agent": "clicks", "sources": {"web": source}, "sinks": {"lake": sink},
            "channels": {"wal": {"type": "file", "directory": "wal"}},
        }  # fmt: skip
        self.agent = InlineAgent(plan_of(plan, directory)).start()

    def write(self, count: int) -> None:
        with (self.inputs / "a.log").open("a") as file:
            file.writelines(f"{n}\n" for n in range(self.written, self.written + count))
        self.written += count

    def part(self, name: str) -> dict[str, Any]:
        components = self.agent.status()["components"]
        assert isinstance(components, list)
        [found] = [c for c in components if isinstance(c, dict) and c["name"] == name]
        return found

    def metric(self, part: str, name: str) -> int:
        found: Json = self.part(part)["metrics"].get(name, 0)
        assert isinstance(found, int)
        return found

    @property
    def delivered(self) -> int:
        return self.metric("lake", "EventDrainSuccessCount")

    def end(self) -> None:
        self.agent.drain()
        assert self.agent.join(90), self.agent.status()

    def judge(self) -> None:
        seen: collections.Counter[int] = collections.Counter()
        for path, data in self.place.files().items():
            if path.endswith(".parquet"):
                seen.update(int(v) for v in pq.read_table(io.BytesIO(data)).column(0).to_pylist())
        assert seen == collections.Counter(range(self.written))
        assert not [path for path in self.place.files() if path.endswith(".dead")]


def until(found: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition; AssertionError when it does not come."""
    clock, pause = SystemClock(), threading.Event()
    deadline = clock.monotonic_ms() + seconds * 1000
    while not found():
        assert clock.monotonic_ms() < deadline, "it did not come true"
        pause.wait(0.05)


@pytest.fixture
def agent(tmp_path: Path, weed_s3: S3Server, proxy: FaultProxy) -> Iterator[Agent]:
    with contextlib.closing(weed_s3.client()) as client:
        options = {"endpoint": proxy.endpoint, "retries": 1, "call_timeout": "10s"}
        place = S3Place(client, weed_s3.bucket(), {**weed_s3.options, **options})
        found = Agent(tmp_path, place)
        yield found
        found.agent.stop()
        found.agent.join(30)


def test_f7_a_lake_that_throttles_is_waited_for_shown_and_gone_on_with(
    agent: Agent, proxy: FaultProxy
) -> None:
    agent.write(100)
    until(lambda: agent.delivered == 100)
    proxy.inject(Fault.SLOW_DOWN, times=None)
    begun = sum(proxy.requests.values())
    memory = psutil.Process().memory_info().rss
    for _ in range(20):
        agent.write(1_000)
        threading.Event().wait(0.25)
    until(lambda: "slow down" in str(agent.part("lake")["last_error"]))
    asked = sum(proxy.requests.values()) - begun
    assert 2 <= asked <= 100, f"{asked} requests in 5 s to a store that asks to slow down"
    assert psutil.Process().memory_info().rss - memory < 200 << 20
    until(lambda: agent.metric("web", "EventAcceptedCount") == 20_100)  # the source need not wait
    proxy.heal()
    until(lambda: agent.delivered == 20_100)
    until(lambda: agent.part("lake")["last_error"] is None)
    agent.end()
    agent.judge()


def test_f7_chaos_at_every_call_leaves_every_row_once(agent: Agent, proxy: FaultProxy) -> None:
    proxy.chaos(7, 0.25, LAKE_FAULTS)

    def write_on() -> bool:
        agent.write(200)
        return proxy.total >= FAULTS

    until(write_on, 120)
    proxy.heal()
    agent.end()
    agent.judge()
    assert agent.part("lake")["restarts"] == 0, "a failing store is no reason to crash"


def test_f7_a_store_that_is_killed_and_started_again_is_gone_on_with(tmp_path: Path) -> None:
    with weed_home() as home, contextlib.ExitStack() as server_life:
        server = server_life.enter_context(weed_server(home))
        with before(server) as proxy, contextlib.closing(server.client()) as client:
            options = {"endpoint": proxy.endpoint, "retries": 1, "call_timeout": "20s"}
            place = S3Place(client, server.bucket(), {**server.options, **options})
            agent = Agent(tmp_path, place)
            try:
                agent.write(2_000)
                until(lambda: agent.delivered == 2_000)
                proxy.inject(Fault.TIMEOUT_AFTER, call="complete", hang_s=2)
                agent.write(2_000)
                until(lambda: proxy.injected["complete", Fault.TIMEOUT_AFTER] == 1)
                server_life.close()  # in the middle of a publish: SIGKILL
                agent.write(2_000)
                until(lambda: agent.part("lake")["last_error"] is not None)
                assert agent.delivered < 6_000
                with weed_server(home):
                    until(lambda: agent.delivered == 6_000, 120)
                    agent.end()
                    agent.judge()
            finally:
                agent.agent.stop()
                agent.agent.join(30)
