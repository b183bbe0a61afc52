"""What a loop waits for: its sockets, room for what they send, and other threads (Linux: epoll)."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections import deque
from collections.abc import Callable

from rayflume.sources._tcp_connection import Connection, Watch

_READS_MAX = 256
_INPUT = select.EPOLLIN | select.EPOLLRDHUP


class Wake:
    """Calls that other threads ask a loop to make. `fd` becomes readable when there are some."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._calls: deque[Callable[[], None]] = deque()
        self._closing = threading.Lock()
        self._closed = False

    def call(self, call: Callable[[], None]) -> None:
        """From any thread. The call is never made once the loop has ended."""
        self._calls.append(call)
        with self._closing:
            if not self._closed:
                os.eventfd_write(self.fd, 1)

    def calls(self) -> None:
        """Make them, in the loop's thread. Never blocks."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        with self._closing:
            self._closed = True
            os.close(self.fd)


class Poller:
    """Two sets of file descriptors: those of the inner one are looked at only while there is room.

    `call` may be called from any thread, all else from the loop's.
    """

    def __init__(self) -> None:
        self._outer = select.epoll()
        self._inner = select.epoll()
        self._wake = Wake()
        self._outer.register(self._wake.fd, select.EPOLLIN)
        self._outer.register(self._inner.fileno(), select.EPOLLIN)
        self.call, self.calls = self._wake.call, self._wake.calls
        self.has_room = True

    def listen(self, fd: int) -> None:
        self._outer.register(fd, select.EPOLLIN)

    def unlisten(self, fd: int) -> None:
        self._outer.unregister(fd)

    def watch(self, connection: Connection, watch: Watch) -> None:
        """From now on wait for this and nothing else on a connection's socket."""
        before = connection.watch
        if watch is before:
            return
        fd = connection.socket.fileno()
        if before is Watch.ROOM:
            self._inner.unregister(fd)
        elif before is not Watch.NOTHING:
            self._outer.unregister(fd)
        connection.watch = watch
        if watch is Watch.ROOM:
            self._inner.register(fd, _INPUT)
        elif watch is Watch.INPUT:
            self._outer.register(fd, _INPUT)
        elif watch is Watch.OUTPUT:
            self._outer.register(fd, select.EPOLLOUT)

    def set_room(self, has_room: bool) -> None:
        if has_room is not self.has_room:
            self.has_room = has_room
            if has_room:
                self._outer.register(self._inner.fileno(), select.EPOLLIN)
            else:
                self._outer.unregister(self._inner.fileno())

    def wait(self, timeout_s: float) -> tuple[list[int], list[int]]:
        """The sockets that are ready: of the outer set, and of the inner one. Blocks."""
        outer, inner = [], []
        for fd, _ in self._outer.poll(timeout_s):
            if fd == self._wake.fd:
                continue
            if fd == self._inner.fileno():
                inner = [ready for ready, _ in self._inner.poll(0, _READS_MAX)]
            else:
                outer.append(fd)
        return outer, inner

    def close(self) -> None:
        self._wake.close()
        self._inner.close()
        self._outer.close()
