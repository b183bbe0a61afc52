"""What is sent: streams that grow, and clients that repeat a request until it is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rayflume.batch import EventBatch, Extent
from rayflume.component import Context
from rayflume.errors import RayflumeError
from rayflume.interfaces import Ingest, Ingested, Json, StreamPosition
from simulation.kernel import Kernel, Process, SimEvent, SimThreads

if TYPE_CHECKING:
    from simulation.world import Topology

STREAMS, ROWS, BATCH_ROWS = 2, 24, 6
CLIENTS, REQUESTS = 2, 5
RETRY_MS = 700
CLIENT_WAIT_MS = 30_000
ANSWERS_LOST = 0.1
SLOT = 4
"""Where partitions are marked each has so many numbers,"""
AHEAD = 2
"""and a stream must be ahead of them by so many."""


def row(stream: str, number: int) -> bytes:
    """Every row is told by its stream and number; some are malformed, some will be filtered."""
    part = number // 7 % 2
    if number % 11 == 5:
        return f"{stream} {number} filtered".encode()
    if number % 13 == 7:
        return f"{stream} {number} malformed".encode()
    return f"{stream} {number} p{part}".encode()


def row_of(body: bytes | None) -> tuple[str, int]:
    """The inverse: stream and number; what was never sent is no row of any stream."""
    words = (body or b"").decode(errors="replace").split()
    if len(words) == 3 and words[1].isdecimal():
        return words[0], int(words[1])
    return repr(body), -1


def is_filtered(number: int) -> bool:
    return number % 11 == 5


def headers_of(bodies: list[bytes | None], timed: bool) -> list[dict[str, str]]:
    """Event times: a second for SLOT numbers."""
    return [{"timestamp": str(row_of(b)[1] * 1_000 // SLOT)} for b in bodies] if timed else []


def is_delivered(number: int) -> bool:
    """Whether a row ends up as a row of the lake."""
    return row("s", number).split()[2].startswith(b"p")


@dataclass
class Inputs:
    """All that is to be in the lake, and how far it was made known."""

    kernel: Kernel
    topology: Topology
    streams: dict[str, dict[str, list[bytes]]] = field(default_factory=dict)
    """Source -> stream -> rows so far."""
    finished: bool = False
    timed: bool = False
    """Whether rows have a header with their event time."""
    clients_left: int = 0
    server: SimServer | None = None
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Request stream -> rows, once the server said they are safe."""
    keyless: set[str] = field(default_factory=set)
    """Streams of requests without a key: at least once."""

    def begin(self) -> None:
        """Start to write and to send."""
        for source in self.topology.sources:
            if source != self.topology.server:
                names = [f"{source}-{i}" for i in range(STREAMS)]
                self.streams[source] = {name: [] for name in names}
        self.kernel.spawn("writer", self._write)
        if self.topology.server:
            self.clients_left = CLIENTS
            for i in range(CLIENTS):
                self.kernel.spawn(f"client-{i}", lambda i=i: self._send_all(i))  # type: ignore[misc]

    def _write(self) -> None:
        for _ in range(ROWS // 2):
            for streams in self.streams.values():
                for name, rows in streams.items():
                    rows += [row(name, len(rows)), row(name, len(rows) + 1)]
            self.kernel.sleep(self.kernel.random.choice((5, 50, 500, 3_000)))
        self.finished = True

    def _send_all(self, client: int) -> None:
        for number in range(REQUESTS):
            self._send(f"client-{client}-{number}", keyed=client == 0)
            self.kernel.sleep(self.kernel.random.choice((5, 500, 3_000)))
        self.clients_left -= 1

    def _send(self, name: str, keyed: bool) -> None:
        """One request, again and again until it is answered; now and then once more after that."""
        if not keyed:
            self.keyless.add(name)
        bodies = [row(name, n) for n in range(3)]
        self.acknowledged[name] = 0
        while not self._try(name, bodies, keyed):
            self.kernel.sleep(RETRY_MS)
        self.acknowledged[name] = len(bodies)
        if keyed and self.kernel.random.random() < 0.3:
            self._try(name, bodies, keyed)

    def _try(self, name: str, bodies: list[bytes], keyed: bool) -> bool:
        server = self.server
        return server is not None and server.request(name, bodies, keyed)

    @property
    def sent(self) -> bool:
        return self.finished and self.clients_left == 0

    def expected(self, source: str) -> list[tuple[str, int]]:
        """The rows of a source that belong into each lake, but for those without a key."""
        if source == self.topology.server:
            lengths = self.acknowledged
        else:
            lengths = {name: len(rows) for name, rows in self.streams[source].items()}
        return [
            (name, n)
            for name, count in lengths.items()
            if name not in self.keyless
            for n in range(count)
            if not is_filtered(n)
        ]


class SimSource:
    """Reads the streams of one source. See interfaces.PollableSource."""

    idle_ms = 400

    def __init__(self, inputs: Inputs, context: Context) -> None:
        self._inputs = inputs
        self._streams = inputs.streams[context.part]
        self.prefix = f"{context.host_id}/{context.part}/"
        self._next = dict.fromkeys(self._streams, 0)
        self._cut = dict.fromkeys(self._streams, 0)
        self._ends: dict[str, int] | None = None
        self._accepted = dict.fromkeys(self._streams, 0)
        self._retired: set[str] = set()

    def start(self, positions: Mapping[str, StreamPosition]) -> None:
        for name, position in positions.items():
            stream = name.removeprefix(self.prefix)
            self._next[stream] = self._accepted[stream] = position.next
            if position.retired:
                self._retired.add(stream)

    def poll(self) -> EventBatch | None:
        bodies: list[bytes | None] = []
        extents: list[Extent] = []
        for name, rows in self._streams.items():
            start = self._next[name]
            stop = min(len(rows), start + BATCH_ROWS)
            if start < self._cut[name]:
                stop = min(stop, self._cut[name])
            if stop > start:
                bodies += rows[start:stop]
                extents.append(Extent(self.prefix + name, start, stop, stop - start))
                self._next[name] = stop
        headers = headers_of(bodies, self._inputs.timed)
        return EventBatch.from_events(bodies, headers, tuple(extents)) if extents else None

    def rewind(self, stream: str, next: int, stop: int = 0) -> None:
        name = stream.removeprefix(self.prefix)
        self._next[name], self._cut[name] = next, stop

    def accepted(self, batch: EventBatch) -> None:
        for extent in batch.extents:
            stream = extent.stream.removeprefix(self.prefix)
            self._accepted[stream] = max(self._accepted[stream], extent.end)

    def note_end(self, unterminated: bool = False) -> None:
        self._ends = {name: len(rows) for name, rows in self._streams.items()}

    def at_end(self) -> bool:
        ends = self._ends
        return ends is not None and all(self._next[name] >= end for name, end in ends.items())

    def retired(self) -> list[str]:
        if not self._inputs.finished:
            return []
        gone = [
            name
            for name, rows in self._streams.items()
            if name not in self._retired and self._accepted[name] >= len(rows)
        ]
        self._retired.update(gone)
        return [self.prefix + name for name in gone]

    def describe(self) -> dict[str, Json]:
        return {}

    def stop(self) -> None:
        """Nothing is open."""


class SimServer:
    """Takes requests from the clients. See interfaces.ServerSource, and sources/http.py."""

    def __init__(self, inputs: Inputs, context: Context) -> None:
        self._inputs = inputs
        threads = context.threads
        assert isinstance(threads, SimThreads)
        self._process: Process = threads._process
        self._ingest: Ingest | None = None
        self.prefix = f"{context.host_id}/{context.part}/"
        self._lives = 0
        self._name = f"{self._process}"
        self._gone: list[str] = []
        self._in_hand = 0
        self._draining = False

    def start(self, positions: Mapping[str, StreamPosition], ingest: Ingest) -> None:
        self._ingest = ingest
        self._inputs.server = self

    def request(self, name: str, bodies: list[bytes], keyed: bool) -> bool:
        """A client's call: True once the server said that its rows are safe."""
        kernel, done = self._inputs.kernel, SimEvent(self._inputs.kernel)
        good: list[bool] = []

        def handle() -> None:
            self._in_hand += 1
            good.append(self._serve(name, bodies, keyed))
            self._in_hand -= 1
            done.set()

        if not self._process.alive or self._draining:
            return False
        kernel.spawn(f"{self._process}.request", handle, self._process)
        self._process.at_end.append(done.set)
        done.wait(CLIENT_WAIT_MS / 1000)
        kernel.step()
        answered = bool(good) and good[0] and kernel.random.random() > ANSWERS_LOST
        kernel.note(f"{name} {'is answered' if answered else 'gets no answer'}")
        return answered

    def _serve(self, name: str, bodies: list[bytes], keyed: bool) -> bool:
        ingest: Callable[[EventBatch], Ingested] | None = self._ingest
        if ingest is None:
            return False
        digest = hashlib.md5(name.encode(), usedforsecurity=False)
        if keyed:
            extent = Extent(digest.hexdigest(), 0, 3, 3, digest.digest(), keyed=True)
        else:
            # A life of its own for each request without a key: simpler than the real one.
            self._lives += 1
            stream = f"{self.prefix}{self._name}-{self._lives}"
            extent = Extent(stream, 0, 3, 3)
            self._gone.append(stream)
        try:
            headers = headers_of([*bodies], self._inputs.timed)
            ingest(EventBatch.from_events(bodies, headers, (extent,)))
        except RayflumeError:
            return False
        return True

    def drain(self) -> None:
        self._draining = True
        while self._in_hand:
            self._inputs.kernel.sleep(100)

    def retired(self) -> list[str]:
        gone, self._gone = self._gone, []
        return gone

    def describe(self) -> dict[str, Json]:
        return {}

    def stop(self) -> None:
        self._ingest = None
