"""One TCP connection of a source of lines: its socket, what it is owed, and when it is too slow.

Time is judged by `overdue`, a pure function that a sweep calls a few times a second for every
connection; there are no timers per connection.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from enum import Enum

from rayflume.sources._line_protocol import ConnectionLimits
from rayflume.sources._line_reader import LineReader

RATE_GRACE_MS = 5_000
"""The rate of an unfinished line is not looked at before this time."""
SILENT_MS = 60_000
"""After so long a silent connection gives way to a new one, and one that reads no replies ends."""
LINGER_MS = 5_000
"""How long the rest of what a refused sender sends is thrown away, so that its answer arrives."""
_REPLY_BYTES = 64 * 2**10
_DISCARD_BYTES = 64 * 2**10
_SCRATCH = memoryview(bytearray(_DISCARD_BYTES))


class Phase(Enum):
    """What a connection waits for."""

    NAME = "name"
    HANDSHAKE = "handshake"
    OPEN = "open"
    ENDING = "ending"
    """Nothing more is read; what it sent is put, and its replies are written."""
    LINGER = "linger"


class Watch(Enum):
    """What the loop waits for on its socket. ROOM: input, as long as there is room for lines."""

    NOTHING = "nothing"
    ROOM = "room"
    INPUT = "input"
    OUTPUT = "output"


class Broken(Exception):
    """The connection cannot be used any more: the peer reset it, or broke the rules of TLS."""


def overdue(phase: Phase, waited_ms: int, unfinished: int | None, limits: ConnectionLimits) -> bool:
    """Whether a connection that made no progress for `waited_ms` is to be cut off.

    `unfinished`: bytes that arrived meanwhile of a line without its end; None when there is none.
    """
    if phase in (Phase.NAME, Phase.HANDSHAKE):
        return waited_ms >= limits.handshake_timeout_ms
    if phase is Phase.LINGER:
        return waited_ms >= LINGER_MS
    if phase is Phase.ENDING:
        return waited_ms >= SILENT_MS
    if unfinished is not None:
        slow = unfinished * 1000 < limits.line_rate_min * waited_ms
        return waited_ms > RATE_GRACE_MS and slow
    return 0 < limits.idle_timeout_ms <= waited_ms


class Connection:
    """`since_ms`: when the phase, the unfinished line or the silence began, on the loop's clock of
    reading. `received`: bytes since then. `blocks`: how many blocks that are not put hold lines of
    it.
    """

    __slots__ = (
        "_broken",
        "_ended",
        "_farewell",
        "_out",
        "_owed",
        "_reply",
        "address",
        "blocks",
        "drain_left",
        "phase",
        "reader",
        "received",
        "since_ms",
        "socket",
        "watch",
    )

    def __init__(self, connected: socket.socket, reader: LineReader, reply: bytes) -> None:
        self.socket = connected
        self.reader = reader
        self.address = reader.sender.peer.address
        self.phase = Phase.OPEN
        self.watch = Watch.NOTHING
        self.since_ms = 0
        self.received = 0
        self.blocks = 0
        self.drain_left: int | None = None
        self._reply = reply
        self._owed = 0
        self._out = b""
        self._farewell: bytes | None = None
        self._broken = ""
        self._ended = False

    @property
    def has_output(self) -> bool:
        return bool(self._out or self._owed or self._farewell)

    @property
    def is_silent(self) -> bool:
        """Whether nothing at all is going on."""
        quiet = not (self.reader.rest or self.blocks or self.has_output)
        return self.phase is Phase.OPEN and quiet

    @property
    def refused(self) -> bool:
        return self._farewell is not None

    def begin(self, phase: Phase, now_ms: int) -> None:
        self.phase, self.since_ms, self.received = phase, now_ms, 0

    def shake_hands(self) -> Watch | None:
        """Go on with the handshake: what to wait for, None when it is done. Raises Broken."""
        assert isinstance(self.socket, ssl.SSLSocket)
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return Watch.INPUT
        except ssl.SSLWantWriteError:
            return Watch.OUTPUT
        except (OSError, ValueError) as error:
            raise Broken(_reason(error)) from None
        return None

    def receive(self, place: memoryview) -> int | None:
        """Bytes read, 0 at an orderly end, None when there are none now. Raises Broken."""
        if self._broken:
            raise Broken(self._broken)
        if self._ended:
            return 0
        count = 0
        try:
            count = self.socket.recv_into(place)
            # TLS gives a record of at most 16 KiB at a time.
            while isinstance(self.socket, ssl.SSLSocket) and 0 < count < len(place):
                more = self.socket.recv_into(place[count:])
                count += more
                if not more:
                    self._ended = True
                    break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return count or None
        except (OSError, ValueError) as error:
            self._broken = _reason(error)
            if not count:
                raise Broken(self._broken) from None
        return count

    def has_more(self) -> bool:
        """Whether there is something to receive that no event will tell of."""
        if self._ended or self._broken:
            return True
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def discard(self) -> bool:
        """Throw away what arrives; whether the peer is done."""
        try:
            return self.receive(_SCRATCH) == 0
        except Broken:
            return True

    def owe(self, lines: int) -> None:
        if self._reply:
            self._owed += lines

    def refuse(self, farewell: bytes) -> None:
        """Nothing of it counts any more; this is said behind all replies."""
        self._farewell = farewell

    def write(self) -> Watch | None:
        """Write what is owed: what to wait for, None when all is written. Raises Broken."""
        while self._fill():
            try:
                sent = self.socket.send(self._out)
            except (BlockingIOError, ssl.SSLWantWriteError):
                return Watch.OUTPUT
            except ssl.SSLWantReadError:
                return Watch.INPUT
            except (OSError, ValueError) as error:
                raise Broken(_reason(error)) from None
            self._out = self._out[sent:]
        return None

    def _fill(self) -> bool:
        # Owed replies are a number, so that who reads none of them costs no memory.
        if not self._out and self._owed:
            count = min(self._owed, _REPLY_BYTES // len(self._reply))
            self._owed -= count
            self._out = self._reply * count
        if not self._out and self._farewell:
            self._out, self._farewell = self._farewell, b""
        return bool(self._out)

    def say_goodbye(self) -> None:
        """Tell the peer that nothing more will be written."""
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.socket, ssl.SSLSocket) and self.phase is not Phase.HANDSHAKE:
                self.socket.unwrap()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return type(error).__name__
