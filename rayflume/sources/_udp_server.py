"""A source of lines on UDP: one line of each datagram, up to its first newline.

A UDP socket has no back pressure: what finds no room in the kernel's buffer is dropped by the
kernel. The loop drains the socket whenever it wakes up, the buffer is large, and what was dropped
all the same is counted: the kernel tells by SO_MEMINFO (socket(7), sock_diag(7)).
"""

from __future__ import annotations

import logging
import select
import socket
import struct
import threading
from collections.abc import Sequence

from rayflume.addresses import bind_datagrams, plain_address
from rayflume.component import Context
from rayflume.interfaces import Json
from rayflume.sources._line_block import Block, Piece, Sender
from rayflume.sources._line_protocol import LineSettings, Peer
from rayflume.sources._line_source import LineSource, Loop
from rayflume.sources._log_limit import LogLimit
from rayflume.sources._poller import Wake
from rayflume.sources._put_thread import PutThread

DATAGRAM_BYTES_MAX = 65_535
_SENDERS_MAX = 10_000
_DATAGRAMS_MAX = 1_024
"""So many are read before other sockets and puts have their turn."""
_SWEEP_MS = 250
_SO_MEMINFO, _MEMINFO = 55, struct.Struct("9I")
_SO_RCVBUFFORCE = 33

_log = logging.getLogger(__name__)


class UdpSource(LineSource):
    """A ServerSource that listens on one or more UDP ports."""

    def _bind(self, bind: str, port: int) -> socket.socket:
        bound = bind_datagrams(bind, port)
        bound.setblocking(False)
        size = self._settings.receive_buffer_bytes
        try:
            # Beyond net.core.rmem_max, if this process may (CAP_NET_ADMIN).
            bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        got = _buffer_bytes(bound)
        if got < size:
            _log.warning(
                "source %s: the kernel buffers %d bytes of datagrams instead of %d; raise it with"
                " `sysctl net.core.rmem_max=%d`",
                self._settings.source, got, size, size,
            )  # fmt: skip
        return bound

    def _make_loop(self, sockets: list[socket.socket], put: PutThread, log: LogLimit) -> Loop:
        return UdpLoop(self._settings, self._context, sockets, put, log)


