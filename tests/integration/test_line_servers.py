"""Real programs, hostile senders and a killed agent in front of the sources of lines."""

from __future__ import annotations

import contextlib
import gc
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.dataset as ds
import pytest
import yaml
from certificates import Certificate, authority, signed
from listeners import Listening, listening, read_all

from rayflume.batch import EventBatch
from rayflume.clock import SystemClock
from rayflume.component import Context
from rayflume.interfaces import Ingested
from rayflume.metrics import Metrics
from rayflume.sources._line_protocol import LineSettings, Listener, Received
from rayflume.sources._tcp_server import TcpSource

LONG_LINE_BYTES = 200 * 10**6
IDLE = 1_000
WAIT_S = 30


def run(*command: str, stdin: bytes = b"") -> bytes:
    """What a program answers; the test is skipped where it is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian: netcat-openbsd, openssl)")
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=WAIT_S, check=False)
    return done.stdout


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- real programs ---------------------------------------------------------------------------------


def test_nc_gets_its_answers() -> None:
    with listening("netcat", max_line_length=100) as server:
        port = str(server.port)
        assert run("nc", "-N", "127.0.0.1", port, stdin=b"a\nb\nlast") == b"OK\nOK\nOK\n"
        failed = run("nc", "-N", "127.0.0.1", port, stdin=b"c\n" + b"x" * 10**6)
        assert failed.startswith(b"OK\nFAILED: Event exceeds the maximum length (100 chars")
        assert server.bodies() == [b"a", b"b", b"last", b"c"]


def test_nc_by_udp() -> None:
    with listening("netcatudp") as server:
        run("nc", "-u", "-q", "0", "127.0.0.1", str(server.port), stdin=b"a\n")
        server.until_stored(1)
        assert server.bodies() == [b"a"]


def s_client(server: Listening, ca: Certificate, own: Certificate | None, *more: str) -> bytes:
    shown = ["-cert", str(own.pem), "-key", str(own.key_pem)] if own else []
    # With -ign_eof it stays until the server closes: the idle time-out does.
    return run(
        "openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-quiet", "-no_ign_eof",
        "-verify_return_error", "-CAfile", str(ca.pem), *shown, *more, stdin=b"a\nb\n",
    )  # fmt: skip


def test_s11_openssl_with_and_without_a_client_certificate(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    own, good = signed(ca, "collector.test"), signed(ca, "good.test")
    stranger = signed(authority(tmp_path, "other"), "stranger.test")
    files: dict[str, Any] = {
        "tls_certificate": str(own.pem), "tls_key": str(own.key_pem), "truststore": str(ca.pem),
    }  # fmt: skip
    with listening("netcat", client_certificates="required", **files) as server:
        s_client(server, ca, good)
        server.until_stored(2)
        s_client(server, ca, None)
        s_client(server, ca, stranger)
        s_client(server, ca, good, "-tls1_1")
        server.until("connections", 0)
        assert server.bodies() == [b"a", b"b"]
        s_client(server, ca, good, "-tls1_2")
        server.until_stored(4)


# -- hostile senders -------------------------------------------------------------------------------


class Counting:
    """An ingest that keeps nothing."""

    def __init__(self) -> None:
        self.rows = self.bytes = 0

    def __call__(self, batch: EventBatch) -> Ingested:
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        return Ingested(batch.num_rows)


class Lines:
    def events(self, received: Received) -> EventBatch:
        return EventBatch(received.body)


def send_long_line(port: int) -> None:
    piece = b"x" * 10**6
    connection = socket.create_connection(("127.0.0.1", port))
    with connection, contextlib.suppress(ConnectionError):
        for _ in range(LONG_LINE_BYTES // len(piece)):
            connection.sendall(piece)
        connection.sendall(b"\n")


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "refused"])
def test_s2_a_line_without_end_is_cut_or_refused_in_bounded_memory(cut: bool) -> None:
    ingest = Counting()
    settings = LineSettings(
        (Listener("127.0.0.1", 0),), "edge", "h1/edge/life/", 2**20, cut=cut, refusal=b"no\n"
    )
    source = TcpSource(settings, Lines(), Context("a", "edge", SystemClock(), Metrics()))
    source.start({}, ingest)
    try:
        port = source.describe()["port"]
        assert isinstance(port, int)
        send_rows(port, [b"warm"])
        gc.collect()
        before, most = psutil.Process().memory_info().rss, 0
        sender = threading.Thread(target=send_long_line, args=(port,))
        sender.start()
        others = 0
        while sender.is_alive():
            send_rows(port, [b"other"])  # goes on
            others += 1
            most = max(most, psutil.Process().memory_info().rss - before)
        sender.join()
        assert most < 100 * 2**20
        assert others > 2
    finally:
        source.drain()
        source.stop()
    long = ingest.bytes - len(b"warm") - others * len(b"other")
    assert long == (LONG_LINE_BYTES if cut else 0)


def send_rows(port: int, rows: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(b"".join(row + b"\n" for row in rows))
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)


def round_trips(connection: socket.socket, count: int) -> list[float]:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        connection.sendall(b"tick\n")
        assert connection.recv(10) == b"OK\n"
        times.append(time.perf_counter() - begin)
    return times


def test_s4_a_thousand_idle_and_stalled_peers_do_not_slow_a_good_client(many_files: None) -> None:
    limits: dict[str, Any] = {"max_connections": IDLE + 1, "max_connections_per_address": IDLE + 1}
    with listening("netcat", **limits) as server, contextlib.ExitStack() as stack:
        good = stack.enter_context(server.connect())
        alone = statistics.median(round_trips(good, 300))
        for i in range(IDLE):
            peer = stack.enter_context(server.connect())
            peer.sendall(b"half of a line" if i % 2 else b"")
        server.until("unfinished_bytes", IDLE // 2 * len(b"half of a line"))
        beside = statistics.median(round_trips(good, 300))
        assert beside < max(2 * alone, 0.002), (alone, beside)
        assert read_all(stack.enter_context(server.connect())) == b""  # one too many
        assert server.bodies() == [b"tick"] * 600


def test_s5_random_bytes_and_broken_connections(many_files: None) -> None:
    """Whatever comes, a good client is served, and nothing is left."""
    chance = random.Random(6)
    options: dict[str, Any] = {"max_line_length": 1_000, "max_connections_per_address": 1_000}
    with listening("netcat", ack_every_event=False, **options) as server:
        for _ in range(300):
            connection = server.connect()
            with contextlib.suppress(ConnectionError):
                for _ in range(chance.randrange(4)):
                    connection.sendall(chance.randbytes(chance.choice([1, 500, 5_000, 100_000])))
            if chance.random() < 0.5:
                linger = socket.SO_LINGER
                connection.setsockopt(socket.SOL_SOCKET, linger, b"\1\0\0\0\0\0\0\0")
            connection.close()
        server.talk(b"good\n")
        server.until("connections", 0)
        facts = server.source.describe()
        assert (facts["state"], facts["unfinished_bytes"]) == ("serving", 0)
        assert server.bodies().count(b"good") == 1


def test_what_the_kernel_drops_of_datagrams_is_counted() -> None:
    options: dict[str, Any] = {"receive_buffer": "64KiB", "batch_bytes": "256KiB"}
    with listening("netcatudp", **options) as server:
        server.ingest.gate.clear()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for i in range(5_000):
                sender.sendto(b"%04d" % i + b"x" * 996, ("127.0.0.1", server.port))
        server.ingest.gate.set()
        server.clock.advance(1_000)
        server.until_true(lambda: server.metrics.snapshot().get("DatagramDroppedCount", 0) > 0,
                          "no drop is shown")  # fmt: skip
        server.source.drain()
        dropped = server.source.describe()["datagrams_dropped"]
        assert isinstance(dropped, int)
        assert dropped == server.metrics.snapshot()["DatagramDroppedCount"]
        assert len(server.bodies()) + dropped == 5_000


# -- killed in the middle --------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_agent(conf: Path, port: int) -> subprocess.Popen[bytes]:
    agent = subprocess.Popen(
        [sys.executable, "-m", "rayflume", "run", str(conf), "--inline"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return agent
        if agent.poll() is not None:
            break
        time_out = threading.Event()
        time_out.wait(0.1)
    agent.kill()
    raise AssertionError(agent.communicate()[1].decode())


def send_until_killed(port: int, agent: subprocess.Popen[bytes], kill_after: int) -> int:
    """How many lines were answered before the connection broke."""
    connection, answered = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S), 0
    with connection:
        connection.setblocking(False)
        lines = b"".join(b"line %06d\n" % i for i in range(200_000))
        at = 0
        with contextlib.suppress(ConnectionError):
            while True:
                with contextlib.suppress(BlockingIOError):
                    at += connection.send(lines[at : at + 2_000])
                with contextlib.suppress(BlockingIOError):
                    got = connection.recv(65536)
                    if not got:
                        break
                    answered += got.count(b"K")
                if answered >= kill_after and agent.poll() is None:
                    agent.send_signal(signal.SIGKILL)
    agent.wait(WAIT_S)
    return answered


def test_an_agent_that_is_killed_has_every_line_it_answered(tmp_path: Path) -> None:
    port = free_port()
    conf = tmp_path / "agent.yaml"
    value = {
        "agent": "a",
        "sources": {"nc": {"type": "netcat", "port": port, "channels": ["wal"]}},
        "channels": {"wal": {"type": "file", "directory": str(tmp_path / "wal")}},
        "sinks": {
            "lake": {
                "type": "parquet",
                "channel": "wal",
                "path": str(tmp_path / "lake"),
                "format": "text",
                "roll": {"age": "200ms"},
            }
        },
    }
    conf.write_text(yaml.safe_dump(value))
    agent = start_agent(conf, port)
    answered = send_until_killed(port, agent, kill_after=2_000)
    assert answered >= 2_000
    agent.communicate()
    agent = start_agent(conf, port)
    agent.send_signal(signal.SIGTERM)
    _, said = agent.communicate(timeout=60)
    assert agent.returncode == 0, said.decode()
    files = [str(path) for path in (tmp_path / "lake").glob("*.parquet")]
    table = ds.dataset(files).to_table()
    rows = sorted(value.as_py() for value in table.column(0))
    assert len(set(rows)) == len(rows) >= answered
    assert [r if isinstance(r, str) else r.decode() for r in rows] == [
        f"line {i:06d}" for i in range(len(rows))
    ]
