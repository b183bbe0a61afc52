"""`GET /metrics` as Flume serves it, and `/metrics/prometheus`, on a listener that only reads.

Flume's user guide, section "JSON Reporting". `/` is a small page, other paths are 404, TRACE and
OPTIONS are 403.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import cast

from aiohttp import web

from rayflume.agent.exposed import flume_document, prometheus_text
from rayflume.clock import Clock
from rayflume.config import Monitoring
from rayflume.interfaces import Json

log = logging.getLogger(__name__)

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json;charset=utf-8"
FRESH_MS = 500
"""A status is shown again for so long: however often somebody asks, the agent is asked so often."""
RETRY_S = 2.0
CONNECTIONS_MAX = 64
SILENT_S = 30.0
"""A connection that makes no request, or reads no answer, for so long is cut off (S4)."""
_PAGE = (
    "<!DOCTYPE html><title>rayflume</title><h1>rayflume</h1>"
    '<p><a href="/metrics">/metrics</a> as JSON, as Flume shows them'
    '<p><a href="/metrics/prometheus">/metrics/prometheus</a> as text for Prometheus'
)
Status = Callable[[], Mapping[str, Json]]


class MetricsServer:
    """Serves the metrics of one agent from a thread of its own, from `with` to its end.

    A port that is taken is tried again every 2 s: the agent runs without. `port` is the one it
    listens on, 0 until it does. `status` is called from a thread and may block.
    """

    def __init__(self, options: Monitoring, status: Status, clock: Clock) -> None:
        self._options = options
        self._status = status
        self._clock = clock
        self._known: tuple[float, Mapping[str, Json]] | None = None
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="rayflume-metrics", daemon=True)
        self.port = 0

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        handlers = web.Server(self._answer)
        server = await self._listen(handlers)
        try:
            await self._over.wait()
        finally:
            if server is not None:
                server.close()
            await handlers.shutdown(1)

    async def _listen(self, handlers: web.Server) -> asyncio.Server | None:
        """None when the end comes first."""
        bind, port = self._options.bind, self._options.port
        open_: set[_Connection] = set()
        while not self._over.is_set():
            try:
                server = await self._loop.create_server(
                    lambda: _Connection(handlers, self._loop, open_), bind, port, backlog=16
                )
            except OSError as error:
                log.error("metrics cannot be served on %s:%s: %s", bind, port, error.strerror)
            else:
                self.port = server.sockets[0].getsockname()[1]
                log.info("metrics on http://%s:%s/metrics", bind, self.port)
                return server
            try:
                await asyncio.wait_for(self._over.wait(), RETRY_S)
            except TimeoutError:
                continue
        return None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(_Connection, request.protocol)
        connection.wait()
        if request.method in ("TRACE", "OPTIONS"):
            return web.Response(status=403, text="only GET")
        page = {"/": self._page, "/metrics": self._flume, "/metrics/prometheus": self._prometheus}
        if request.path not in page:
            return web.Response(status=404, text="404: Not Found")
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, text="only GET", headers={"Allow": "GET,HEAD"})
        answer = await page[request.path]()
        connection.wait()
        return answer

    async def _page(self) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def _flume(self) -> web.Response:
        text = json.dumps(flume_document(await self._now()))
        return web.Response(body=text.encode(), headers={"Content-Type": JSON})

    async def _prometheus(self) -> web.Response:
        text = prometheus_text(await self._now())
        return web.Response(body=text, headers={"Content-Type": PROMETHEUS})

    async def _now(self) -> Mapping[str, Json]:
        return await self._loop.run_in_executor(None, self._fresh)

    def _fresh(self) -> Mapping[str, Json]:
        with self._lock:
            now_ms = self._clock.monotonic_ms()
            if self._known is None or now_ms - self._known[0] > FRESH_MS:
                self._known = now_ms, self._status()
            return self._known[1]


class _Connection(web.RequestHandler):
    """One of few, cut off when it has made no request for a while: one that only holds the
    connection would take the descriptors that channels and sinks need.
    """

    __slots__ = ("_cut_off", "_open")

    def __init__(
        self, server: web.Server, loop: asyncio.AbstractEventLoop, open_: set[_Connection]
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=15,
            lingering_time=1,
            access_log=None,  # type: ignore[arg-type] # None is how aiohttp turns it off
        )
        self._open = open_
        self._cut_off: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._open) >= CONNECTIONS_MAX:
            transport.close()
            return
        self._open.add(self)
        super().connection_made(transport)
        self.wait()

    def wait(self) -> None:
        """For the next request, or the end of the answer, from now on."""
        if self._cut_off is not None:
            self._cut_off.cancel()
        if isinstance(self.transport, asyncio.Transport):
            loop = asyncio.get_running_loop()
            self._cut_off = loop.call_later(SILENT_S, self.transport.abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
        if self in self._open:
            self._open.discard(self)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self in self._open:
            super().data_received(data)
