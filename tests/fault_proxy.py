"""A proxy on loopback before a real S3 server, which does to requests what networks and stores do.

    with FaultProxy("127.0.0.1", 8333) as proxy:
        proxy.inject(Fault.TIMEOUT_AFTER, call="complete", hang_s=1.0)
        run(storage={**server.options, "endpoint": proxy.endpoint})
        assert proxy.injected["complete", Fault.TIMEOUT_AFTER] == 1

Requests pass byte for byte, with the Host header the client signed, so signatures stay valid. Every
request gets a connection of its own to the server: a stale one can't add a fault that nobody asked
for.
"""

from __future__ import annotations

import asyncio
import collections
import random
import re
import socket
import struct
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

HEAD_BYTES_MAX = 64 << 10
CHUNK = 64 << 10
CALLS = (
    "create-upload", "part", "complete", "put", "head", "get", "list", "delete", "abort",
)  # fmt: skip
"""What a request can be; all else (buckets, tagging) is "other". `list` has listings of objects,
of uploads and of parts."""


class Fault(StrEnum):
    """What happens to a request. AFTER: the server did the work, and the client can't know."""

    RESET = "reset"
    ERROR_500 = "500"
    SLOW_DOWN = "503"
    TOO_MANY = "429"
    TIMEOUT_BEFORE = "timeout-before"
    TIMEOUT_AFTER = "timeout-after"
    SLOW_BODY = "slow-body"
    WRONG_ETAG = "wrong-etag"
    RESET_AFTER = "reset-after"
    ERROR_AFTER = "500-after"
    SLOW_UPLOAD = "slow-upload"


_ERRORS = {
    Fault.ERROR_500: (500, "Internal Server Error", "InternalError"),
    Fault.ERROR_AFTER: (500, "Internal Server Error", "InternalError"),
    Fault.SLOW_DOWN: (503, "Service Unavailable", "SlowDown"),
    Fault.TOO_MANY: (429, "Too Many Requests", "TooManyRequests"),
}
_BEFORE = {
    Fault.RESET, Fault.ERROR_500, Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.TIMEOUT_BEFORE,
}  # fmt: skip
_ETAG_HEADER = re.compile(rb"(?im)^(etag:[ ]*)[^\r\n]*")
_ETAG_XML = re.compile(rb"(<ETag>).*?(</ETag>)")
_WRONG = b'"00000000000000000000000000000bad"'


@dataclass
class _Rule:
    fault: Fault
    call: str
    times: int | None
    until: float | None
    hang_s: float


@dataclass(frozen=True)
class _Chaos:
    random: random.Random
    probability: float
    faults: Sequence[Fault]
    calls: frozenset[str]
    hang_s: float


@dataclass(frozen=True)
class _Hit:
    fault: Fault
    hang_s: float


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        return self.head + self.body


def call_of(method: str, path: str) -> str:
    """Which of CALLS a request is, from its method, path and query; "other" for none of them."""
    url = urlsplit(path)
    query = parse_qs(url.query, keep_blank_values=True)
    if "uploadId" in query:
        if method == "PUT":
            return "part"
        return {"POST": "complete", "GET": "list", "DELETE": "abort"}.get(method, "other")
    if "uploads" in query:
        return {"POST": "create-upload", "GET": "list"}.get(method, "other")
    if "list-type" in query or "prefix" in query:
        return "list"
    if method == "POST" and "delete" in query:
        return "delete"
    if "/" not in url.path.strip("/"):
        return "other"
    return {"PUT": "put", "HEAD": "head", "GET": "get", "DELETE": "delete"}.get(method, "other")


