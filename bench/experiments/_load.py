"""A load on an HTTP source from a process of its own, with as little CPU as it can do with.

    python -m bench.experiments._load --port 8080 --rate 500 --seconds 10

The server shares the cores with its load, so the client is no HTTP library: each connection sends
the same prepared bytes and looks for the end of the answer's head (the answers have no body, or an
empty one in chunks).

With `--rate` the loop is open: requests are due at even times whatever became of those before, one
that finds no free connection waits for one, and its latency counts from when it was due. So a
server that stalls is charged for all that would have come meanwhile (no coordinated omission).
Without, each connection sends its next request when the one before is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

from bench.experiments._feed import Feed, now_us
from bench.senders import lines

_HEAD_END = b"\r\n\r\n"
_CHUNKED, _NO_CHUNK = b"Transfer-Encoding: chunked", b"0\r\n\r\n"
"""Jetty ends an answer without a body like this."""
_ANSWER_S = 30.0


@dataclass(frozen=True)
class Wanted:
    """`rate`: requests a second; 0: as many as are answered. `rows`: of one request. `form`:
    ndjson, or json, the list of events that Flume's handler takes.
    """

    port: int
    rate: float = 0.0
    seconds: float = 10.0
    rows: int = 100
    clients: int = 64
    form: str = "ndjson"


@dataclass
class Done:
    """What came of a load. `ms`: latency of each request that was answered with 200. `bytes`: with
    their heads. `began`: by time.perf_counter, which all processes of this host share.
    """

    sent: int = 0
    answered: int = 0
    refused: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0
    cpu_seconds: float = 0
    began: float = 0
    ms: list[float] = field(default_factory=list)


def bodies(count: int, rows: int) -> list[bytes]:
    """NDJSON bodies of clickstream lines."""
    feed, made = Feed(), []
    for _ in range(count):
        body = b""
        while (left := rows - body.count(b"\n")) > 0:
            body += bytes(feed.lines(left, now_us()))
        made.append(body)
    return made


def json_lists(count: int, rows: int) -> list[bytes]:
    """Bodies of `rows` events of 200 bytes each, as Flume's handler takes them."""
    texts = [line.decode().rstrip("\n") for line in lines("plain", 200, count * rows)]
    return [
        json.dumps([{"headers": {}, "body": text} for text in texts[at : at + rows]]).encode()
        for at in range(0, len(texts), rows)
    ]


class _Load:
    """The requests that are due, and the connections that are free."""

    def __init__(self, wanted: Wanted) -> None:
        self.done = Done()
        self._wanted = wanted
        made, path = bodies, "/ndjson"
        if wanted.form == "json":
            made, path = json_lists, "/"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
        self._requests = [
            f"{head}{len(body)}\r\n\r\n".encode() + body for body in made(16, wanted.rows)
        ]
        self._due: deque[float] = deque()
        self._free: list[_Connection] = []
        self._begin = 0.0

    async def run(self) -> Done:
        loop = asyncio.get_running_loop()
        connections = []
        for _ in range(self._wanted.clients):
            _, one = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", self._wanted.port
            )
            connections.append(one)
        self._begin, cpu = time.perf_counter(), _cpu()
        self.done.began = self._begin
        self._free = list(connections)
        await (self._open_loop() if self._wanted.rate else self._closed_loop())
        deadline = time.perf_counter() + _ANSWER_S
        while len(self._free) < len(connections) or self._due:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"not answered within {_ANSWER_S:.0f} s: {len(self._due)} due")
            await asyncio.sleep(0.01)
        self.done.seconds = time.perf_counter() - self._begin
        self.done.cpu_seconds = _cpu() - cpu
        for one in connections:
            one.close()
        return self.done

    async def _open_loop(self) -> None:
        rate, made = self._wanted.rate, 0
        total = int(rate * self._wanted.seconds)
        while made < total:
            now = time.perf_counter() - self._begin
            while made < total and made / rate <= now:
                self._due.append(self._begin + made / rate)
                made += 1
            self._send()
            await asyncio.sleep(max(0.0, self._begin + made / rate - time.perf_counter()))

    async def _closed_loop(self) -> None:
        end = self._begin + self._wanted.seconds
        self._due.extend([self._begin] * self._wanted.clients)
        self._send()
        while time.perf_counter() < end:
            await asyncio.sleep(0.05)
        self._wanted = Wanted(self._wanted.port, rate=1)  # answers ask for no more

    def _send(self) -> None:
        while self._due and self._free:
            request = self._requests[self.done.sent % len(self._requests)]
            self._free.pop().send(self._due.popleft(), request)
            self.done.sent += 1
            self.done.bytes += len(request)

    def answered(self, connection: _Connection, status: bytes) -> None:
        now = time.perf_counter()
        if status == b"200":
            self.done.answered += 1
            self.done.ms.append(round(1000 * (now - connection.due), 3))
        else:
            self.done.refused += 1
        self._free.append(connection)
        if not self._wanted.rate:
            self._due.append(now)
        self._send()


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.WriteTransport | None = None
        self._got = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def send(self, due: float, request: bytes) -> None:
        assert self._transport is not None
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(_HEAD_END)
        if not end or (_CHUNKED in head and body != _NO_CHUNK):
            return
        status = head[9:12]
        if status == b"200" and b"Content-Length: 0" not in head and body != _NO_CHUNK:
            raise ValueError(f"an answer with a body: {head!r}")
        self._got = b""
        self._load.answered(self, status)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _cpu() -> float:
    times = os.times()
    return times.user + times.system


def load(wanted: Wanted) -> Done:
    """Put a load on a server from a process of its own. Blocks. Raises RuntimeError."""
    command = [sys.executable, "-m", "bench.experiments._load"]
    for name, value in asdict(wanted).items():
        command += [f"--{name}", str(value)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate(timeout=2 * wanted.seconds + 2 * _ANSWER_S)
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}")
    return Done(**json.loads(output))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in asdict(Wanted(0)).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    wanted = Wanted(**vars(parser.parse_args()))
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps(asdict(asyncio.run(_Load(wanted).run()))))


if __name__ == "__main__":
    main()
