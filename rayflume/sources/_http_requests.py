"""One request from head to answer: who may send, what it holds, what became of it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import cast

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError

from rayflume.batch import EventBatch
from rayflume.metrics import Metrics
from rayflume.sources._http_body import BLOB, inflate, parse
from rayflume.sources._http_connection import Connection, Phase, error_response
from rayflume.sources._http_group import Group, Key, Outcome
from rayflume.sources._http_json import Body, NoEvents
from rayflume.sources._http_refusal import Refusal
from rayflume.sources._http_settings import EVENT_FIELDS_MAX, RETRY_AFTER_S, Settings

PATHS = ("/", "/ndjson", "/raw")
HEALTH_PATHS = ("/healthz", "/readyz")
KEY_CHARACTERS_MAX = 255
_CHARSETS = {"utf8": "utf-8", "utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}
_INLINE_BYTES_MAX = 64 * 2**10
"""Larger bodies are parsed in another thread, one at a time, so that they stop nobody else."""
_ONCE = ("Authorization", "Idempotency-Key", "Content-Encoding", "Content-Type", "Host")
_AGAIN = {"Retry-After": str(RETRY_AFTER_S)}

_log = logging.getLogger(__name__)


class Admission:
    """What is in hand, and whether more is let in. Lives in the event loop's thread."""

    def __init__(self, pending_bytes_max: int) -> None:
        self.draining = False
        self.in_hand = 0
        self.pending_bytes = 0
        self.answered = asyncio.Event()
        self.answered.set()
        self.pending_bytes_max = pending_bytes_max


