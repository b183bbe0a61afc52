"""F16: far more comes in than goes out. Memory stays bounded, clients are told, nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from ray_nodes import RayNodes

from chaos.feeds import HttpFeed
from chaos.rows import KEYED, RETRIED, SINGLE
from chaos.scene import local_place, scene
from chaos.watcher import rss_anon, wait_for
from rayflume.clock import SystemClock

OVERLOAD_S = 15.0
ROOM, BATCH_ROWS = 20_000, 5_000
GROWTH_MAX = 96 * 2**20
"""A batch on its way is held a few times: as text, encoded, in the call to the channel."""
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.alone]


def test_f16_an_overload_is_shed_by_503_within_bounded_memory_and_without_loss(
    ray_cluster: RayNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both sinks stand still while clients send without a pause."""
    place = local_place(tmp_path, capacity={"events": ROOM, "bytes": "8MiB"})
    with scene(place, ray_cluster.address, [KEYED, RETRIED, SINGLE]) as at:
        names = [("web", 0), ("wal-local", 0), ("lake-local", 0), ("lake-local", 1)]
        pids = {name: int(at.part(*name)["pid"]) for name in names}
        before = {name: rss_anon(pid) for name, pid in pids.items()}
        sinks = [pids["lake-local", 0], pids["lake-local", 1]]
        for pid in sinks:
            os.kill(pid, signal.SIGSTOP)
        clients = [feed for feed in at.feeds if isinstance(feed, HttpFeed)]
        for client in clients:
            client.hurry.set()
        most = dict(before)
        deadline_ms = SystemClock().monotonic_ms() + OVERLOAD_S * 1000
        while SystemClock().monotonic_ms() < deadline_ms:
            threading.Event().wait(0.25)
            most = {name: max(most[name], rss_anon(pid)) for name, pid in pids.items()}
        shed = sum(client.answers.get(503, 0) for client in clients)
        assert shed > 20, "nobody was told to come back later"
        # Room is counted in bytes of a batch: the last one may bring more rows than there was room.
        assert at.part("wal-local")["detail"]["waiting"] <= ROOM + BATCH_ROWS
        for pid in sinks:
            os.kill(pid, signal.SIGCONT)
        good = sum(client.answers.get(200, 0) for client in clients)
        back = wait_for(lambda: sum(c.answers.get(200, 0) for c in clients) > good + 5, 10)
        grown = {"/".join(map(str, n)): (most[n] - before[n]) >> 20 for n in pids}
        with capsys.disabled():
            print(f"\nF16, MiB of RssAnon grown: {grown}; {shed} requests shed")
        assert back, "no request is taken 10 s after the overload"
        assert max(most[name] - before[name] for name in pids) < GROWTH_MAX, grown
        at.finish()
