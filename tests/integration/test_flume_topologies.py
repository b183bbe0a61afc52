"""Topologies of Flume's user guide (Setting multi-agent flow, Consolidation, Multiplexing the flow)
as `.properties` files, over real sockets and files; the rows are counted at the end.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from flume_agent import WAIT_S, at_home, filled, lines_in, send_lines, started
from http_target import HttpTarget, serving
from servers import free_ports

from rayflume.clock import SystemClock

HTTP_SINK = """
    type = http
    endpoint = <endpoint>
    contentTypeHeader = application/json
    requestTimeout = 60000
    rollback.2XX = false
    backoff.2XX = false
    incrementMetrics.2XX = true
"""


def of(part: str, text: str) -> str:
    """Properties of one part."""
    return "".join(f"{part}.{line.strip()}\n" for line in text.strip().splitlines())


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home(tmp_path, monkeypatch)


# -- fan-in ----------------------------------------------------------------------------------------

WEB = ("web1", "web2", "web3")
SENDER = """
<name>.sources = tail
<name>.channels = wal
<name>.sinks = onward
<name>.sources.tail.type = TAILDIR
<name>.sources.tail.filegroups = all
<name>.sources.tail.filegroups.all = <directory>/<name>/.*\\\\.log
<name>.sources.tail.positionFile = <directory>/<name>.json
<name>.sources.tail.channels = wal
<name>.channels.wal.type = file
<name>.channels.wal.checkpointDir = <directory>/<name>-checkpoint
<name>.channels.wal.dataDirs = <directory>/<name>-data
<name>.sinks.onward.channel = wal
"""
COLLECTOR = """
collector.sources = all
collector.channels = wal
collector.sinks = out
collector.sources.all.type = http
collector.sources.all.bind = 127.0.0.1
collector.sources.all.port = <port>
collector.sources.all.channels = wal
collector.channels.wal.type = file
collector.channels.wal.checkpointDir = <directory>/collector-checkpoint
collector.channels.wal.dataDirs = <directory>/collector-data
collector.sinks.out.type = file_roll
collector.sinks.out.channel = wal
collector.sinks.out.sink.directory = <directory>/collected
collector.sinks.out.sink.serializer = HEADER_AND_TEXT
"""


@contextmanager
def collecting(conf: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs the agent `collector`, from when it listens."""
    command = [sys.executable, "-m", "rayflume", "run", str(conf), "--agent", "collector"]
    with (conf.parent / "collector.out").open("ab") as said:
        running = subprocess.Popen([*command, "--inline"], stdout=said, stderr=said)
    try:
        for _ in range(int(WAIT_S / 0.05)):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert running.poll() is None, (conf.parent / "collector.out").read_text()
            threading.Event().wait(0.05)
        yield running
    finally:
        running.kill()
        running.wait(WAIT_S)


