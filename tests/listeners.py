"""A listening source with an ingest that records, blocks and refuses on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Component, Context, lookup
from rayflume.interfaces import Ingested, ServerSource, StreamPosition
from rayflume.metrics import Metrics

WAIT_S = 20.0


class FakeIngest:
    """A channel's put rule over a dict, without a disk. `gate` closed: ingest waits."""

    def __init__(self) -> None:
        self.calls: list[EventBatch] = []
        self.stored: list[bytes | None] = []
        self.next: dict[str, int] = {}
        self.tokens: dict[str, bytes] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.errors: list[Exception] = []
        self.store_before_error = False

    def __call__(self, batch: EventBatch) -> Ingested:
        self.calls.append(batch)
        self.entered.release()
        assert self.gate.wait(30)
        if self.errors:
            if self.store_before_error:
                self._store(batch)
            raise self.errors.pop(0)
        return Ingested(batch.num_rows, self._store(batch))

    def _store(self, batch: EventBatch) -> tuple[str, ...]:
        assert sum(extent.rows for extent in batch.extents) == batch.num_rows
        conflicts = []
        bodies = batch.body.to_pylist()
        at = 0
        for extent in batch.extents:
            assert not extent.keyed or len(bytes.fromhex(extent.stream)) == 16
            next_ = self.next.get(extent.stream, 0)
            if extent.keyed and next_ and self.tokens[extent.stream] != extent.token:
                conflicts.append(extent.stream)
            elif extent.end > next_:
                assert extent.start == next_, f"gap: {extent} at {next_}"
                self.next[extent.stream] = extent.end
                self.tokens[extent.stream] = extent.token
                self.stored += bodies[at : at + extent.rows]
            at += extent.rows
        return tuple(conflicts)

    def extents(self) -> list[Extent]:
        return [extent for batch in self.calls for extent in batch.extents]


@dataclass
class Listening:
    """A source that listens on loopback. Its clock stands still unless a test moves it."""

    source: ServerSource
    ingest: FakeIngest
    clock: ManualClock
    metrics: Metrics
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def talk(self, data: bytes) -> bytes:
        """Send all, say that it was all, and read what is answered until the source closes."""
        with self.connect() as connection:
            with contextlib.suppress(OSError):  # it may be closed already
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def send_datagrams(self, *datagrams: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in datagrams:
                sender.sendto(datagram, ("127.0.0.1", self.port))

    def until(self, fact: str, value: object) -> None:
        """Wait until `describe` shows it."""
        self.until_true(lambda: self.source.describe()[fact] == value, f"{fact} is not {value!r}")

    def until_stored(self, count: int) -> None:
        self.until_true(lambda: len(self.ingest.stored) >= count, f"{count} rows are not stored")

    def until_true(self, is_so: Callable[[], bool], otherwise: str) -> None:
        for _ in range(2_000):
            if is_so():
                return
            threading.Event().wait(0.005)
        raise AssertionError(f"{otherwise}: {self.source.describe()} {self.metrics.snapshot()}")

    def bodies(self) -> list[bytes]:
        return [body for body in self.ingest.stored if body is not None]


def read_all(connection: socket.socket) -> bytes:
    """All bytes until the other side closes; a reset counts as closed."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            got += piece
    return got


@contextlib.contextmanager
def listening(
    type_name: str,
    positions: Mapping[str, StreamPosition] | None = None,
    directory: Path = Path("/nowhere"),
    **options: object,
) -> Iterator[Listening]:
    """A source of this type on a free port of loopback, and no thread of it left afterwards."""
    clock, metrics, ingest = ManualClock(), Metrics(), FakeIngest()
    context = Context("agent", "edge", clock, metrics, directory, host_id="h1")
    declared: type[Component] = lookup("source", type_name)
    options = {"port": 0, **options}
    if "ports" in declared.model_fields:
        options["ports"] = [options.pop("port")]
    source = declared.model_validate(options).build(context)
    source.start(positions or {}, ingest)
    port = source.describe()["port"]
    try:
        yield Listening(source, ingest, clock, metrics, port)
    finally:
        ingest.gate.set()
        source.stop()
        left = [t.name for t in threading.enumerate() if t.name.startswith("rayflume-edge")]
        assert not left