class _Hold:
    """One request in hand, from its first byte of body to its answer, and the bytes it holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._bytes = 0

    def __enter__(self) -> _Hold:
        self._admission.in_hand += 1
        self._admission.answered.clear()
        return self

    def resize(self, size: int) -> None:
        admission = self._admission
        if size > self._bytes and (
            admission.pending_bytes + size - self._bytes > admission.pending_bytes_max
        ):
            raise Refusal(503, "too many bytes wait for the channel; try again later", _AGAIN)
        admission.pending_bytes += size - self._bytes
        self._bytes = size

    def __exit__(self, *raised: object) -> None:
        admission = self._admission
        admission.pending_bytes -= self._bytes
        admission.in_hand -= 1
        if not admission.in_hand:
            admission.answered.set()


class _Arriving:
    """A body as it comes, within its limits."""

    def __init__(self, bytes_max: int, kept_max: int, hold: _Hold) -> None:
        self._bytes_max = bytes_max
        self._kept_max = kept_max
        self._hold = hold
        self.received = 0
        self.data: Body = b""

    def take(self, chunk: bytes) -> None:
        """Growing one buffer: a list of pieces would let a client send single bytes, each of which
        takes 40 in memory.
        """
        self.received += len(chunk)
        if self.received > self._bytes_max:
            raise Refusal(413, f"the request has more than {self._bytes_max} bytes")
        self.data = _grown(self.data, chunk[: max(0, self._kept_max - len(self.data))])
        self._hold.resize(len(self.data))


@dataclass(frozen=True, slots=True)
class _Content:
    """A request that has wholly arrived. `form`: what its body is, a path of PATHS or BLOB.
    `key`: its idempotency key, or None. `place`: what belongs to its identity besides the body.
    """

    form: str
    data: Body
    charset: str
    gzip: bool
    key: str | None
    place: str


@dataclass(frozen=True, slots=True)
class _Parsed:
    """Its rows; `size` bytes is what they took uncompressed, headers included."""

    batch: EventBatch
    key: Key | None
    size: int


class Requests:
    """The handler of all requests."""

    def __init__(
        self,
        settings: Settings,
        group: Group,
        admission: Admission,
        metrics: Metrics,
        parser: Executor,
    ) -> None:
        self._settings = settings
        self._group = group
        self._admission = admission
        self._metrics = metrics
        self._parser = parser

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Never raises but for what ends the connection."""
        connection = cast(Connection, request.protocol)
        connection.enter(Phase.BODY)
        try:
            response = await self._route(request, connection)
        except Refusal as refusal:
            response = error_response(refusal.status, refusal.message, refusal.headers)
            if refusal.status == 408 or connection.broken:
                response.force_close()
        except Exception:
            _log.exception("a request to the source %s failed", self._settings.source)
            self._metrics.add("GenericProcessingFail")
            response = error_response(500, "internal error; see the log of the agent")
        if response.status >= 400:
            self._metrics.add("RequestRejectedCount")
        connection.enter(Phase.IDLE)
        return response

    async def _route(self, request: web.BaseRequest, connection: Connection) -> web.Response:
        path, method = request.path, request.method
        if path in HEALTH_PATHS:
            if method not in ("GET", "HEAD"):
                raise Refusal(405, "use GET", {"Allow": "GET, HEAD"})
            return self._health(path)
        try:
            _check_coding(request)
        except Refusal:
            connection.broken = True  # where its body ends is a matter of opinion
            raise
        self._check_head(request)
        if self._settings.handler:
            _check_flume_method(method)
        elif path not in PATHS:
            raise Refusal(404, "unknown path; use /, /ndjson or /raw")
        elif method != "POST":
            raise Refusal(405, "use POST", {"Allow": "POST"})
        key = _idempotency_key(request)
        self._check_open()
        return await self._take(request, connection, key)

    def _health(self, path: str) -> web.Response:
        reason = ""
        if path == "/readyz":
            reason = "draining" if self._admission.draining else self._group.why_not_ready()
        if reason:
            raise Refusal(503, reason, _AGAIN)
        return web.json_response({"status": "ok"}, headers={"Server": "rayflume"})

    def _check_head(self, request: web.BaseRequest) -> None:
        for name in _ONCE:
            if len(request.headers.getall(name, ())) > 1:
                raise Refusal(400, f"the header {name} is given more than once")
        if not self._settings.admits(request.headers.get("Authorization")):
            raise Refusal(401, "a valid token is needed", {"WWW-Authenticate": "Bearer"})

    def _check_open(self) -> None:
        if self._admission.draining:
            raise Refusal(503, "the source is draining", _AGAIN)
        if self._group.holds_off():
            raise Refusal(503, "the channel takes no rows now; try again later", _AGAIN)

    async def _take(
        self, request: web.BaseRequest, connection: Connection, key: str | None
    ) -> web.Response:
        handler = self._settings.handler
        form = {"": request.path, "json": "/", "blob": BLOB}[handler]
        charset = _charset(request, form, 500 if handler else 400)
        gzip = form != BLOB and _gzip(request)
        headers = self._parameters(request) if form == BLOB else {}
        with _Hold(self._admission) as hold:
            data = await self._read(request, connection, hold)
            connection.enter(Phase.ANSWER)
            place = request.path_qs if form == BLOB else request.path
            parsed = await self._parse(_Content(form, data, charset, gzip, key, place))
            del data
            hold.resize(parsed.size)
            if not parsed.batch.num_rows:
                return _stored()
            batch = self._with_request_headers(parsed.batch, request)
            for name, value in headers.items():
                batch = batch.with_header(name, value)
            outcome = await self._group.put(batch, parsed.key)
            if outcome is Outcome.FAILED:
                self._metrics.add("GenericProcessingFail")
            return _respond(outcome)

    async def _read(self, request: web.BaseRequest, connection: Connection, hold: _Hold) -> Body:
        """The whole body, or Refusal. The declared length is checked, but nothing is allocated
        for it.
        """
        bytes_max, declared = self._settings.request_bytes_max, request.content_length
        kept_max = self._settings.blob_bytes_max if self._settings.handler == "blob" else bytes_max
        if declared is not None and declared > bytes_max:
            raise Refusal(413, f"the request has more than {bytes_max} bytes")
        _expect(request)
        body, content = _Arriving(bytes_max, kept_max, hold), request.content
        try:
            if content.is_eof():  # a small one came with its head
                body.take(content.read_nowait())
            else:
                async with asyncio.timeout(None) as reading:
                    connection.begin_reading(content, reading)
                    while chunk := await content.readany():
                        connection.received += len(chunk)
                        body.take(chunk)
        except TimeoutError:
            if self._admission.draining:
                raise Refusal(503, "the source is draining", _AGAIN) from None
            raise Refusal(408, "the body arrives too slowly") from None
        except (ConnectionError, web.RequestPayloadError, HttpProcessingError):
            connection.broken = True
        finally:
            connection.end_reading()
            self._metrics.add("BytesReceivedCount", body.received)
        if connection.broken:
            self._metrics.add("EventReadFail")
            raise Refusal(400, "the body ended early or is malformed")
        return body.data

    async def _parse(self, content: _Content) -> _Parsed:
        work = partial(_parsed, content, self._settings)
        try:
            if len(content.data) <= _INLINE_BYTES_MAX and not content.gzip:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._parser, work)
        except NoEvents as refusal:
            self._metrics.add("EventReadFail")
            raise Refusal(500 if self._settings.handler else 400, refusal.message) from None
        except Refusal:
            self._metrics.add("EventReadFail")
            raise

    def _parameters(self, request: web.BaseRequest) -> dict[str, str]:
        """The headers of a blob: what the query says, and its type."""
        given = {name: request.query[name] for name in request.query}
        for name in self._settings.mandatory_parameters:
            if name not in given:
                self._metrics.add("EventReadFail")
                raise Refusal(500, f"the parameter {name!r} is missing")
        if len(given) > EVENT_FIELDS_MAX:
            raise Refusal(400, f"an event has more than {EVENT_FIELDS_MAX} headers")
        if "Content-Type" in request.headers:
            given["Content-Type"] = request.headers["Content-Type"]
        return {_clean(name): _clean(value) for name, value in given.items()}

    def _with_request_headers(self, batch: EventBatch, request: web.BaseRequest) -> EventBatch:
        for name in self._settings.headers_from_request:
            values = request.headers.getall(name, ())
            if values:
                raw = ", ".join(values).encode("utf-8", "surrogateescape")
                batch = batch.with_header(name, raw.decode("utf-8", "replace"))
        return batch


