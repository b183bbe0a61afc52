"""The HTTP source as the runner sees it: a thread with an event loop, a socket, a put at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor

from aiohttp import web

from rayflume.addresses import listen
from rayflume.component import Context
from rayflume.errors import OptionError
from rayflume.interfaces import Ingest, Json, StreamPosition
from rayflume.sources._http_connection import Connection, Connections
from rayflume.sources._http_door import TlsDoor
from rayflume.sources._http_group import Group
from rayflume.sources._http_requests import Admission, Requests
from rayflume.sources._http_settings import (
    REFRESH_SWEEPS,
    STOP_WAIT_S,
    SWEEP_S,
    Settings,
)
from rayflume.sources._tls import tls_facts

_BACKLOG = 512
_STOP_HANDLERS_S = 0.05
_LOOK_S = 0.5

_log = logging.getLogger(__name__)


class HttpSource:
    """A ServerSource. Its public methods may be called from any thread."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._state = "new"
        self._port = settings.port
        self._former: list[str] = []
        self._running: _Running | None = None
        self._thread: threading.Thread | None = None

    @property
    def prefix(self) -> str:
        """The streams of requests without a key: one for each life of the server."""
        return self._settings.life_prefix

    def start(self, positions: Mapping[str, StreamPosition], ingest: Ingest) -> None:
        """Listen. Former lives of this source end now, for nobody can go on with them.

        Raises OptionError when the address cannot be listened on.
        """
        prefix = self._settings.life_prefix
        self._former = [s for s, p in positions.items() if s.startswith(prefix) and not p.retired]
        listener = listen(self._settings.bind, self._settings.port)
        self._port = listener.getsockname()[1]
        running = _Running(self._settings, self._context, ingest, listener)
        thread = threading.Thread(
            target=running.run, name=f"rayflume-{self._settings.source}-http", daemon=True
        )
        thread.start()
        running.started.wait()
        if running.failure is not None:
            listener.close()
            raise OptionError(f"cannot serve HTTP: {running.failure}") from running.failure
        self._running, self._thread, self._state = running, thread, "serving"

    def drain(self) -> None:
        """Answer what is in hand, refuse what comes. Blocks as long as the put in flight does."""
        if self._running is not None and self._state == "serving":
            self._running.call(self._running.refuse())
            self._advance("serving", "draining")
            self._running.call(self._running.answered())
            self._advance("draining", "drained")

    def _advance(self, before: str, after: str) -> None:
        if self._state == before:  # and was not stopped meanwhile
            self._state = after

    def retired(self) -> list[str]:
        names, self._former = self._former, []
        if self._running is not None:
            retired = self._running.group.retired
            with contextlib.suppress(IndexError):
                while True:
                    names.append(retired.popleft())
        return names

    def describe(self) -> dict[str, Json]:
        """Where it listens, and what waits: requests, and bytes of their bodies."""
        facts: dict[str, Json] = {
            "state": self._state,
            "bind": self._settings.bind,
            "port": self._port,
            **tls_facts(self._settings.tls),
        }
        if (running := self._running) is not None:
            facts |= {
                "connections": len(running.connections.open),
                "requests_in_hand": running.admission.in_hand,
                "requests_waiting": running.group.requests_waiting(),
                "twins_waiting": running.group.twins_waiting,
                "pending_bytes": running.admission.pending_bytes,
                "stream": running.group.life.stream,
                "last_error": running.group.last_error or None,
            }
        return facts

    def stop(self) -> None:
        """Close the socket and all connections. Blocks until the put in flight ended (or 10 s)."""
        if self._running is not None and self._thread is not None and self._state != "stopped":
            self._state = "stopped"
            self._running.ask_to_stop()
            self._thread.join(2 * STOP_WAIT_S)


class _Running:
    """All that lives in the event loop's thread, from start to stop."""

    def __init__(
        self, settings: Settings, context: Context, ingest: Ingest, listener: socket.socket
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._parser = ThreadPoolExecutor(1, f"rayflume-{settings.source}-parse")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self.started = threading.Event()
        self.ended = threading.Event()
        self.failure: Exception | None = None
        self.group = Group(settings, context.clock, ingest)
        self.admission = Admission(settings.pending_bytes_max)
        self.connections = Connections(settings, context.clock, context.metrics)
        self._requests = Requests(
            settings, self.group, self.admission, context.metrics, self._parser
        )

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self.failure = error
            _log.exception("the server of the source %s ended", self._settings.source)
        finally:
            self.ended.set()
            self.started.set()

    def call(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` in the loop and wait for it; a stop meanwhile ends the waiting."""
        if self._loop is None or self._loop.is_closed():
            work.close()
            return
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while not self.ended.is_set():
            try:
                return future.result(_LOOK_S)
            except TimeoutError:
                continue
            except CancelledError:
                return

    def ask_to_stop(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    async def refuse(self) -> None:
        self.admission.draining = True
        self.connections.refuse_bodies()

    async def answered(self) -> None:
        await self.admission.answered.wait()

    async def _listen(self, make: Callable[[], Connection]) -> Callable[[], Awaitable[None]]:
        """Let clients in; what ends that again."""
        assert self._loop is not None
        if self._settings.tls is not None:
            context = self._settings.tls.context
            door = TlsDoor(self._listener, context, self.connections, make)
            task = self._loop.create_task(door.run())

            async def close_door() -> None:
                task.cancel()
                await asyncio.wait([task])

            return close_door
        server = await self._loop.create_server(make, sock=self._listener, backlog=_BACKLOG)

        async def close() -> None:
            server.close()

        return close

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        handlers, tls = web.Server(self._requests.answer), self._settings.tls
        close = await self._listen(lambda: Connection(handlers, self.connections))
        self.started.set()
        sweeps = 0
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), SWEEP_S)
            self.connections.sweep()
            sweeps += 1
            if tls and sweeps % REFRESH_SWEEPS == 0:
                tls.refresh()
        await close()
        await handlers.shutdown(_STOP_HANDLERS_S)
        await self.group.close()
        self._parser.shutdown()
