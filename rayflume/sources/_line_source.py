"""A source of lines as the runner sees it: a loop's thread, a put thread, sockets."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from rayflume.component import Context
from rayflume.interfaces import Ingest, Json, StreamPosition
from rayflume.sources._line_protocol import LineProtocol, LineSettings
from rayflume.sources._log_limit import LogLimit
from rayflume.sources._put_thread import PutThread

_STOP_WAIT_S = 20.0

_log = logging.getLogger(__name__)


class Loop(Protocol):
    """What runs in the loop's thread. `run` returns after `stop`; `close` comes last of all."""

    drained: threading.Event

    def run(self) -> None: ...
    def begin_drain(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def facts(self) -> dict[str, Json]: ...


class LineSource(ABC):
    """A ServerSource. Its public methods may be called from any thread."""

    def __init__(self, settings: LineSettings, protocol: LineProtocol, context: Context) -> None:
        self._settings = settings
        self._protocol = protocol
        self._context = context
        self._state = "new"
        self._former: list[str] = []
        self._ports = [listener.port for listener in settings.listeners]
        self._loop: Loop | None = None
        self._put: PutThread | None = None
        self._thread: threading.Thread | None = None

    @property
    def prefix(self) -> str:
        """The streams of its rows: one for each life of the server."""
        return self._settings.life_prefix

    def start(self, positions: Mapping[str, StreamPosition], ingest: Ingest) -> None:
        """Listen. Former lives of this source end now, for nobody can go on with them.

        Raises OptionError when an address cannot be listened on.
        """
        prefix = self._settings.life_prefix
        self._former = [s for s, p in positions.items() if s.startswith(prefix) and not p.retired]
        sockets: list[socket.socket] = []
        try:
            for listener in self._settings.listeners:
                sockets.append(self._bind(listener.bind, listener.port))
        except BaseException:
            for one in sockets:
                one.close()
            raise
        self._ports = [one.getsockname()[1] for one in sockets]
        log = LogLimit(self._settings.source, self._context.clock)
        self._put = PutThread(self._settings, self._protocol, ingest, self._context.metrics, log)
        loop = self._make_loop(sockets, self._put, log)
        self._loop = loop
        self._thread = threading.Thread(
            target=self._run, args=(loop,), daemon=True,
            name=f"rayflume-{self._settings.source}-loop",
        )  # fmt: skip
        self._state = "serving"
        self._thread.start()

    @abstractmethod
    def _bind(self, bind: str, port: int) -> socket.socket: ...

    @abstractmethod
    def _make_loop(self, sockets: list[socket.socket], put: PutThread, log: LogLimit) -> Loop: ...

    def _run(self, loop: Loop) -> None:
        try:
            loop.run()
        except Exception:
            self._state = "failed"
            _log.exception("the server of the source %s ended", self._settings.source)

    def drain(self) -> None:
        """Take what has been sent so far, put and answer it, and close all connections. Blocks."""
        if self._loop is not None and self._state == "serving":
            self._state = "draining"
            self._loop.begin_drain()
            self._loop.drained.wait()
            if self._state == "draining":  # and was not stopped meanwhile
                self._state = "drained"

    def retired(self) -> list[str]:
        names, self._former = self._former, []
        if self._put is not None:
            with contextlib.suppress(IndexError):
                while True:
                    names.append(self._put.retired.popleft())
        return names

    def describe(self) -> dict[str, Json]:
        """Where it listens, what waits, and what was refused."""
        facts: dict[str, Json] = {
            "state": self._state,
            "bind": self._settings.listeners[0].bind,
            "port": self._ports[0],
            "ports": list(self._ports),
        }
        if self._loop is not None and self._put is not None:
            facts |= {"stream": self._put.life.stream, "last_error": self._put.last_error or None}
            facts |= self._loop.facts()
        return facts

    def stop(self) -> None:
        """Close all sockets. Blocks until the put in flight ended (or 10 s)."""
        if self._loop is None or self._put is None or self._thread is None:
            return
        if self._state != "stopped":
            self._state = "stopped"
            self._loop.stop()
            self._thread.join(_STOP_WAIT_S)
            self._put.close()
            self._loop.close()
