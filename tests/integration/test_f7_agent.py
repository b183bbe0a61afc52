"""F7 with a whole agent in this process: a lake that throttles, fails by chance, and dies."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fault_proxy import Fault, FaultProxy, in_front_of
from lake_agent import LakeAgent, until
from lakes import S3Place
from servers import S3Server, weed_home, weed_server

pytestmark = pytest.mark.s3
FAULTS = 20
LAKE_FAULTS = [Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.ERROR_500, Fault.RESET, Fault.RESET_AFTER,
               Fault.ERROR_AFTER, Fault.WRONG_ETAG]  # fmt: skip


@pytest.fixture
def proxy(weed_s3: S3Server) -> Iterator[FaultProxy]:
    with in_front_of(weed_s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def agent(tmp_path: Path, weed_s3: S3Server, proxy: FaultProxy) -> Iterator[LakeAgent]:
    with contextlib.closing(weed_s3.client()) as client:
        options = {"endpoint": proxy.endpoint, "retries": 1, "call_timeout": "10s"}
        place = S3Place(client, weed_s3.bucket(), {**weed_s3.options, **options})
        found = LakeAgent(tmp_path, place)
        yield found
        found.agent.stop()
        found.agent.join(30)


def test_f7_a_lake_that_throttles_is_waited_for_shown_and_gone_on_with(
    agent: LakeAgent, proxy: FaultProxy
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


def test_f7_chaos_at_every_call_leaves_every_row_once(agent: LakeAgent, proxy: FaultProxy) -> None:
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
        with in_front_of(server.endpoint) as proxy, contextlib.closing(server.client()) as client:
            options = {"endpoint": proxy.endpoint, "retries": 1, "call_timeout": "20s"}
            place = S3Place(client, server.bucket(), {**server.options, **options})
            agent = LakeAgent(tmp_path, place)
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
