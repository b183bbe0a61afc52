"""The loop of a source of lines on TCP: reads blocks of lines, hands them over, writes replies.

One thread. Connections are read only while the block has room: that is all of the back pressure,
and it costs the same for one connection as for a thousand. One block is filled while another is
put; a block is handed over as soon as no put is in flight.

Not asyncio: measured, its protocols cost as much for each read, but they tell of a connection only
after its TLS handshake, and holding back a thousand of them is a thousand calls.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from rayflume.component import Context
from rayflume.interfaces import Json
from rayflume.sources._line_block import Block, Sender
from rayflume.sources._line_protocol import LineSettings
from rayflume.sources._line_reader import Progress, block_bytes
from rayflume.sources._log_limit import LogLimit
from rayflume.sources._poller import Poller
from rayflume.sources._put_thread import PutThread
from rayflume.sources._tcp_accept import Door
from rayflume.sources._tcp_connection import (
    LINGER_MS,
    SILENT_MS,
    Broken,
    Connection,
    Phase,
    Watch,
    overdue,
)
from rayflume.sources._tls import tls_facts

_SWEEP_MS = 250
_DRAIN_BYTES = 8 * 2**20
_DRAIN_QUIET_MS = 200
"""A drain still reads what a sender had sent before: so much at most, until it is quiet so long
(what is in its own buffer comes only as ours empties).
"""


class TcpLoop:
    """`run` is the loop's thread; `drain`, `stop` and the facts are for any other."""

    def __init__(
        self,
        settings: LineSettings,
        context: Context,
        listeners: Sequence[socket.socket],
        put: PutThread,
        log: LogLimit,
    ) -> None:
        self._settings = settings
        self._clock = context.clock
        self._metrics = context.metrics
        self._put = put
        self.log = log
        self.poller = Poller()
        self._connections: dict[int, Connection] = {}
        self._senders: dict[Sender, Connection] = {}
        self._filling, self._spare = (Block(bytearray(block_bytes(settings))) for _ in range(2))
        self._in_block: set[Connection] = set()
        self._in_flight: set[Connection] | None = None
        self._again: dict[int, None] = {}
        self._pending_bytes = 0
        self._next_sweep_ms = 0
        self._next_search_ms = 0
        self._full_since_ms = 0
        self._drain_since_ms: int | None = None
        self._stopping = False
        self.drained = threading.Event()
        self.ended = threading.Event()
        self._door = Door(settings, context, listeners, self)

    # -- for other threads

    def facts(self) -> dict[str, Json]:
        return {
            **tls_facts(self._settings.tls),
            "connections": self._door.gate.open,
            "rejected": self._door.rejected,
            "unfinished_bytes": self._pending_bytes,
            "waiting_bytes": self._filling.used,
        }

    def begin_drain(self) -> None:
        self.poller.call(self._begin_drain)

    def stop(self) -> None:
        self.poller.call(self._stop)

    # -- the loop

    def run(self) -> None:
        try:
            while not self._stopping:
                self._round()
        finally:
            self._door.close()
            for connection in list(self._connections.values()):
                self._close(connection)
            self.ended.set()
            self.drained.set()

    def close(self) -> None:
        """After the loop and the put thread have ended."""
        self.poller.close()

    def _stop(self) -> None:
        self._stopping = True

    def _round(self) -> None:
        at_once = self._again and self.poller.has_room
        rest_ms = _SWEEP_MS if self._drain_since_ms is None else _DRAIN_QUIET_MS // 4
        outer, inner = self.poller.wait(0 if at_once else rest_ms / 1000)
        self.poller.calls()
        for fd in outer:
            connection = self._connections.get(fd)
            if connection is None:
                self._door.accept(fd)
            else:
                self._advance(connection)
        if self.poller.has_room and (inner or self._again):
            self._read_all(inner)
        self._pump()
        now = self._clock.monotonic_ms()
        if now >= self._next_sweep_ms:
            self._next_sweep_ms = now + _SWEEP_MS
            self._sweep(now)
        if self._drain_since_ms is not None:
            self._look_whether_drained(now)

    # -- reading

    def _read_all(self, ready: list[int]) -> None:
        again, self._again = self._again, {}
        received = 0
        for fd in dict.fromkeys([*again, *ready]):
            connection = self._connections.get(fd)
            if connection is None or connection.watch is not Watch.ROOM:
                continue
            count = self._read(connection) if self.poller.has_room else None
            if count is None:
                self._again[fd] = None
            else:
                received += count
        if received:
            self._metrics.add("BytesReceivedCount", received)

    def _read(self, connection: Connection) -> int | None:
        """Bytes read; None when there was no room."""
        reader, block = connection.reader, self._filling
        place = reader.place(block)
        if place is None:
            self.poller.set_room(False)
            self._full_since_ms = self._clock.monotonic_ms()
            return None
        try:
            count = connection.receive(place)
        except Broken as error:
            self._lose(connection, str(error))
            return 0
        if count is None:
            return 0
        before = len(reader.rest)
        progress = reader.took(block, count) if count else reader.end(block)
        self._pending_bytes += len(reader.rest) - before
        self._note(connection, progress, count, begins=not before)
        drained = connection.drain_left is not None and connection.drain_left <= 0
        if count == 0 or progress is Progress.TOO_LONG or drained:
            self._end(connection)
        elif self._pending_bytes > self._settings.limits.pending_bytes_max:
            most = max(self._connections.values(), key=lambda other: len(other.reader.rest))
            self._lose(most, "too many bytes of unfinished lines")
        return count

    def _note(
        self, connection: Connection, progress: Progress, count: int, *, begins: bool
    ) -> None:
        if progress is Progress.PART:
            if begins:
                connection.since_ms, connection.received = self._clock.monotonic_ms(), 0
        else:
            connection.since_ms, connection.received = self._clock.monotonic_ms(), 0
            if connection not in self._in_block:
                self._in_block.add(connection)
                connection.blocks += 1
        connection.received += count
        if connection.drain_left is not None:
            connection.drain_left -= count
            connection.since_ms = self._clock.monotonic_ms()
        if connection.has_more():
            self._again[connection.socket.fileno()] = None

    def _end(self, connection: Connection) -> None:
        """Nothing more is read of it."""
        self._drop_rest(connection, "it ended within a line")
        connection.begin(Phase.ENDING, self._clock.monotonic_ms())
        self.poller.watch(connection, Watch.NOTHING)
        self._advance(connection)

    def _drop_rest(self, connection: Connection, why: str) -> None:
        rest = connection.reader.rest
        if rest:
            self._metrics.add("EventReadFail")
            self.log.warning("%s bytes of an unfinished line of %s are dropped: %s",
                              len(rest), connection.address, why)  # fmt: skip
            self._pending_bytes -= len(rest)
            connection.reader.rest = bytearray()

    # -- putting

    def _pump(self) -> None:
        if self._in_flight is not None or not self._filling.pieces:
            return
        block, self._filling = self._filling, self._spare
        self._in_flight, self._in_block = self._in_block, set()
        if not self.poller.has_room:
            self._resume()
        self._put.submit(block, self._put_is_done)

    def _resume(self) -> None:
        self.poller.set_room(True)
        paused = self._clock.monotonic_ms() - self._full_since_ms
        if paused >= _SWEEP_MS:  # nobody is slow for what was not read
            for connection in self._connections.values():
                connection.since_ms += paused

    def _put_is_done(self, block: Block, stored: bool) -> None:
        self.poller.call(lambda: self._answer(block, stored))

    def _answer(self, block: Block, stored: bool) -> None:
        for piece in block.pieces:
            connection = self._senders.get(piece.sender)
            if not stored:
                self._metrics.add("EventReadFail", piece.lines)
            if connection is None:
                continue
            if stored:
                connection.owe(piece.lines)
            if (piece.refuse or not stored) and not connection.refused:
                self._refuse(
                    connection, self._settings.refusal if stored else self._settings.failure
                )
        flown, self._in_flight = self._in_flight or set(), None
        block.clear()
        self._spare = block
        for connection in flown:
            connection.blocks -= 1
            if connection.socket.fileno() >= 0:
                self._advance(connection)

    def _refuse(self, connection: Connection, farewell: bytes) -> None:
        self._metrics.add("RequestRejectedCount")
        self._pending_bytes -= len(connection.reader.rest)
        connection.reader.rest = bytearray()
        connection.begin(Phase.ENDING, self._clock.monotonic_ms())
        self.poller.watch(connection, Watch.NOTHING)
        connection.refuse(farewell)
        self.log.warning("a line of %s is too long or cannot be taken", connection.address)

    # -- connections

    def admitted(self, connection: Connection) -> None:
        self._connections[connection.socket.fileno()] = connection
        self._senders[connection.reader.sender] = connection
        self._metrics.set("OpenConnectionCount", self._door.gate.open)
        self._advance(connection)

    def dismissed(self, connection: Connection) -> None:
        self._close(connection)

    def _advance(self, connection: Connection) -> None:
        """Whatever a connection waited for has come, or it is time to look."""
        try:
            if connection.phase is Phase.NAME:
                return
            if connection.phase is Phase.HANDSHAKE:
                self._shake_hands(connection)
            elif connection.phase is Phase.LINGER:
                if connection.discard():
                    self._close(connection)
            else:
                self._write(connection)
        except Broken as error:
            self._lose(connection, str(error))

    def _shake_hands(self, connection: Connection) -> None:
        wanted = connection.shake_hands()
        if wanted is not None:
            self.poller.watch(connection, wanted)
            return
        if not self._door.permits(connection):
            self._close(connection)
            return
        connection.begin(Phase.OPEN, self._clock.monotonic_ms())
        self.poller.watch(connection, Watch.ROOM)
        self._again[connection.socket.fileno()] = None  # what came with the handshake

    def _write(self, connection: Connection) -> None:
        now = self._clock.monotonic_ms()
        if connection.has_output:
            wanted = connection.write()
            connection.since_ms, connection.received = now, 0
            if wanted is not None:
                self.poller.watch(connection, wanted)
                return
        if connection.phase is Phase.OPEN:
            self.poller.watch(connection, Watch.ROOM)
            if connection.has_more():
                self._again[connection.socket.fileno()] = None
            return
        self.poller.watch(connection, Watch.NOTHING)
        if connection.blocks == 0:
            connection.say_goodbye()
            if connection.refused:
                connection.begin(Phase.LINGER, now)
                self.poller.watch(connection, Watch.INPUT)
            else:
                self._close(connection)

    def _lose(self, connection: Connection, why: str) -> None:
        self._drop_rest(connection, why)
        self.log.warning("a connection of %s is cut off: %s", connection.address, why)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        self.poller.watch(connection, Watch.NOTHING)
        self._pending_bytes -= len(connection.reader.rest)
        connection.reader.rest = bytearray()
        del self._connections[connection.socket.fileno()]
        del self._senders[connection.reader.sender]
        connection.close()
        self._door.gate.leave(connection.address)
        self._metrics.set("OpenConnectionCount", self._door.gate.open)

    def give_way(self) -> bool:
        """Close the connection that has been silent longest, if that is long enough."""
        now = self._clock.monotonic_ms()
        if now < self._next_search_ms:
            return False
        silent = [other for other in self._connections.values() if other.is_silent]
        oldest = min(silent, key=lambda other: other.since_ms, default=None)
        if oldest is None or now - oldest.since_ms < SILENT_MS:
            self._next_search_ms = now + _SWEEP_MS  # a flood must not make it search each time
            return False
        self._lose(oldest, "another one needs its place")
        return True

    # -- time

    def _sweep(self, now: int) -> None:
        self._door.look_again(now)
        limits = self._settings.limits
        for connection in list(self._connections.values()):
            waited, rest = now - connection.since_ms, connection.reader.rest
            if connection.has_output or connection.blocks:
                slow = connection.has_output and waited >= SILENT_MS
            elif connection.phase is Phase.OPEN and not self.poller.has_room:
                continue
            else:
                unfinished = connection.received if rest else None
                slow = overdue(connection.phase, waited, unfinished, limits)
            if slow:
                self._lose(connection, "it is too slow")

    # -- the end

    def _begin_drain(self) -> None:
        now = self._drain_since_ms = self._clock.monotonic_ms()
        self._door.close()
        for connection in list(self._connections.values()):
            if connection.phase is Phase.OPEN:
                connection.drain_left, connection.since_ms = _DRAIN_BYTES, now
            elif connection.phase is not Phase.ENDING:
                self._close(connection)

    def _look_whether_drained(self, now: int) -> None:
        late = now - (self._drain_since_ms or 0) >= LINGER_MS
        if self.poller.has_room:
            for connection in list(self._connections.values()):
                quiet = now - connection.since_ms >= _DRAIN_QUIET_MS
                if connection.phase is Phase.OPEN and (quiet or late):
                    self._end(connection)
        waiting = self._in_flight is not None or bool(self._filling.pieces)
        if not waiting and (late or not self._connections):
            self.drained.set()
