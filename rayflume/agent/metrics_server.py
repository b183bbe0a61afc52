"""`GET /metrics` as Flume serves it, and `/metrics/prometheus`, on a listener that only reads.

Flume's user guide, section "JSON Reporting". `/` is a small page, other paths are 404, TRACE and
OPTIONS are 403.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType

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
        app = web.Application(middlewares=[_read_only], client_max_size=1)
        app.router.add_get("/", self._page)
        app.router.add_get("/metrics", self._flume)
        app.router.add_get("/metrics/prometheus", self._prometheus)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=15, shutdown_timeout=1)
        await runner.setup()
        try:
            await self._listen(runner)
            await self._over.wait()
        finally:
            await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        bind, port = self._options.bind, self._options.port
        while not self._over.is_set():
            try:
                await web.TCPSite(runner, bind, port, backlog=16).start()
            except OSError as error:
                log.error("metrics cannot be served on %s:%s: %s", bind, port, error.strerror)
            else:
                self.port = runner.addresses[0][1]
                log.info("metrics on http://%s:%s/metrics", bind, self.port)
                return
            try:
                await asyncio.wait_for(self._over.wait(), RETRY_S)
            except TimeoutError:
                continue

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def _flume(self, _request: web.Request) -> web.Response:
        text = json.dumps(flume_document(await self._now()))
        return web.Response(body=text.encode(), headers={"Content-Type": JSON})

    async def _prometheus(self, _request: web.Request) -> web.Response:
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


@web.middleware
async def _read_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if request.method in ("TRACE", "OPTIONS"):
        raise web.HTTPForbidden(text="only GET")
    return await handler(request)
