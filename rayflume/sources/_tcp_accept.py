"""Who is let in: limits on connections, rules on addresses, TLS."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from rayflume.addresses import plain_address
from rayflume.component import Context
from rayflume.sources._decoders import Decoder, decoder_of
from rayflume.sources._host_names import HostNames
from rayflume.sources._line_block import Sender
from rayflume.sources._line_protocol import LineSettings, Peer
from rayflume.sources._line_reader import LineReader
from rayflume.sources._listening import Gate
from rayflume.sources._log_limit import LogLimit
from rayflume.sources._poller import Poller
from rayflume.sources._tcp_connection import Connection, Phase

_ACCEPTS_MAX = 64
_LOOK_AGAIN_MS = 1_000
_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LOOKUPS = 4
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class Host(Protocol):
    """The loop behind the door."""

    @property
    def poller(self) -> Poller: ...
    @property
    def log(self) -> LogLimit: ...
    def admitted(self, connection: Connection) -> None:
        """It is counted from now on; again, once its name is known."""
        ...

    def dismissed(self, connection: Connection) -> None:
        """One that was admitted is refused after all."""
        ...

    def give_way(self) -> bool:
        """Close a connection that can be done without, if there is one."""
        ...


class Door:
    """The listening sockets. Lives in the loop's thread."""

    def __init__(
        self, settings: LineSettings, context: Context, sockets: Sequence[socket.socket], host: Host
    ) -> None:
        self._settings = settings
        self._clock = context.clock
        self._metrics = context.metrics
        self._host = host
        self._open = {
            one.fileno(): (one, decoder_of(listener.encoding))
            for one, listener in zip(sockets, settings.listeners, strict=True)
        }
        self._listening = False
        self._names = HostNames(context.clock)
        asks = settings.ip_filter is not None and settings.ip_filter.asks_names
        self._lookups = ThreadPoolExecutor(_LOOKUPS, "rayflume-names") if asks else None
        self._next_look_ms = 0
        self.gate = Gate(settings.limits.connections_max, settings.limits.per_address_max)
        self.rejected = 0
        for one in sockets:
            one.setblocking(False)
        self._listen(True)

    def accept(self, fd: int) -> None:
        """Take what connects to one of the sockets."""
        if fd not in self._open:
            return
        listening, make = self._open[fd]
        for _ in range(_ACCEPTS_MAX):
            try:
                connected, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_MORE_FILES:
                    self._host.log.warning("no connection can be taken: %s", error.strerror)
                    self._listen(False)
                    return
                continue  # it was gone before it was taken
            peer = Peer(plain_address(address[0]), address[1], listening.getsockname()[1])
            self._judge(connected, peer, None if make is None else make())

    def permits(self, connection: Connection) -> bool:
        """Whether the certificate shown in the handshake is one of those allowed."""
        tls = self._settings.tls
        assert tls is not None and isinstance(connection.socket, ssl.SSLSocket)
        permitted = tls.permits(connection.socket.getpeercert())
        if not permitted:
            self._count("a client certificate of %s is not in client_names", connection.address)
        return permitted

    def look_again(self, now_ms: int) -> None:
        """About once a second: accept again after a want of file descriptors, read new
        certificates.
        """
        if now_ms < self._next_look_ms:
            return
        self._next_look_ms = now_ms + _LOOK_AGAIN_MS
        self._listen(bool(self._open))
        if self._settings.tls is not None:
            self._settings.tls.refresh()

    def close(self) -> None:
        """Nobody can connect any more."""
        self._listen(False)
        for listening, _ in self._open.values():
            listening.close()
        self._open = {}
        if self._lookups is not None:
            self._lookups.shutdown(wait=False, cancel_futures=True)

    def _listen(self, on: bool) -> None:
        if on is not self._listening:
            self._listening = on
            for fd in self._open:
                (self._host.poller.listen if on else self._host.poller.unlisten)(fd)

    def _judge(self, connected: socket.socket, peer: Peer, decoder: Decoder | None) -> None:
        rules = self._settings.ip_filter
        if not self.gate.takes_from(peer.address):
            why = "a connection of %s is refused: its address has too many"
        elif self.gate.full and not self._host.give_way():
            why = "a connection of %s is refused: there are too many"
        elif rules and not self._lookups and not rules.allows(peer.address, lambda _: ""):
            why = "a connection of %s is refused by ip_filter_rules"
        else:
            self._take(connected, LineReader(Sender(peer), self._settings, decoder))
            return
        self._count(why, peer.address)
        connected.close()

    def _count(self, why: str, address: str) -> None:
        self.rejected += 1
        self._metrics.add("RequestRejectedCount")
        self._host.log.warning(why, address)

    def _take(self, connected: socket.socket, reader: LineReader) -> None:
        try:
            connected.setblocking(False)
            for level, name, value in _KEEPALIVE:
                connected.setsockopt(level, name, value)
            if self._settings.tls is not None:
                connected = self._settings.tls.context.wrap_socket(
                    connected,
                    server_side=True,
                    do_handshake_on_connect=False,
                    suppress_ragged_eofs=False,
                )
        except (OSError, ValueError):  # it is gone
            connected.close()
            return
        connection = Connection(connected, reader, self._settings.reply)
        self.gate.enter(connection.address)
        if self._lookups is None:
            self._let_in(connection)
            return
        connection.begin(Phase.NAME, self._clock.monotonic_ms())
        self._host.admitted(connection)
        self._lookups.submit(self._look_up, connection)

    def _look_up(self, connection: Connection) -> None:
        """In another thread."""
        rules = self._settings.ip_filter
        assert rules is not None
        allowed = rules.allows(connection.address, self._names.name_of)
        self._host.poller.call(lambda: self._named(connection, allowed))

    def _named(self, connection: Connection, allowed: bool) -> None:
        if connection.socket.fileno() < 0:  # it was closed meanwhile
            return
        if allowed:
            self._let_in(connection)
        else:
            self._count("a connection of %s is refused by ip_filter_rules", connection.address)
            self._host.dismissed(connection)

    def _let_in(self, connection: Connection) -> None:
        phase = Phase.OPEN if self._settings.tls is None else Phase.HANDSHAKE
        connection.begin(phase, self._clock.monotonic_ms())
        self._host.admitted(connection)