class FaultProxy:
    """A context manager. All methods may be called from any thread, also while requests pass.

    `injected` counts (call, fault), `requests` counts calls that arrived, faulty ones included;
    `log` has both in order: (call, fault or None). `latency_s`: how much later every answer comes.
    `expired`: access keys whose requests are told that their token has expired. `bears`: requests
    at once, above which they are told to slow down. `refused` counts those of both kinds, `most`
    has how many of a call were ever under way.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self.upstream = (upstream_host, upstream_port)
        self.port = 0
        self.injected: collections.Counter[tuple[str, Fault]] = collections.Counter()
        self.requests: collections.Counter[str] = collections.Counter()
        self.log: list[tuple[str, Fault | None]] = []
        self.latency_s = 0.0
        self.expired: set[str] = set()
        self.bears: int | None = None
        self.refused = 0
        self.most: collections.Counter[str] = collections.Counter()
        self._under_way: collections.Counter[str] = collections.Counter()
        self._rules: list[_Rule] = []
        self._chaos: _Chaos | None = None
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._healed = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def inject(
        self,
        fault: Fault | str,
        *,
        call: str = "any",
        times: int | None = 1,
        for_s: float | None = None,
        hang_s: float = 5.0,
    ) -> None:
        """Do this to the next `times` calls of that kind (None: to all until healed), but only for
        `for_s` seconds from now. `hang_s`: how long a time-out hangs before it closes; also the
        pause between two bytes of a slow body.
        """
        if call not in (*CALLS, "any"):
            raise ValueError(f"no such call: {call}")
        until = None if for_s is None else self._loop.time() + for_s
        with self._lock:
            self._rules.append(_Rule(Fault(fault), call, times, until, hang_s))

    def chaos(
        self,
        seed: int,
        probability: float,
        faults: Sequence[Fault | str],
        *,
        calls: Sequence[str] = CALLS,
        hang_s: float = 2.0,
    ) -> None:
        """Choose a fault for each request of `calls` with this probability, from a seed, until
        healed.
        """
        chosen = [Fault(fault) for fault in faults]
        with self._lock:
            self._chaos = _Chaos(random.Random(seed), probability, chosen, frozenset(calls), hang_s)

    def heal(self) -> None:
        """No fault from now on, and requests that hang or trickle are let go: those not forwarded
        are closed, those that trickle get the rest at once.
        """
        with self._lock:
            self._rules.clear()
            self._chaos = None
        self._loop.call_soon_threadsafe(self._let_go)

    clear = heal

    @property
    def total(self) -> int:
        """Faults that hit a request so far."""
        with self._lock:
            return self.injected.total()

    # -- in the loop --------------------------------------------------------------------------

    def _let_go(self) -> None:
        self._healed.set()
        self._healed = asyncio.Event()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._client, "127.0.0.1", 0, limit=HEAD_BYTES_MAX
        )
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, asyncio.LimitOverrunError):
            writer.transport.abort()  # whichever side broke: the client sees a broken connection
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is at its end."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b" ", 2)
        call = call_of(method.decode(), path.decode())
        self._under_way[call] += 1
        self.most[call] = max(self.most[call], self._under_way[call])
        try:
            return await self._answer(call, head, reader, writer)
        finally:
            self._under_way[call] -= 1

    async def _answer(
        self, call: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        method, path, _ = head.split(b" ", 2)
        hit = self._choose(call)
        too_many = self.bears is not None and self._under_way.total() > self.bears
        if hit is not None and hit.fault is Fault.SLOW_UPLOAD:
            await self._hang(hit.hang_s)
        head, body = await _read_body(head, reader, writer)
        request = _Request(method.decode(), path.decode(), head, body)
        await asyncio.sleep(self.latency_s)
        if _access_key(head) in self.expired or too_many:
            self.refused += 1
            error = _ERRORS[Fault.SLOW_DOWN] if too_many else (400, "Bad Request", "ExpiredToken")
            writer.write(_error(error, request.method))
            await writer.drain()
            return True
        if hit is None or hit.fault is Fault.SLOW_UPLOAD:
            return await self._relay(request, writer)
        if hit.fault in (Fault.SLOW_BODY, Fault.WRONG_ETAG):
            return await self._spoil(request, hit, writer)
        if hit.fault not in _BEFORE:
            await self._ask(request)
        if hit.fault in _ERRORS:
            writer.write(_error(_ERRORS[hit.fault], request.method))
            await writer.drain()
            return True
        if hit.fault in (Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_AFTER):
            await self._hang(hit.hang_s, reader)
        _reset(writer)
        return False

    def _choose(self, call: str) -> _Hit | None:
        with self._lock:
            hit = self._scripted(call) or self._by_chance(call)
            self.requests[call] += 1
            self.log.append((call, hit.fault if hit else None))
            if hit is not None:
                self.injected[call, hit.fault] += 1
            return hit

    def _scripted(self, call: str) -> _Hit | None:
        now = self._loop.time()
        self._rules = [r for r in self._rules if r.until is None or now < r.until]
        for rule in self._rules:
            if rule.call not in (call, "any"):
                continue
            if rule.times is not None:
                rule.times -= 1
                if rule.times <= 0:
                    self._rules.remove(rule)
            return _Hit(rule.fault, rule.hang_s)
        return None

    def _by_chance(self, call: str) -> _Hit | None:
        chaos = self._chaos
        if chaos is None or call not in chaos.calls or chaos.random.random() >= chaos.probability:
            return None
        return _Hit(chaos.random.choice(chaos.faults), chaos.hang_s)

    async def _hang(self, seconds: float, client: asyncio.StreamReader | None = None) -> None:
        """Until the time is over, all is healed, or the client gives up."""
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(self._healed.wait())]
        if client is not None:
            waits.append(asyncio.ensure_future(_gone(client)))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _relay(self, request: _Request, writer: asyncio.StreamWriter) -> bool:
        """Pass request and answer on as they come."""
        upstream, up_writer = await asyncio.open_connection(*self.upstream, limit=HEAD_BYTES_MAX)
        try:
            up_writer.write(request.raw)
            await up_writer.drain()
            head = await upstream.readuntil(b"\r\n\r\n")
            writer.write(_without(head, b"connection"))
            async for chunk in _body_chunks(head, upstream, request.method):
                writer.write(chunk)
                await writer.drain()
            await writer.drain()
        finally:
            up_writer.close()
        return _framed(head, request.method)

    async def _ask(self, request: _Request) -> tuple[bytes, bytes]:
        """Head and body of the server's answer."""
        upstream, up_writer = await asyncio.open_connection(*self.upstream, limit=HEAD_BYTES_MAX)
        try:
            up_writer.write(request.raw)
            await up_writer.drain()
            head = await upstream.readuntil(b"\r\n\r\n")
            chunks = [chunk async for chunk in _body_chunks(head, upstream, request.method)]
        finally:
            up_writer.close()
        return _without(head, b"connection"), b"".join(chunks)

    async def _spoil(self, request: _Request, hit: _Hit, writer: asyncio.StreamWriter) -> bool:
        head, body = await self._ask(request)
        if hit.fault is Fault.WRONG_ETAG:
            head = _ETAG_HEADER.sub(rb"\1" + _WRONG, head)
            if not _chunked(head):
                body = _ETAG_XML.sub(rb"\1" + _WRONG + rb"\2", body)
                head = _with_length(head, len(body), request.method)
            writer.write(head + body)
            await writer.drain()
            return _framed(head, request.method)
        writer.write(head)
        await writer.drain()
        for place in range(len(body)):
            healed = self._healed
            await self._hang(hit.hang_s)
            if healed.is_set():
                writer.write(body[place:])
                break
            writer.write(body[place : place + 1])
            await writer.drain()  # raises when the client has gone
        await writer.drain()
        return _framed(head, request.method)


