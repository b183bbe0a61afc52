"""The thread that puts: blocks of lines to events, into the channel, until it takes them.

One put at a time. A put that the channel refused for want of room, or because it restarts, is
offered again with the same extents, so that of several required channels those that have it do not
store it twice; meanwhile nothing is read. A channel that lost its place in the life refuses for
good: then a new life begins with the same rows. Rows at which an interceptor or a protocol fails
(a bug of theirs) are tried three times; then their senders are told and the rows are given up,
counted and logged, so that nobody can stop all others with one line.

Nobody waits for a put whose lines get no reply, and a put costs about the same for one line as for
a thousand: after a small one the thread rests for a moment, in which the next block grows.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from rayflume.batch import EventBatch
from rayflume.errors import PutRefused, RayflumeError
from rayflume.interfaces import Ingest
from rayflume.metrics import Metrics
from rayflume.sources._life import Life
from rayflume.sources._line_block import Block, split
from rayflume.sources._line_protocol import LineProtocol, LineSettings, Received
from rayflume.sources._log_limit import LogLimit

_HOLD_OFF_S, _HOLD_OFF_S_MAX = 0.1, 1.0
_TRIES_MAX = 3
_SMALL_BYTES, _REST_S = 256 * 2**10, 0.02
_STOP_WAIT_S = 10.0

_log = logging.getLogger(__name__)


class PutThread:
    """Takes blocks one after the other. `done(block, stored)` is called in its thread."""

    def __init__(
        self,
        settings: LineSettings,
        protocol: LineProtocol,
        ingest: Ingest,
        metrics: Metrics,
        log: LogLimit,
    ) -> None:
        self._settings = settings
        self._protocol = protocol
        self._ingest = ingest
        self._metrics = metrics
        self._log = log
        self._blocks: queue.SimpleQueue[tuple[Block, _Done] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self.life = Life.begin(settings.life_prefix)
        self.retired: deque[str] = deque()
        self.last_error = ""
        # A daemon: a channel that never answers must not keep the process alive.
        self._thread = threading.Thread(
            target=self._run, name=f"rayflume-{settings.source}-put", daemon=True
        )
        self._thread.start()

    def submit(self, block: Block, done: _Done) -> None:
        self._blocks.put((block, done))

    def close(self) -> None:
        """Blocks until the put in hand is over, but not for ever."""
        self._stopping.set()
        self._blocks.put(None)
        self._thread.join(_STOP_WAIT_S)
        if self.life.next:
            self.retired.append(self.life.stream)

    def _run(self) -> None:
        while (work := self._blocks.get()) is not None:
            block, done = work
            stored = self._store(block)
            if block.used < _SMALL_BYTES and not self._settings.reply:
                self._stopping.wait(_REST_S)
            done(block, stored)

    def _store(self, block: Block) -> bool:
        """Whether the lines of a block are durable; False when they were given up."""
        tries, hold_off = 0, _HOLD_OFF_S
        batch: EventBatch | None = None
        received: Received | None = None
        while not self._stopping.is_set():
            try:
                # Splitting twice would refuse a sender's lines that it took the first time.
                received = received or split(block, self._settings)
                batch = batch or self._protocol.events(received)
                self._put(batch)
                return True
            except RayflumeError as error:
                self._refused(error)
            except Exception as error:
                tries += 1
                if self._failed(error, tries):
                    return False
            self._stopping.wait(hold_off)
            hold_off = min(2 * hold_off, _HOLD_OFF_S_MAX)
        return False

    def _put(self, batch: EventBatch) -> None:
        rows = batch.num_rows
        if rows:
            self._ingest(replace(batch, extents=(self.life.extent(rows),)))
            self.life = self.life.after(rows)
        self.last_error = ""

    def _refused(self, error: RayflumeError) -> None:
        self.last_error = error.message
        # The runner hides it in ChannelClosed.
        if isinstance(error, PutRefused) or isinstance(error.__cause__, PutRefused):
            self.retired.append(self.life.stream)
            self.life = Life.begin(self._settings.life_prefix)
        self._log.warning("rows wait, for they were refused: %s", error.message)

    def _failed(self, error: Exception, tries: int) -> bool:
        """Whether it was the last try."""
        self.last_error = f"{type(error).__name__} in a put"
        self._metrics.add("GenericProcessingFail")
        _log.error("a put of the source %s failed", self._settings.source, exc_info=error)
        return tries >= _TRIES_MAX


_Done = Callable[[Block, bool], None]