def test_fan_in_of_three_agents_loses_nothing_when_the_collector_is_killed(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    text = filled(COLLECTOR, {"port": port, "directory": tmp_path})
    for name in WEB:
        sender = SENDER + of("<name>.sinks.onward", HTTP_SINK)
        endpoint = f"http://127.0.0.1:{port}/"
        text += filled(sender, {"name": name, "directory": tmp_path, "endpoint": endpoint})
        (tmp_path / name).mkdir()
    conf = tmp_path / "flume.conf"

    def write(first: int, last: int) -> None:
        for name in WEB:
            with (tmp_path / name / "access.log").open("a") as log:
                for i in range(first, last):
                    print(json.dumps([{"headers": {"from": name}, "body": f"row {i}"}]), file=log)

    with ExitStack() as senders:
        web = [senders.enter_context(started(tmp_path, text, name)) for name in WEB]
        write(0, 100)
        with collecting(conf, port) as collector:
            for one in web:
                one.until_counted("onward", "EventDrainSuccessCount", 50)
            write(100, 200)
            collector.kill()
        for one in web:
            one.until_counted("onward", "DeliveryRetryCount", 1)
        with collecting(conf, port) as collector:
            for one in web:
                one.drain()
            collector.send_signal(signal.SIGTERM)
            assert collector.wait(WAIT_S) == 0, (tmp_path / "collector.out").read_text()
    got = Counter(lines_in(tmp_path / "collected"))
    wanted = {f"{{from={name}}} row {i}".encode() for name in WEB for i in range(200)}
    assert got.keys() == wanted
    assert got.total() <= len(wanted) + len(WEB), "one request of each sender was under way"


# -- fan-out ---------------------------------------------------------------------------------------

FILES = """
    type = file_roll
    sink.directory = <directory>
"""
REPLICATED = """
a1.sources = in
a1.channels = first second spare
a1.sinks = k1 k2 k3
a1.sources.in.type = netcat
a1.sources.in.bind = 127.0.0.1
a1.sources.in.port = 0
a1.sources.in.channels = first second spare
a1.sources.in.selector.type = replicating
a1.sources.in.selector.optional = spare
a1.channels.first.type = memory
a1.channels.second.type = file
a1.channels.second.dataDirs = <directory>/second
a1.channels.second.checkpointDir = <directory>/checkpoint
a1.channels.spare.type = memory
a1.channels.spare.byteCapacity = 2000
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = <directory>/k1
a1.sinks.k1.channel = first
a1.sinks.k2.type = file_roll
a1.sinks.k2.sink.directory = <directory>/k2
a1.sinks.k2.channel = second
a1.sinks.k3.channel = spare
"""


def test_fan_out_goes_on_when_an_optional_channel_is_full(tmp_path: Path) -> None:
    text = REPLICATED + of("a1.sinks.k3", HTTP_SINK)
    rows = [b"row %03d of a flow that forks" % i for i in range(200)]
    with serving() as target:
        target.gate.clear()
        values = {"directory": tmp_path, "endpoint": target.url}
        with started(tmp_path, text, values=values) as agent:
            for at in range(0, len(rows), 20):
                assert send_lines(agent.port("in"), rows[at : at + 20]) == b"OK\n" * 20
            target.gate.set()
            agent.drain()
            skipped = agent.count("in", "EventSkippedCount")
    assert sorted(lines_in(tmp_path / "k1")) == rows
    assert sorted(lines_in(tmp_path / "k2")) == rows
    assert 0 < len(target.bodies) < len(rows)
    assert len(set(target.bodies)) == len(target.bodies)
    assert len(target.bodies) + skipped == len(rows)


MULTIPLEXED = """
a1.sources = in
a1.channels = eu us rest copy
a1.sinks = k-eu k-us k-rest k-copy
a1.sources.in.type = http
a1.sources.in.bind = 127.0.0.1
a1.sources.in.port = 0
a1.sources.in.channels = eu us rest copy
a1.sources.in.selector.type = multiplexing
a1.sources.in.selector.header = region
a1.sources.in.selector.mapping.de = eu
a1.sources.in.selector.mapping.fr = eu
a1.sources.in.selector.mapping.us.east = us
a1.sources.in.selector.mapping.both = eu us
a1.sources.in.selector.default = rest
a1.sources.in.selector.optional.fr = copy
"""
REGIONS = {
    "de": ["eu"],
    "fr": ["eu", "copy"],
    "us.east": ["us"],
    "both": ["eu", "us"],
    "DE": ["rest"],
    "": ["rest"],
    "jp": ["rest"],
}
"""Value of the header -> where an event is to arrive; one event has no such header at all."""


def test_multiplexing_by_header(tmp_path: Path) -> None:
    text, channels = MULTIPLEXED, ("eu", "us", "rest", "copy")
    for name in channels:
        text += f"a1.channels.{name}.type = memory\na1.sinks.k-{name}.channel = {name}\n"
        text += filled(of(f"a1.sinks.k-{name}", FILES), {"directory": tmp_path / name})
    events: list[dict[str, object]] = [
        {"headers": {"region": region}, "body": f"{region} {i}"}
        for i in range(50)
        for region in REGIONS
    ]
    events.append({"headers": {}, "body": "nowhere"})
    with started(tmp_path, text) as agent:
        post(agent.port("in"), events)
        agent.drain()
    for name in channels:
        wanted = [f"{r} {i}".encode() for r, to in REGIONS.items() if name in to for i in range(50)]
        wanted += [b"nowhere"] if name == "rest" else []
        assert Counter(lines_in(tmp_path / name)) == Counter(wanted), name


def post(port: int, events: list[dict[str, object]]) -> None:
    url, body = f"http://127.0.0.1:{port}/", json.dumps(events).encode()
    with urllib.request.urlopen(url, body, timeout=WAIT_S) as answer:
        assert answer.status == 200


# -- flows beside each other -----------------------------------------------------------------------

TWO_FLOWS = """
a1.sources = lines logs
a1.channels = c1 c2
a1.sinks = away near
a1.sources.lines.type = netcat
a1.sources.lines.bind = 127.0.0.1
a1.sources.lines.port = 0
a1.sources.lines.channels = c1
a1.sources.logs.type = syslogtcp
a1.sources.logs.host = 127.0.0.1
a1.sources.logs.port = 0
a1.sources.logs.channels = c2
a1.channels.c1.type = memory
a1.channels.c2.type = memory
a1.sinks.away.channel = c1
a1.sinks.near.type = hdfs
a1.sinks.near.channel = c2
a1.sinks.near.hdfs.path = file://<directory>/near/%{Facility}
a1.sinks.near.hdfs.fileType = DataStream
a1.sinks.near.hdfs.rollInterval = 1
"""


def test_one_of_two_flows_in_an_agent_goes_on_while_the_other_waits(tmp_path: Path) -> None:
    rows = [b"row %d" % i for i in range(100)]
    text = TWO_FLOWS + of("a1.sinks.away", HTTP_SINK)
    with serving(HttpTarget(answer=lambda body: 503)) as target:
        values = {"directory": tmp_path, "endpoint": target.url}
        with started(tmp_path, text, values=values) as agent:
            send_lines(agent.port("lines"), rows)
            agent.until(lambda: bool(target.bodies))
            head = b"<%d>Nov 26 01:02:03 edge "
            send_lines(agent.port("logs"), [head % (i % 2 * 8) + rows[i] for i in range(100)])
            agent.until(lambda: len(lines_in(tmp_path / "near")) == 100)
            assert agent.count("c1", "ChannelSize") == 100
            refused = len(target.bodies)
            target.answer = lambda body: 200
            agent.drain()
    assert sorted(lines_in(tmp_path / "near" / "0")) == sorted(rows[0::2])
    assert sorted(lines_in(tmp_path / "near" / "1")) == sorted(rows[1::2])
    assert set(target.bodies[:refused]) == {rows[0]}
    assert [body for body in target.bodies if body != rows[0]] == rows[1:]


COMPETING = """
a1.sources = in
a1.channels = c1
a1.sinks = slow files more
a1.sources.in.type = netcat
a1.sources.in.bind = 127.0.0.1
a1.sources.in.port = 0
a1.sources.in.channels = c1
a1.channels.c1.type = memory
a1.sinks.slow.channel = c1
a1.sinks.files.type = file_roll
a1.sinks.files.sink.directory = <directory>/files
a1.sinks.files.sink.rollInterval = 1
a1.sinks.files.channel = c1
a1.sinks.more.type = file_roll
a1.sinks.more.sink.directory = <directory>/files
a1.sinks.more.sink.rollInterval = 1
a1.sinks.more.channel = c1
"""


def test_sinks_on_one_channel_share_its_rows(tmp_path: Path) -> None:
    """Each row goes to one of them; what a slow one has not taken the others deliver."""
    text = COMPETING + of("a1.sinks.slow", HTTP_SINK)
    sent: list[bytes] = []
    with serving() as target:
        target.gate.clear()
        values = {"directory": tmp_path, "endpoint": target.url}
        with started(tmp_path, text, values=values) as agent:

            def send(count: int) -> set[bytes]:
                rows = [b"row %d" % (len(sent) + i) for i in range(count)]
                send_lines(agent.port("in"), rows)
                sent.extend(rows)
                return set(rows)

            while not target.in_hand:
                assert len(sent) < 1_000
                send(1)
            more = send(100)
            agent.until(lambda: more <= set(lines_in(tmp_path / "files")))
            target.gate.set()
            agent.drain()
    assert target.bodies
    assert Counter(lines_in(tmp_path / "files") + target.bodies) == Counter(sent)


# -- sink groups -----------------------------------------------------------------------------------

GROUP = """
a1.sources = in
a1.channels = c1
a1.sinks = near far
a1.sinkgroups = g1
a1.sources.in.type = netcat
a1.sources.in.bind = 127.0.0.1
a1.sources.in.port = 0
a1.sources.in.channels = c1
a1.channels.c1.type = memory
a1.sinks.near.channel = c1
a1.sinks.far.channel = c1
a1.sinkgroups.g1.sinks = near far
"""
FAILOVER = """
a1.sinkgroups.g1.processor.type = failover
a1.sinkgroups.g1.processor.priority.near = 10
a1.sinkgroups.g1.processor.priority.far = 5
a1.sinkgroups.g1.processor.maxpenalty = 300
"""
BALANCED = """
a1.sinkgroups.g1.processor.type = load_balance
a1.sinkgroups.g1.processor.selector = round_robin
a1.sinkgroups.g1.processor.backoff = true
a1.sinkgroups.g1.processor.selector.maxTimeOut = 4000
"""


class Tiers:
    """An agent with two sinks that send to two servers, each of which may die and return."""

    def __init__(self, directory: Path, processor: str) -> None:
        self.near, self.far = (HttpTarget(port=port) for port in free_ports(2))
        text, self._near_runs, self._servers = GROUP + processor, ExitStack(), ExitStack()
        for name, target in (("near", self.near), ("far", self.far)):
            text += filled(of(f"a1.sinks.{name}", HTTP_SINK), {"endpoint": target.url})
        self._text, self._directory = text, directory
        self.sent: list[bytes] = []

    def __enter__(self) -> Tiers:
        with self._servers as servers:
            servers.enter_context(serving(self.far))
            servers.callback(self._near_runs.close)
            self.near_lives()
            self.agent = servers.enter_context(started(self._directory, self._text))
            self._servers = servers.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._servers.close()

    def near_lives(self) -> None:
        self._near_runs.enter_context(serving(self.near))

    def near_dies(self) -> None:
        """Nobody listens at its port any more. What it has answered is committed: rows of a
        delivery that is given up would go to the other server as well.
        """
        self.agent.until_counted("sink", "EventDrainSuccessCount", len(self.sent))
        self._near_runs.close()

    def send(self, count: int) -> list[bytes]:
        rows = [b"row %d" % (len(self.sent) + i) for i in range(count)]
        assert send_lines(self.agent.port("in"), rows) == b"OK\n" * count
        self.sent += rows
        return rows

    def send_until(self, is_so: Callable[[], bool]) -> None:
        """Row by row, so that each is a turn of its own."""
        while not is_so():
            assert len(self.sent) < 5_000, json.dumps(self.agent.agent.status(), indent=1)
            self.send(1)
            self.agent.until(lambda: self.sent[-1] in self.near.bodies + self.far.bodies)

    def judge(self) -> None:
        """Every row arrived, once: none was under way to a server when it died."""
        self.agent.drain()
        assert Counter(self.near.bodies + self.far.bodies) == Counter(self.sent)


def test_failover_goes_to_the_next_sink_and_back_when_the_first_returns(tmp_path: Path) -> None:
    with Tiers(tmp_path, FAILOVER) as tiers:
        first = tiers.send(50)
        tiers.agent.until(lambda: set(tiers.near.bodies) == set(first))
        assert not tiers.far.bodies
        tiers.near_dies()
        second = tiers.send(50)
        tiers.agent.until(lambda: set(tiers.far.bodies) >= set(second))
        assert len(tiers.near.bodies) == 50
        tiers.near_lives()
        tiers.send_until(lambda: len(tiers.near.bodies) > 50)
        # It leads again once what it took on trial is committed.
        tiers.agent.until_counted("near", "EventDrainSuccessCount", len(tiers.near.bodies))
        led = len(tiers.far.bodies)
        third = tiers.send(50)
        tiers.agent.until(lambda: set(tiers.near.bodies) >= set(third))
        assert len(tiers.far.bodies) == led
        tiers.judge()


def test_load_balancing_leaves_out_a_dead_sink_until_it_returns(tmp_path: Path) -> None:
    with Tiers(tmp_path, BALANCED) as tiers:
        tiers.send_until(lambda: min(len(tiers.near.bodies), len(tiers.far.bodies)) >= 10)
        assert len(tiers.sent) < 40
        near, clock = len(tiers.near.bodies), SystemClock()
        tiers.near_dies()
        died_ms = clock.monotonic_ms()
        enough = len(tiers.far.bodies) + 16
        tiers.send_until(lambda: len(tiers.far.bodies) >= enough)
        assert len(tiers.near.bodies) == near
        failed = tiers.agent.count("near", "DeliveryRetryCount")
        pauses = (clock.monotonic_ms() - died_ms) / 2_000
        assert 1 <= failed <= 1 + pauses, "the first pause is 2 s, the next ones are longer"
        tiers.near_lives()
        tiers.send_until(lambda: len(tiers.near.bodies) > near + 3)
        tiers.judge()