# -- bytes of HTTP ------------------------------------------------------------------------------


def _field(head: bytes, name: bytes) -> bytes:
    match = re.search(rb"(?im)^" + re.escape(name) + rb":[ ]*([^\r\n]*)", head)
    return match[1].strip() if match else b""


def _without(head: bytes, name: bytes) -> bytes:
    return re.sub(rb"(?im)^" + re.escape(name) + rb":[^\r\n]*\r\n", b"", head)


def _chunked(head: bytes) -> bool:
    return b"chunked" in _field(head, b"transfer-encoding").lower()


def _bodiless(head: bytes, method: str) -> bool:
    status = head.split(b" ", 2)[1]
    return method == "HEAD" or status in (b"204", b"304")


def _framed(head: bytes, method: str) -> bool:
    """Whether the client can tell where the answer ends without the end of the connection."""
    return _bodiless(head, method) or _chunked(head) or bool(_field(head, b"content-length"))


def _with_length(head: bytes, length: int, method: str) -> bytes:
    if _bodiless(head, method):
        return head
    return _without(head, b"content-length")[:-2] + b"Content-Length: %d\r\n\r\n" % length


async def _read_body(
    head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> tuple[bytes, bytes]:
    """The request's head as the server gets it, and its whole body."""
    if _field(head, b"expect").lower() == b"100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    head = _without(_without(head, b"expect"), b"connection")
    head = head[:-2] + b"Connection: close\r\n\r\n"
    if _chunked(head):
        return head, b"".join([piece async for piece in _chunks(reader)])
    return head, await reader.readexactly(int(_field(head, b"content-length") or 0))


async def _body_chunks(
    head: bytes, reader: asyncio.StreamReader, method: str
) -> AsyncIterator[bytes]:
    if _bodiless(head, method):
        return
    if _chunked(head):
        async for piece in _chunks(reader):
            yield piece
        return
    length = _field(head, b"content-length")
    left = int(length) if length else None
    while left is None or left > 0:
        piece = await reader.read(CHUNK if left is None else min(CHUNK, left))
        if not piece:
            if left is not None:
                raise EOFError("the server broke off its answer")
            return
        left = None if left is None else left - len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """A chunked body as it is on the wire, framing included."""
    while True:
        line = await reader.readline()
        size = int(line.split(b";")[0], 16)
        yield line + await reader.readexactly(size + 2)
        if size == 0:
            return


async def _gone(reader: asyncio.StreamReader) -> None:
    """Returns when the client closes; it sends nothing before its answer."""
    with suppress(OSError):
        await reader.read(1)


def _access_key(head: bytes) -> str:
    """Who signed a request."""
    match = re.search(rb"Credential=([^/]+)/", _field(head, b"authorization"))
    return match[1].decode() if match else ""


def _error(error: tuple[int, str, str], method: str) -> bytes:
    """An error as the store would word it: status, reason and code."""
    status, reason, code = error
    text = f"<Code>{code}</Code><Message>injected {code}</Message><RequestId>0</RequestId>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{text}</Error>'.encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if method == "HEAD" else body)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, not FIN."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def in_front_of(endpoint: str) -> FaultProxy:
    """A proxy of the server with this URL, to be entered."""
    url = urlsplit(endpoint)
    assert url.hostname and url.port
    return FaultProxy(url.hostname, url.port)
