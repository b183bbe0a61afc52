"""F16, the half of one process: more than the channel takes, and a lake that is far too slow. Rows
are refused or wait; memory stays bounded, and nothing that was acknowledged is lost.
"""

from __future__ import annotations

import threading
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import deliver
from test_f10_duplicates import served

from rayflume.agent.inline import InlineAgent
from rayflume.config import plan_of
from rayflume.interfaces import Json
from rayflume.storage import memory

MIB = 2**20
FILLING = b"x" * 4_000


def memory_now() -> int:
    return int(psutil.Process().memory_info().rss)


class Sender(threading.Thread):
    """Posts 64 KiB at a time and notes what was acknowledged; what is refused is not sent again."""

    def __init__(self, port: int, name: str, count: int) -> None:
        super().__init__()
        self.port, self.label, self.count = port, name, count
        self.acknowledged: list[bytes] = []
        self.refused = self.with_retry_after = 0

    def run(self) -> None:
        for number in range(self.count):
            rows = [b"%s-%d-%d %s" % (self.label.encode(), number, n, FILLING) for n in range(16)]
            connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
            connection.request("POST", "/ndjson", b"\n".join(rows))
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status == 200:
                self.acknowledged += rows
            else:
                assert answer.status == 503, answer.status
                self.refused += 1
                self.with_retry_after += int(answer.headers["Retry-After"]) >= 1


def test_f16_a_full_channel_sheds_http_and_memory_stays_bounded(tmp_path: Path) -> None:
    """Ten times as much as fits is offered; then the channel is emptied, and requests are taken at
    once.
    """
    with served(tmp_path, capacity={"bytes": "4MiB"}) as made:
        before = memory_now()
        senders = [Sender(made.port, f"s{n}", 80) for n in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(120)
            assert not sender.is_alive()
        grown = memory_now() - before
        refused = sum(sender.refused for sender in senders)
        acknowledged = Counter(row for sender in senders for row in sender.acknowledged)
        held = made.channel.state().bytes
        print(f"640 requests: {refused} refused; {held} bytes held, memory grew by {grown} bytes")
        assert refused > 500
        assert sum(sender.with_retry_after for sender in senders) == refused
        assert held <= 4 * MIB + 9 * MIB  # at most one group of requests above it
        assert grown < 64 * MIB
        found: Counter[bytes] = Counter()
        while rows := deliver(made.channel):
            found.update(rows)
        assert found == acknowledged
        last = Sender(made.port, "last", 1)
        for _ in range(50):
            # A source that was refused holds off for a moment.
            last.run()
            if last.acknowledged:
                break
            threading.Event().wait(0.1)
        assert last.acknowledged and Counter(deliver(made.channel)) == Counter(last.acknowledged)


def metric(agent: InlineAgent, name: str, of: str) -> int:
    components = agent.status()["components"]
    assert isinstance(components, list)
    found: list[Json] = [
        p["metrics"] for p in components if isinstance(p, dict) and p["name"] == name
    ]
    assert isinstance(found[0], dict)
    return int(str(found[0].get(of, 0)))


def test_f16_a_lake_that_stands_still_grows_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes to the store wait at a gate: the channel fills up, the source stops reading, memory
    stays. When the gate opens all rows arrive.
    """
    gate = threading.Event()
    write = memory.MemoryWriter.write

    def slow(self: memory.MemoryWriter, data: bytes) -> int:
        assert gate.wait(120)
        return write(self, data)

    monkeypatch.setattr(memory.MemoryWriter, "write", slow)
    (tmp_path / "in").mkdir()
    lines = 60_000
    with (tmp_path / "in" / "a.log").open("wb") as file:
        for n in range(lines):
            file.write(b"%08d %s\n" % (n, FILLING[:1_000]))
    lake = {
        "type": "parquet", "channel": "wal", "path": "memory://f16", "format": {"type": "text"},
        "buffer_bytes": "1MiB", "row_group_bytes": "256KiB",
    }  # fmt: skip
    source = {
        "type": "taildir",
        "paths": ["in/*.log"],
        "batch_bytes": "256KiB",
        "channels": ["wal"],
    }
    channel = {"type": "file", "directory": "wal", "capacity": {"bytes": "8MiB"}}
    plan = plan_of(
        {"agent": "f16", "sources": {"web": source}, "channels": {"wal": channel},
         "sinks": {"lake": lake}},
        tmp_path,
    )  # fmt: skip
    before = memory_now()
    agent = InlineAgent(plan, until_drained=True).start()
    while "is full" not in str(agent.status()):
        assert not agent.join(0.02)
    accepted = metric(agent, "web", "EventAcceptedCount")
    for _ in range(20):
        assert not agent.join(0.05)
    grown = memory_now() - before
    print(f"{accepted} of {lines} rows taken; memory grew by {grown} bytes")
    assert metric(agent, "web", "EventAcceptedCount") == accepted < lines // 2
    assert grown < 60 * MIB
    gate.set()
    assert agent.join(120)
    rows = [
        int(row[:8])
        for path, data in memory.store("f16").files.items()
        if path.endswith(".parquet")
        for row in pq.read_table(pa.BufferReader(data)).column(0).to_pylist()
    ]
    assert sorted(rows) == list(range(lines))
