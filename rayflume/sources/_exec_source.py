"""A command's output as a source that is polled."""

from __future__ import annotations

import codecs
import logging
import secrets
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rayflume.batch import EventBatch, Extent
from rayflume.charsets import is_ascii_based
from rayflume.component import Context
from rayflume.errors import SourceFailed
from rayflume.interfaces import Json, StreamPosition
from rayflume.sources._command import Command
from rayflume.sources._output import OutputLines
from rayflume.sources._stream import stream_prefix
from rayflume.transcode import Transcoder

if TYPE_CHECKING:
    from rayflume.sources.exec import Exec

_log = logging.getLogger("rayflume.sources.exec")

_IDLE_MS = 10
# A pipe holds 1 MiB at most: so often it must be read for 100 MB/s.


class ExecSource:
    """Hands out lines. Implements interfaces.PollableSource.

    Its stream is one life of the source and counts rows; no other life goes on with it. Batches
    stay in memory until they are accepted, for a command cannot be asked again.
    """

    idle_ms = _IDLE_MS

    def __init__(self, options: Exec, context: Context, command: Command) -> None:
        self.prefix = stream_prefix(context, options.id)
        self._stream = f"{self.prefix}{secrets.token_hex(8)}"
        self._options = options
        self._context = context
        self._clock = context.clock
        self._command = command
        self._lines = OutputLines(options.max_line_bytes)
        self._decoder: codecs.IncrementalDecoder | None = None
        self._transcoder = Transcoder(options.charset, options.charset)
        if not is_ascii_based(options.charset):
            self._decoder = codecs.getincrementaldecoder(options.charset)("replace")
            self._transcoder = Transcoder("utf-8", options.charset, "replace")
        self._kept: deque[EventBatch] = deque()
        self._again = 0
        """How many of the kept ones, the last of them, are to be handed out again."""
        self._next = 0
        self._since_ms: int | None = None
        self._start_ms = 0
        self._is_open = False
        self._is_over = False
        self._noted = self._to_its_end = False
        self._is_retired = False
        self._problem = ""
        self._old: list[str] = []

    def start(self, positions: Mapping[str, StreamPosition]) -> None:
        """Start the command. Raises SourceFailed."""
        self._old = [name for name, position in positions.items() if not position.retired]
        try:
            self._command.start()
        except OSError as error:
            raise SourceFailed(f"{self._context.part}: {_not_run(error)}") from error
        self._is_open = True

    # -- reading

    def poll(self) -> EventBatch | None:
        if self._again:
            self._again -= 1
            return self._kept[-self._again - 1]
        if not self._noted or self._to_its_end:
            self._read()
        if not self._is_time():
            return None
        ended = not self._is_open or (self._noted and not self._to_its_end)
        body = self._lines.take(self._options.batch_size, self._options.batch_bytes, ended)
        self._since_ms = None
        if not len(body):
            return None
        extent = Extent(self._stream, self._next, self._next + len(body), len(body))
        batch = EventBatch(self._transcoder.rows(body), {}, (extent,))
        self._next = extent.end
        self._kept.append(batch)
        return batch

    def _read(self) -> None:
        """Take what the pipe holds, up to a batch; see to the command's end and its next start."""
        room = max(self._options.batch_bytes, self._options.max_line_bytes + 1)
        while self._is_open and self._lines.nbytes < room:
            data = self._command.read()
            if data is None:
                return
            if not data:
                self._is_open = False
                self._add(b"", ended=True)
            else:
                self._add(data)
        if not self._is_open and not self._is_over:
            self._await_end()

    def _add(self, data: bytes, *, ended: bool = False) -> None:
        if self._decoder is not None:
            data = self._decoder.decode(data, ended).encode("utf-8", "replace")
            if ended:
                self._decoder.reset()
        self._lines.add(data)
        if self._since_ms is None and self._lines.nbytes:
            self._since_ms = self._clock.monotonic_ms()

    def _await_end(self) -> None:
        if self._command.pid is not None:
            if not self._command.has_ended():
                return
            self._start_ms = self._clock.monotonic_ms() + self._options.restart_throttle
        if not self._options.restart or self._noted:
            self._is_over = True
        elif not self._lines.nbytes and self._clock.monotonic_ms() >= self._start_ms:
            self._run_again()

    def _run_again(self) -> None:
        """What cannot be run now, such as a program that is being replaced, is tried again."""
        self._lines = OutputLines(self._options.max_line_bytes)
        try:
            self._command.start()
        except OSError as error:
            self._start_ms = self._clock.monotonic_ms() + self._options.restart_throttle
            if self._problem != (problem := _not_run(error)):
                _log.warning("%s: %s", self._context.part, problem)
                self._problem = problem
            return
        self._is_open, self._problem = True, ""

    def _is_time(self) -> bool:
        lines, options = self._lines, self._options
        if not lines.nbytes:
            return False
        if not self._is_open or self._noted:
            return True
        if not lines.has_rows:
            return False
        if lines.nbytes >= options.batch_bytes or 0 < options.batch_size <= lines.lines:
            return True
        since = self._since_ms
        return since is None or self._clock.monotonic_ms() - since >= options.batch_timeout

    # -- what the channels say

    def accepted(self, batch: EventBatch) -> None:
        while len(self._kept) > self._again and self._kept[0].extents[0].end <= _end_of(batch):
            self._kept.popleft()

    def rewind(self, stream: str, next: int, stop: int = 0) -> None:
        """Raises SourceFailed if the rows are not in memory any more."""
        places = [batch.extents[0].start for batch in self._kept] + [self._next]
        if stream != self._stream or next not in places:
            raise SourceFailed(
                f"{self._context.part}: the channel wants the stream {stream!r} again from row "
                f"{next}, but a command's output cannot be read again; start the agent anew to go "
                "on with what the command writes now"
            )
        self._again = len(self._kept) - places.index(next)

    # -- end

    def note_end(self, unterminated: bool = False) -> None:
        """What is in the pipe is the end; with `unterminated`, all that a command writes that is
        not to be restarted.
        """
        if self._noted:
            return
        if not unterminated or self._options.restart:
            self._read()
        self._noted = True
        self._to_its_end = unterminated and not self._options.restart

    def at_end(self) -> bool:
        read = self._is_over or not self._to_its_end
        return self._noted and read and not self._lines.nbytes and not self._again

    def retired(self) -> list[str]:
        """Those of earlier lives, and this one when the command is over and all is accepted."""
        found, self._old = self._old, []
        is_done = self._is_over and not self._kept and not self._lines.nbytes
        if is_done and self._next and not self._is_retired:
            self._is_retired = True
            found.append(self._stream)
        return found

    def describe(self) -> dict[str, Json]:
        """The command's process, how often it was started, how it ended last, what waits."""
        return {
            "pid": self._command.pid,
            "starts": self._command.starts,
            "exit_code": self._command.exit_code,
            "std_err": self._command.last_error,
            "waiting_bytes": self._lines.nbytes,
            "unaccepted_batches": len(self._kept),
            "problem": self._problem,
        }

    def stop(self) -> None:
        """End the command and all it started. Blocks for 3 s at most."""
        self._command.stop()


def _not_run(error: OSError) -> str:
    return f"the command cannot be run: {error.strerror or error}"


def _end_of(batch: EventBatch) -> int:
    return batch.extents[-1].end
