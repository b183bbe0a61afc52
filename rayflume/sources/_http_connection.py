"""Connections of the HTTP source: how many there may be, and when a slow one is cut off.

Time is judged by `overdue`, a pure function that a sweep calls a few times a second for every
connection; there are no timers per connection or request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from aiohttp import StreamReader, web

from rayflume.addresses import plain_address
from rayflume.clock import Clock
from rayflume.metrics import Metrics
from rayflume.sources._http_settings import BODY_GRACE_MS, LINGER_S, RETRY_AFTER_S, Settings
from rayflume.sources._listening import Gate

Certificate: TypeAlias = "Mapping[str, object] | None"
"""Of a client, as `ssl.SSLSocket.getpeercert` gives it."""

_READ_BYTES = 64 * 2**10
_BACKSTOP_S = 3_600.0
_TOO_MANY = (
    "HTTP/1.1 503 Service Unavailable\r\n"
    f"Retry-After: {RETRY_AFTER_S}\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n"
).encode()

_log = logging.getLogger(__name__)


class Phase(Enum):
    """What a connection waits for: nothing, the rest of a head, the rest of a body, an answer."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"


def overdue(phase: Phase, waited_ms: int, received: int, settings: Settings) -> bool:
    """Whether a connection in `phase` for `waited_ms`, with `received` bytes of body, is too
    slow.
    """
    if phase is Phase.IDLE:
        return waited_ms >= settings.idle_timeout_ms
    if phase is Phase.HEAD:
        return waited_ms >= settings.header_timeout_ms
    if phase is Phase.BODY:
        return waited_ms > BODY_GRACE_MS and received * 1000 < settings.body_rate_min * waited_ms
    return False


class Connections:
    """All open connections of one server. Lives in the event loop's thread."""

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self.open: set[Connection] = set()
        self.gate = Gate(settings.connections_max, settings.connections_per_address_max)
        self._shaking: dict[Connection, str] = {}

    def admit(self, connection: Connection, address: str, certificate: Certificate) -> bool:
        """Count a new connection, unless there are too many or it may not send."""
        tls = self.settings.tls
        if not self._takes_from(address):
            return False
        if tls is not None and not tls.permits(certificate):
            return False
        self.open.add(connection)
        self.gate.enter(address)
        self.metrics.set("OpenConnectionCount", len(self.open))
        return True

    def _takes_from(self, address: str) -> bool:
        rules = self.settings.ip_filter
        if self.gate.full or not self.gate.takes_from(address):
            return False
        return rules is None or rules.allows(plain_address(address), lambda _: "")

    def begin_handshake(self, connection: Connection, address: str) -> bool:
        """Count a connection that has no TLS yet, unless there are too many or it may not send."""
        if not self._takes_from(address):
            self.metrics.add("RequestRejectedCount")
            return False
        self._shaking[connection] = address
        self.gate.enter(address)
        return True

    def end_handshake(self, connection: Connection) -> None:
        """It came to nothing, or the connection is about to be admitted. Asked again: nothing."""
        address = self._shaking.pop(connection, None)
        if address is not None:
            self.gate.leave(address)

    def leave(self, connection: Connection, address: str) -> None:
        self.open.discard(connection)
        self.gate.leave(address)
        self.metrics.set("OpenConnectionCount", len(self.open))

    def sweep(self) -> None:
        """Cut off every connection that is too slow."""
        now = self.clock.monotonic_ms()
        for connection in list(self.open):
            waited = now - connection.since_ms
            if overdue(connection.phase, waited, connection.received, self.settings):
                connection.cut_off()

    def refuse_bodies(self) -> None:
        """Give up every request whose body has not wholly arrived."""
        for connection in self.open:
            if connection.phase is Phase.BODY:
                connection.stop_reading()


class Connection(web.RequestHandler):
    """One connection: aiohttp's, with an account of what it waits for and since when."""

    __slots__ = (
        "_address",
        "_admitted",
        "_connections",
        "_content",
        "_reading",
        "broken",
        "phase",
        "received",
        "since_ms",
    )

    def __init__(self, server: web.Server, connections: Connections) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=_BACKSTOP_S,
            logger=_log,
            access_log=None,  # type: ignore[arg-type] # None is how aiohttp turns it off
            lingering_time=LINGER_S,
            read_bufsize=_READ_BYTES,
            auto_decompress=False,
        )
        self._connections = connections
        self._address = ""
        self._admitted = False
        self.phase = Phase.IDLE
        self.since_ms = 0
        self.received = 0
        self.broken = False
        self._content: StreamReader | None = None
        self._reading: asyncio.Timeout | None = None

    def enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since_ms = self._connections.clock.monotonic_ms()
        self.received = 0

    def begin_reading(self, content: StreamReader, reading: asyncio.Timeout) -> None:
        """The handler reads a body until `end_reading`; `reading` ends it early."""
        self._content, self._reading = content, reading
        self._look_behind_body()

    def end_reading(self) -> None:
        self._content = self._reading = None

    def _look_behind_body(self) -> None:
        # Nothing can follow a body that is not complete: what does is the parser's error, of
        # which aiohttp tells the reader of the body nothing.
        if self._messages and self._content is not None and not self._content.is_eof():
            self.broken = True
            self._content.feed_eof()

    def stop_reading(self) -> None:
        """Let the handler, which waits for the rest of a body, go on with TimeoutError."""
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(asyncio.get_running_loop().time())

    def cut_off(self) -> None:
        """A slow body gets an answer; who is idle or does not read answers is dropped."""
        if self.phase is Phase.BODY and self._reading is not None:
            self.stop_reading()
            return
        transport = self.transport
        self.force_close()
        if isinstance(transport, asyncio.Transport):
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        certificate = transport.get_extra_info("peercert")
        self._connections.end_handshake(self)
        self._admitted = self._connections.admit(self, self._address, certificate)
        if self._admitted:
            self.enter(Phase.IDLE)
            super().connection_made(transport)
        elif isinstance(transport, asyncio.Transport):
            self._connections.metrics.add("RequestRejectedCount")
            transport.write(_TOO_MANY)
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._admitted:
            self._connections.leave(self, self._address)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._admitted:
            if self.phase is Phase.IDLE:
                self.enter(Phase.HEAD)
            super().data_received(data)
            self._look_behind_body()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP. aiohttp's own would repeat what was sent."""
        self._connections.metrics.add("RequestRejectedCount")
        answer = error_response(status, "the request is not well-formed HTTP")
        answer.force_close()
        return answer


def error_response(
    status: int, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    """`{"error": "..."}`."""
    return web.json_response(
        {"error": message}, status=status, headers={"Server": "rayflume", **(headers or {})}
    )
