"""A source of lines on TCP."""

from __future__ import annotations

import socket

from rayflume.addresses import listen
from rayflume.sources._line_source import LineSource, Loop
from rayflume.sources._log_limit import LogLimit
from rayflume.sources._put_thread import PutThread
from rayflume.sources._tcp_loop import TcpLoop


class TcpSource(LineSource):
    """A ServerSource that listens on one or more TCP ports."""

    def _bind(self, bind: str, port: int) -> socket.socket:
        return listen(bind, port)

    def _make_loop(self, sockets: list[socket.socket], put: PutThread, log: LogLimit) -> Loop:
        return TcpLoop(self._settings, self._context, sockets, put, log)
