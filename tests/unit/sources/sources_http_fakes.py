"""An ingest that records, blocks and refuses on demand, and a running HTTP source around it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from listeners import FakeIngest

from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.interfaces import StreamPosition
from rayflume.metrics import Metrics
from rayflume.sources._http_connection import Phase
from rayflume.sources._http_server import HttpSource
from rayflume.sources.http import Http


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


@dataclass
class Server:
    source: HttpSource
    ingest: FakeIngest
    clock: ManualClock
    metrics: Metrics
    port: int
    threads: list[threading.Thread] = field(default_factory=list)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Answer(response.status, response.read(), dict(response.getheaders()))

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def post_later(self, path: str, body: bytes, **headers: str) -> list[Answer]:
        """The list gets the answer once there is one; `join` waits for all of them."""
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(self.post(path, body, **headers)))
        thread.start()
        self.threads.append(thread)
        return answers

    def join(self) -> None:
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        self.threads.clear()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def until(self, fact: str, value: object) -> None:
        """Wait until `describe` shows it."""
        for _ in range(2_000):
            if self.source.describe()[fact] == value:
                return
            threading.Event().wait(0.005)
        raise AssertionError(f"{fact} is {self.source.describe()[fact]!r}, not {value!r}")

    def until_phase(self, phase: Phase) -> None:
        """Wait until some connection is in it, which no answer can show."""
        running = self.source._running
        assert running is not None
        for _ in range(2_000):
            if any(connection.phase is phase for connection in list(running.connections.open)):
                return
            threading.Event().wait(0.005)
        raise AssertionError(f"no connection is in {phase}")


def read_all(connection: socket.socket) -> bytes:
    """All bytes until the server closes; a reset counts as closed."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            got += piece
    return got


@contextlib.contextmanager
def serving(
    positions: Mapping[str, StreamPosition] | None = None, **options: object
) -> Iterator[Server]:
    clock, metrics, ingest = ManualClock(), Metrics(), FakeIngest()
    context = Context("agent", "web", clock, metrics, Path("/nowhere"), host_id="h1")
    source = Http.model_validate({"port": 0, **options}).build(context)
    source.start(positions or {}, ingest)
    port = source.describe()["port"]
    assert isinstance(port, int)
    server = Server(source, ingest, clock, metrics, port)
    try:
        yield server
    finally:
        ingest.gate.set()
        server.join()
        source.stop()
        left = [t.name for t in threading.enumerate() if t.name.startswith("rayflume-web")]
        assert not left
