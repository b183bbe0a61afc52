"""A whole agent that writes to a real HDFS whose servers are killed and started again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fault_volume import scaled
from hdfs_servers import Hdfs, HdfsPlace
from lake_agent import LakeAgent, until

pytestmark = pytest.mark.hdfs
ROWS = 500
SECONDS = 90.0


class Feed:
    """Lines for the agent, a steady stream of them, while servers come and go."""

    def __init__(self, agent: LakeAgent) -> None:
        self._agent = agent
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        while not self._over.wait(0.1):
            self._agent.write(ROWS)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_name_node_and_a_data_node_that_die_leave_every_row_once(
    tmp_path: Path, hdfs: Hdfs
) -> None:
    agent = LakeAgent(tmp_path, HdfsPlace(hdfs, block_size="64KiB", call_timeout="20s"))

    def goes_on() -> None:
        before = agent.delivered
        until(lambda: agent.delivered > before + ROWS, SECONDS)

    try:
        with Feed(agent):
            goes_on()
            servers = (hdfs.name_node, hdfs.data_node)
            for dead in (servers[:1], servers[1:], servers)[: scaled(2)]:
                for node in dead:
                    node.kill()
                until(lambda: agent.part("lake")["last_error"] is not None, SECONDS)
                hdfs.start()
                goes_on()
                until(lambda: agent.part("lake")["last_error"] is None, SECONDS)
        agent.end()
        agent.judge()
        assert agent.part("lake")["restarts"] == 0, "a failing store is no reason to crash"
    finally:
        agent.agent.stop()
        agent.agent.join(30)
        hdfs.start()