class UdpLoop:
    """`run` is the loop's thread; `begin_drain`, `stop` and `facts` are for any other."""

    def __init__(
        self,
        settings: LineSettings,
        context: Context,
        sockets: Sequence[socket.socket],
        put: PutThread,
        log: LogLimit,
    ) -> None:
        self._settings = settings
        self._clock = context.clock
        self._metrics = context.metrics
        self._put = put
        self._log = log
        self._sockets = {one.fileno(): one for one in sockets}
        self._ports = {fd: int(one.getsockname()[1]) for fd, one in self._sockets.items()}
        self._epoll = select.epoll()
        for fd in self._sockets:
            self._epoll.register(fd, select.EPOLLIN)
        self._wake = Wake()
        self._epoll.register(self._wake.fd, select.EPOLLIN)
        size = max(settings.batch_bytes, 4 * DATAGRAM_BYTES_MAX)
        self._filling, self._spare = (Block(bytearray(size)) for _ in range(2))
        self._senders: dict[tuple[str, int, int], Sender | None] = {}
        self._in_flight = False
        self._full = False
        self._stopping = False
        self._draining = False
        self._next_sweep_ms = 0
        self._buffer_bytes = min(map(_buffer_bytes, sockets))
        self._dropped = dict.fromkeys(self._sockets, 0)
        self._refused = 0
        self.drained = threading.Event()

    def facts(self) -> dict[str, Json]:
        return {
            "datagrams_dropped": sum(self._dropped.values()),
            "rejected": self._refused,
            "receive_buffer_bytes": self._buffer_bytes,
            "waiting_bytes": self._filling.used,
        }

    def begin_drain(self) -> None:
        self._wake.call(self._begin_drain)

    def stop(self) -> None:
        self._wake.call(self._stop)

    def run(self) -> None:
        try:
            while not self._stopping:
                self._round()
        finally:
            self._count_drops()
            for one in self._sockets.values():
                one.close()
            self.drained.set()

    def close(self) -> None:
        self._wake.close()
        self._epoll.close()

    def _begin_drain(self) -> None:
        self._draining = True

    def _stop(self) -> None:
        self._stopping = True

    def _round(self) -> None:
        ready = [fd for fd, _ in self._epoll.poll(_SWEEP_MS / 1000)]
        self._wake.calls()
        emptied = True
        for fd in ready:
            if fd in self._sockets and not self._full:
                emptied &= self._read(fd)
        if not self._in_flight and self._filling.pieces:
            block, self._filling = self._filling, self._spare
            self._in_flight = True
            self._set_full(False)
            self._put.submit(block, self._put_is_done)
        elif self._draining and not self._in_flight and emptied:
            self._end()
        if (now := self._clock.monotonic_ms()) >= self._next_sweep_ms:
            self._next_sweep_ms = now + _SWEEP_MS
            self._count_drops()

    def _read(self, fd: int) -> bool:
        """Drain a socket; False when it may have more."""
        bound, block, port = self._sockets[fd], self._filling, self._ports[fd]
        used, received, refused = block.used, 0, 0
        last = block.pieces[-1].sender if block.pieces else None
        try:
            for _ in range(_DATAGRAMS_MAX):
                if len(block.data) - used <= DATAGRAM_BYTES_MAX:
                    self._set_full(True)
                    return False
                count, address = bound.recvfrom_into(block.view[used:])
                received += count
                sender = self._sender(address[0], address[1], port)
                if sender is None:
                    refused += 1
                    continue
                end = block.data.find(b"\n", used, used + count)
                if end < 0:
                    end = used + count
                    block.data[end] = 0x0A
                used = end + 1
                if sender is last:
                    block.pieces[-1].stop = used
                else:
                    block.pieces.append(Piece(sender, used))
                    last = sender
        except BlockingIOError:
            return True
        except OSError as error:  # an ICMP answer to nothing we sent
            self._log.warning("a datagram could not be read: %s", error.strerror)
        finally:
            block.used = used
            if received:
                self._metrics.add("BytesReceivedCount", received)
            if refused:
                self._refused += refused
                self._metrics.add("RequestRejectedCount", refused)
        return False

    def _sender(self, address: str, port: int, local_port: int) -> Sender | None:
        """None for one that may not send."""
        key = (address, port, local_port)
        try:
            return self._senders[key]
        except KeyError:
            pass
        plain, rules = plain_address(address), self._settings.ip_filter
        sender = None
        if rules is None or rules.allows(plain, lambda _: ""):
            sender = Sender(Peer(plain, port, local_port))
        else:
            self._log.warning("datagrams of %s are refused by ip_filter_rules", plain)
        if len(self._senders) >= _SENDERS_MAX:
            self._senders.clear()
        self._senders[key] = sender
        return sender

    def _set_full(self, full: bool) -> None:
        if full is not self._full:
            self._full = full
            for fd in self._sockets:
                self._epoll.modify(fd, 0 if full else select.EPOLLIN)

    def _put_is_done(self, block: Block, stored: bool) -> None:
        self._wake.call(lambda: self._answer(block, stored))

    def _answer(self, block: Block, stored: bool) -> None:
        if not stored:
            self._metrics.add("EventReadFail", sum(piece.lines for piece in block.pieces))
        block.clear()
        self._spare = block
        self._in_flight = False

    def _count_drops(self) -> None:
        for fd, one in self._sockets.items():
            if one.fileno() < 0:
                continue
            raw = one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            dropped = _MEMINFO.unpack(raw)[8]
            if dropped > self._dropped[fd]:
                self._metrics.add("DatagramDroppedCount", dropped - self._dropped[fd])
                self._dropped[fd] = dropped
                self._log.warning(
                    "the kernel dropped datagrams, %s so far: raise receive_buffer, or send slower",
                    sum(self._dropped.values()),
                )

    def _end(self) -> None:
        self._count_drops()
        for fd, one in self._sockets.items():
            if one.fileno() >= 0:
                self._epoll.unregister(fd)
                one.close()
        self.drained.set()


def _buffer_bytes(bound: socket.socket) -> int:
    # The kernel doubles what is asked for, for its own book-keeping (socket(7)).
    return bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
