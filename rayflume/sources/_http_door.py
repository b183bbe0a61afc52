"""Who may begin a TLS handshake with the HTTP source (S4).

asyncio tells of a connection only once its handshake is done, and holds some 300 KiB for each that
has begun one: those who never go on with it count as connections, too.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from ssl import SSLContext

from rayflume.sources._http_connection import Connection, Connections
from rayflume.sources._http_settings import HANDSHAKE_TIMEOUT_S

_LOOK_AGAIN_S = 1.0
_NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TlsDoor:
    """Takes what connects to a listening socket, which it closes at its end."""

    def __init__(
        self,
        listener: socket.socket,
        tls: SSLContext,
        connections: Connections,
        make: Callable[[], Connection],
    ) -> None:
        self._listener = listener
        self._tls = tls
        self._connections = connections
        self._make = make
        self._shaking: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        try:
            while True:
                try:
                    connected, peer = await loop.sock_accept(self._listener)
                except OSError as error:
                    # Without a descriptor to spare it would be told of the same one at once.
                    await asyncio.sleep(_LOOK_AGAIN_S if error.errno in _NO_MORE else 0)
                    continue
                self._take(connected, str(peer[0]))
                # Who connects again and again must not keep the loop from all others.
                await asyncio.sleep(0)
        finally:
            self._listener.close()
            for task in list(self._shaking):
                task.cancel()
            await asyncio.gather(*self._shaking, return_exceptions=True)

    def _take(self, connected: socket.socket, address: str) -> None:
        connection = self._make()
        if not self._connections.begin_handshake(connection, address):
            connected.close()
            return
        task = asyncio.get_running_loop().create_task(self._shake(connected, connection))
        self._shaking.add(task)
        task.add_done_callback(self._shaking.discard)

    async def _shake(self, connected: socket.socket, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                connected,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            )
        except OSError:  # it is no TLS, has the wrong certificate, is gone or too slow
            pass
        finally:
            self._connections.end_handshake(connection)