def _parsed(content: _Content, settings: Settings) -> _Parsed:
    data = content.data
    if content.gzip:
        data = inflate(data, settings.request_bytes_max)
    batch = parse(content.form, data, content.charset, settings.record_bytes_max)
    if content.key is None:
        return _Parsed(batch, None, len(data))
    name = hashlib.blake2b(f"{settings.source}\0{content.key}".encode(), digest_size=16)
    digest = hashlib.blake2b(content.place.encode("utf-8", "replace") + b"\0", digest_size=16)
    digest.update(data)
    return _Parsed(batch, Key(name.hexdigest(), digest.digest()), len(data))


def _grown(data: Body, chunk: bytes) -> Body:
    """A body of one piece is not copied; a longer one grows in place."""
    if not data:
        return chunk
    buffer = data if isinstance(data, bytearray) else bytearray(data)
    buffer += chunk
    return buffer


def _idempotency_key(request: web.BaseRequest) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key or len(key) > KEY_CHARACTERS_MAX or not (key.isascii() and key.isprintable()):
        limit = KEY_CHARACTERS_MAX
        raise Refusal(400, f"an Idempotency-Key has 1 to {limit} printable ASCII characters")
    return key


def _check_flume_method(method: str) -> None:
    """As Flume's server answers: GET is treated like POST."""
    if method in ("TRACE", "OPTIONS"):
        raise Refusal(403, f"{method} is not allowed")
    if method not in ("GET", "POST"):
        raise Refusal(405, "use POST", {"Allow": "GET, POST"})


def _clean(text: str) -> str:
    """Bytes that are not UTF-8 come as half surrogates; a header holds none."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _charset(request: web.BaseRequest, form: str, status: int) -> str:
    if form != "/":
        return "utf-8"
    try:
        given = (request.charset or "utf-8").lower()
    except ValueError:
        given = ""
    if given not in _CHARSETS:
        raise Refusal(status, "unknown character set; use UTF-8, UTF-16 or UTF-32")
    return _CHARSETS[given]


def _gzip(request: web.BaseRequest) -> bool:
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise Refusal(
            415, "unknown Content-Encoding; use gzip or none", {"Accept-Encoding": "gzip"}
        )
    return encoding != "identity"


def _check_coding(request: web.BaseRequest) -> None:
    """Bodies are chunked or not, nothing else (RFC 9112, 6.1): who takes another coding for it
    reads other bytes than who sent them.
    """
    coding = request.headers.get("Transfer-Encoding")
    if coding is None:
        return
    if request.version < HttpVersion11:
        raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
    if coding.strip().lower() != "chunked":
        raise Refusal(501, "unknown Transfer-Encoding; use chunked")


def _expect(request: web.BaseRequest) -> None:
    """Ask for the body of a client that waits to be asked (only now: its head was accepted)."""
    expected = request.headers.get("Expect")
    if expected is None:
        return
    if expected.lower() != "100-continue":
        raise Refusal(417, "unknown expectation; use 100-continue")
    if request.transport is not None and not request.content.is_eof():
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _stored() -> web.Response:
    return web.Response(headers={"Server": "rayflume"})


def _respond(outcome: Outcome) -> web.Response:
    if outcome is Outcome.STORED:
        return _stored()
    if outcome is Outcome.CONFLICT:
        raise Refusal(422, "another request was already taken under this Idempotency-Key")
    if outcome is Outcome.REFUSED:
        raise Refusal(503, "the channel takes no rows now; try again later", _AGAIN)
    raise Refusal(500, "internal error; see the log of the agent")
