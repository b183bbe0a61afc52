"""How a protocol of lines plugs into the listeners for TCP and UDP.

A source of lines is three things:

1. `LineSettings`: where to listen, how long a line may be, what is answered. `ListenOptions` and
   `LimitOptions` (`_listen_options.py`) and `TlsOptions` (`_tls_options.py`) are the options that
   all such sources have in common; they make the parts of it that are the same for all.
2. A `LineProtocol`: whole lines to events. It is pure, it is called in the put thread once for all
   lines of a put, whoever sent them, and it never sees a socket.
3. `TcpSource(settings, protocol, context)` (`_tcp_server.py`) or `UdpSource(settings, protocol,
   context)` (`_udp_server.py`), which `build` of the options returns. Both are ServerSources.

    sockets -> blocks of whole lines -> split -> LineProtocol.events -> ingest -> replies
    (the source's loop thread)        (the put thread: one put at a time)        (loop thread)

`sources/netcat.py` is the shortest example. What the listeners see to, and no protocol has to:
limits, TLS, time-outs, back pressure by not reading, text that is not valid, lines that are too
long, extents and lives, retries of a put that was refused, and replies, which are written only
after the rows are durable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayflume.batch import EventBatch, Header
from rayflume.lines import header_per_piece
from rayflume.sources._ip_filter import IpFilter
from rayflume.sources._tls import ServerTls


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on. Port 0 takes any free one.

    `encoding`: of the text that comes in, by Python's or Java's name; unless it is UTF-8 the lines
    are made UTF-8 before a protocol sees them. UDP takes no other than UTF-8.
    """

    bind: str
    port: int
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent lines, and to which port of this host. `address`: as text, IPv4 in its own form."""

    address: str
    port: int
    local_port: int


@dataclass(frozen=True, slots=True)
class Received:
    """The lines of one put, in the order in which they came from each sender.

    `body`: the lines without LF (a CR stays). `peers[i]` sent the next `rows[i]` of them; a sender
    may be there several times, with no rows too. `cut`: where true, the line was longer than
    `line_max` and goes on in the sender's next row; None where no line was.
    """

    body: pa.BinaryArray
    peers: Sequence[Peer]
    rows: Sequence[int]
    cut: npt.NDArray[np.bool_] | None = None

    def header(self, values: Sequence[str | None]) -> Header:
        """A header from a value for each of `peers` (None: its rows lack it)."""
        return header_per_piece(list(values), list(self.rows))


class LineProtocol(Protocol):
    """Lines to events."""

    def events(self, received: Received) -> EventBatch:
        """The events of these lines, in order, without extents; at most one for each line.

        Never raises for what a line holds: the lines of all senders would be refused. Blocks no
        longer than computing takes.
        """
        ...


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Of TCP connections (S4). Times in milliseconds, 0 for an idle time-out: never.

    `line_rate_min`: bytes per second at which an unfinished line must arrive. `pending_bytes_max`:
    bytes of all unfinished lines together.
    """

    connections_max: int = 1_000
    per_address_max: int = 64
    handshake_timeout_ms: int = 5_000
    idle_timeout_ms: int = 0
    line_rate_min: int = 1024
    pending_bytes_max: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class LineSettings:
    """What a listener of lines was told, resolved and checked. Bytes, milliseconds, connections.

    `source`: its id. `life_prefix`: what the names of all its lives on this host begin with.
    `line_max`: longest line without its LF, in bytes, or with `characters` in Java's characters
    (UTF-16 code units). `cut`: a longer one goes on in the next row; else its connection gets
    `refusal` and is closed. `text`: bytes that are not UTF-8 become U+FFFD, as in Java.
    `reply`: written for each line once it is durable; `failure`: before a connection is closed
    whose lines were given up, because an interceptor failed at them. `unterminated`: text without
    LF before the end of an orderly closed connection is a line. `batch_bytes`: two buffers of that
    size (or of one line, if that is more) are kept. `receive_buffer_bytes`: of a UDP socket, in the
    kernel.
    """

    listeners: tuple[Listener, ...]
    source: str
    life_prefix: str
    line_max: int
    characters: bool = False
    cut: bool = False
    text: bool = False
    unterminated: bool = True
    reply: bytes = b""
    refusal: bytes = b""
    failure: bytes = b""
    batch_bytes: int = 8 * 2**20
    receive_buffer_bytes: int = 32 * 2**20
    limits: ConnectionLimits = ConnectionLimits()
    ip_filter: IpFilter | None = None
    tls: ServerTls | None = None

    @property
    def line_bytes_max(self) -> int:
        """Bytes that a line within the limit may have in UTF-8 (3 for a UTF-16 code unit)."""
        return 3 * self.line_max if self.characters else self.line_max
