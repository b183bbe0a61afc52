"""A real HTTP server on loopback that takes POSTs and answers as it was told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class HttpTarget:
    """`answer`: body -> status; 0 closes the connection without an answer."""

    port: int = 0
    answer: Callable[[bytes], int] = lambda body: 200
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    in_hand_max: int = 0
    answer_bytes: int = 2
    in_hand: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"


@contextmanager
def serving(target: HttpTarget | None = None) -> Iterator[HttpTarget]:
    told = target or HttpTarget()
    told.gate.set()
    alive: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def setup(self) -> None:
            super().setup()
            with told.lock:
                told.connections += 1
                alive.append(self.connection)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with told.lock:
                told.in_hand += 1
                told.in_hand_max = max(told.in_hand_max, told.in_hand)
                told.bodies.append(body)
                told.headers.append(dict(self.headers))
            told.gate.wait(30)
            with told.lock:
                told.in_hand -= 1
            status = told.answer(body)
            if not status:
                self.close_connection = True
                return
            self.send_response_only(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{told.url}/elsewhere")
            size = 0 if status in (204, 304) else told.answer_bytes
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(b"x" * size)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is part of the tests."""

    server = Server(("127.0.0.1", told.port), Handler)
    told.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield told
    finally:
        told.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
        _cut(alive)


def _cut(connections: list[socket.socket]) -> None:
    """Those that are kept open would be served on."""
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
