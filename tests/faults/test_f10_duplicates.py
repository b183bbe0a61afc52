"""F10: producers send again: one batch in ten after its success, one in ten because the answer was
lost, and whatever was refused. With an Idempotency-Key each row counts once.

RAYFLUME_FAULT_VOLUME=250 makes 10^6 events.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from fakes import context, take_all
from fault_volume import scaled

from rayflume import flow
from rayflume.channels._journaled import JournaledChannel
from rayflume.component import lookup
from rayflume.interfaces import ServerSource
from rayflume.metrics import Metrics

ROWS, CLIENTS = 20, 4


class Served:
    """An HTTP source over a real file channel; both can be started again over what is there."""

    def __init__(self, directory: Path, **channel: object) -> None:
        options = {"directory": "wal", "minimum_required_space": 0, **channel}
        built = lookup("channel", "file").model_validate(options).build(context(directory))
        assert isinstance(built, JournaledChannel)
        self.channel = built
        self.channel.open()
        selector = lookup("selector", "replicating")().build(context(directory))
        route = flow.Route("web", [], selector, {"wal": self.channel}, Metrics())
        part = lookup("source", "http").model_validate({"port": 0})
        self.source: ServerSource = part.build(context(directory, "web"))
        self.source.start({}, lambda batch: flow.ingest(batch, route))
        self.port = int(str(self.source.describe()["port"]))

    def close(self) -> None:
        self.source.stop()
        self.channel.close()


@contextlib.contextmanager
def served(directory: Path, **channel: object) -> Iterator[Served]:
    made = Served(directory, **channel)
    try:
        yield made
    finally:
        made.close()


class Client:
    """Sends batches under keys of its own, badly."""

    def __init__(self, port: int, name: str, seed: int) -> None:
        self.port = port
        self.name = name
        self.chance = random.Random(seed)
        self.again = 0

    def run(self, batches: range) -> None:
        for number in batches:
            key = f"{self.name}-{number}"
            body = b"".join(b"%s %d\n" % (key.encode(), row) for row in range(ROWS))
            if self.chance.random() < 0.1:
                self.lose_the_answer(key, body)
            while self.post(key, body) == 503:
                self.again += 1
            if self.chance.random() < 0.1:
                self.again += 1
                assert self.post(key, body) == 200

    def post(self, key: str, body: bytes) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/ndjson", body, {"Idempotency-Key": key})
            return connection.getresponse().status

    def lose_the_answer(self, key: str, body: bytes) -> None:
        """Send all of it, and go away before or while it is answered."""
        self.again += 1
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection), contextlib.suppress(HTTPException, OSError):
            connection.request("POST", "/ndjson", body, {"Idempotency-Key": key})
            if self.chance.random() < 0.5 and connection.sock is not None:
                connection.sock.recv(1)


def run_clients(port: int, clients: list[Client], batches: range) -> None:
    for client in clients:
        client.port = port
    threads = [threading.Thread(target=client.run, args=(batches,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3_600)
        assert not thread.is_alive()


def test_f10_keyed_requests_count_once_however_often_they_are_sent(tmp_path: Path) -> None:
    """4,000 events in the quick run, in two lives of the agent; the second also gets requests of
    the first again.
    """
    per_client = scaled(200) // CLIENTS
    clients = [Client(0, f"client-{n}", n) for n in range(CLIENTS)]
    with served(tmp_path) as first:
        run_clients(first.port, clients, range(per_client // 2))
    with served(tmp_path) as second:
        run_clients(second.port, clients, range(per_client // 4, per_client))
        found = Counter(take_all(second.channel))
    sent = per_client * CLIENTS * ROWS
    again = sum(client.again for client in clients)
    print(f"sent {sent} events, {again} requests again; found {len(found)}, doubled "
          f"{sum(found.values()) - len(found)}")  # fmt: skip
    assert again > per_client * CLIENTS // 10
    assert len(found) == sent and set(found.values()) == {1}


def test_f10_twins_at_the_same_time_count_once(tmp_path: Path) -> None:
    """The same key from four clients at once."""
    with served(tmp_path) as made:
        clients = [Client(made.port, "twin", n) for n in range(CLIENTS)]
        run_clients(made.port, clients, range(scaled(20)))
        found = Counter(take_all(made.channel))
    assert len(found) == scaled(20) * ROWS and set(found.values()) == {1}


def test_f10_outside_the_window_a_request_counts_again(tmp_path: Path) -> None:
    """As `idempotency_keys` says: at least three quarters of so many are remembered, no more than
    all of them.
    """
    with served(tmp_path, idempotency_keys=40) as made:
        client = Client(made.port, "client", 0)
        for number in range(100):
            assert client.post(str(number), b"row %d\n" % number) == 200
        for number in (99, 70, 0):
            assert client.post(str(number), b"row %d\n" % number) == 200
        found = Counter(take_all(made.channel))
    assert {row for row, count in found.items() if count > 1} == {b"row 0"}
