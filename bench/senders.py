"""Send lines by TCP or UDP as fast as the receiver takes them, or at a rate, from buffers made
before.

    python -m bench.senders tcp 127.0.0.1:6666 --events 3000000 --connections 4
    python -m bench.senders tcp 127.0.0.1:6666 --events 100000 --answers
    python -m bench.senders udp 127.0.0.1:514 --kind rfc3164 --events 200000 --rate 20000

Prints one line of JSON: events, bytes, wall seconds from the first byte to the last answer (or to
the receiver's end of the connection), CPU seconds of the sender, and when it began by a clock that
all processes of this host share. One thread sends over all
connections; at 200 bytes an event it needs about a fifth of a core for 300,000 events a second by
TCP.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

_KINDS = ("plain", "rfc3164", "rfc5424")
_LINES = 2_000
_SEND_BYTES = 256 * 1024
_PACE_S = 0.01
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Load:
    """`size`: bytes of one line, its newline included. `rate`: events a second, 0 for no bound."""

    kind: str
    size: int
    events: int
    connections: int
    rate: int
    answers: bool


@dataclass(frozen=True)
class Sent:
    """`began`: when the first byte was sent, by time.perf_counter (CLOCK_MONOTONIC)."""

    events: int
    bytes: int
    seconds: float
    cpu_seconds: float
    began: float


def lines(kind: str, size: int, count: int = _LINES) -> list[bytes]:
    """`count` different lines of `size` bytes each, with their newlines."""
    return [_line(kind, i, size) for i in range(count)]


def _line(kind: str, number: int, size: int) -> bytes:
    host, second = number % 50, number % 60
    heads = {
        "plain": f"{number:08d} ",
        "rfc3164": f"<{number % 192}>Nov 26 10:11:{second:02d} web-{host} app[{number}]: ",
        "rfc5424": f"<{number % 192}>1 2026-11-26T10:11:{second:02d}.123Z web-{host} app {number}"
        " ID47 - ",
    }
    head = heads[kind].encode()
    words = b"GET /api/v1/items?page=%d HTTP/1.1 200 " % number
    text = head + words * (size // len(words) + 1)
    return text[: size - 1] + b"\n"


def send_tcp(address: tuple[str, int], load: Load) -> Sent:
    """Blocks until all is sent, every connection was ended by the receiver and, with `answers`,
    each line was answered with `OK`. Raises OSError, or RuntimeError for missing answers.
    """
    chunk_lines = max(1, min(_SEND_BYTES // load.size, load.events // load.connections or 1))
    made = lines(load.kind, load.size)
    chunk = b"".join(made[i % len(made)] for i in range(chunk_lines))
    sockets = [socket.create_connection(address) for _ in range(load.connections)]
    shares = [len(range(i, load.events, load.connections)) for i in range(load.connections)]
    begin, cpu = time.perf_counter(), time.process_time()
    answered = _Connections(sockets, shares, chunk, load).run(begin)
    seconds = time.perf_counter() - begin
    if load.answers and answered != 3 * load.events:
        raise RuntimeError(f"{answered // 3} answers to {load.events} lines")
    return Sent(load.events, load.events * load.size, seconds, time.process_time() - cpu, begin)


class _Connections:
    """All connections of one sender, written in turn."""

    def __init__(
        self, sockets: list[socket.socket], shares: list[int], chunk: bytes, load: Load
    ) -> None:
        self._load = load
        self._chunk = memoryview(chunk)
        self._left = {one: share * load.size for one, share in zip(sockets, shares, strict=True)}
        self._sent = 0
        self._answered = 0
        self._poll = select.epoll()
        self._by_fd = {one.fileno(): one for one in sockets}
        for one in sockets:
            one.setblocking(False)
            self._poll.register(one.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def run(self, begin: float) -> int:
        """Returns how many bytes of answers came."""
        deadline = begin + _TIMEOUT_S
        while self._by_fd:
            if time.perf_counter() > deadline:
                raise RuntimeError("the receiver did not end all connections")
            for fd, events in self._poll.poll(_PACE_S):
                one = self._by_fd[fd]
                if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    self._read(one)
                if fd in self._by_fd and events & select.EPOLLOUT:
                    self._write(one)
            self._keep_pace(begin)
        return self._answered

    def _write(self, one: socket.socket) -> None:
        left = self._left[one]
        # Chunks hold whole lines, so any place in the share is the same place in the chunk.
        whole = len(self._chunk)
        at = -left % whole if left % whole else 0
        data = self._chunk[at : at + min(left, whole)]
        try:
            count = one.send(data)
        except BlockingIOError:
            return
        self._left[one] -= count
        self._sent += count
        if not self._left[one]:
            one.shutdown(socket.SHUT_WR)
            self._poll.modify(one.fileno(), select.EPOLLIN)

    def _read(self, one: socket.socket) -> None:
        try:
            data = one.recv(_SEND_BYTES)
        except BlockingIOError:
            return
        self._answered += len(data)
        if not data:
            self._poll.unregister(one.fileno())
            del self._by_fd[one.fileno()]
            one.close()

    def _keep_pace(self, begin: float) -> None:
        if self._load.rate:
            ahead = self._sent / self._load.size / self._load.rate - (time.perf_counter() - begin)
            if ahead > _PACE_S:
                _pause(min(ahead, 0.1))


def send_udp(address: tuple[str, int], load: Load) -> Sent:
    """One datagram for each event. What the receiver drops is not seen here. Blocks."""
    made = [line[:-1] for line in lines(load.kind, load.size)]
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(load.connections)]
    for one in sockets:
        one.connect(address)
    begin, cpu = time.perf_counter(), time.process_time()
    for start, stop in _bursts(load, begin):
        for i in range(start, stop):
            sockets[i % load.connections].send(made[i % _LINES])
    seconds = time.perf_counter() - begin
    for one in sockets:
        one.close()
    return Sent(
        load.events, load.events * (load.size - 1), seconds, time.process_time() - cpu, begin
    )


def _bursts(load: Load, begin: float) -> Iterator[tuple[int, int]]:
    """Ranges of events, a few milliseconds of them at a time."""
    size = max(1, int(load.rate * _PACE_S)) if load.rate else 1_000
    for start in range(0, load.events, size):
        if load.rate:
            ahead = start / load.rate - (time.perf_counter() - begin)
            if ahead > 0:
                _pause(ahead)
        yield start, min(start + size, load.events)


def _pause(seconds: float) -> None:
    select.select([], [], [], seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", choices=("tcp", "udp"))
    parser.add_argument("address", help="host:port")
    parser.add_argument("--kind", choices=_KINDS, default="plain")
    parser.add_argument("--size", type=int, default=200, help="bytes of a line with its newline")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=int, default=0, help="events a second in all; 0: no bound")
    parser.add_argument("--answers", action="store_true", help="expect OK for each line")
    given = parser.parse_args()
    host, _, port = given.address.rpartition(":")
    load = Load(given.kind, given.size, given.events, given.connections, given.rate, given.answers)
    send = send_tcp if given.protocol == "tcp" else send_udp
    print(json.dumps(asdict(send((host, int(port)), load))))


if __name__ == "__main__":
    main()
