"""A running command: its pipes, its end, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import subprocess
from collections.abc import Sequence

from rayflume.component import Context
from rayflume.threads import Event, Thread

_log = logging.getLogger("rayflume.sources.exec")

_PIPE_BYTES = 2**20
_READ_BYTES = 2**18
_TERM_S = 3.0
_LOOK_S = 0.5
_LAST_LOOKS = 64
_SHOWN_BYTES = 256
_SHOWN_LINES = 20
_WINDOW_MS = 1_000
_ERROR_BYTES_MAX = 2**16


class Command:
    """One command, run once or again and again. One thread calls it."""

    def __init__(self, words: Sequence[str], log_errors: bool, context: Context) -> None:
        self._words = list(words)
        self._context = context
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = _ErrorPipe(log_errors, context)
        self.starts = 0
        self.exit_code: int | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def last_error(self) -> str:
        """The last line it wrote to standard error, escaped; "" if it is not to be logged."""
        return self._errors.last

    def start(self) -> None:
        """Raises OSError. The command gets a session of its own, so its children can be found."""
        self._process = subprocess.Popen(
            self._words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._context.directory,
            start_new_session=True,
        )
        self.starts += 1
        assert self._process.stdout is not None and self._process.stderr is not None
        out = self._process.stdout.fileno()
        os.set_blocking(out, False)
        with contextlib.suppress(OSError):  # a user may have only so many bytes in pipes
            fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._errors.follow(self._process.stderr.fileno())

    def read(self) -> bytes | None:
        """What it wrote since, b"" at the end of its output; None: nothing now. Never blocks."""
        if self._process is None or self._process.stdout is None:
            return b""
        try:
            return os.read(self._process.stdout.fileno(), _READ_BYTES)
        except BlockingIOError:
            return None

    def has_ended(self) -> bool:
        """Whether it ended by itself; `exit_code` tells how. Asked after the end of its output."""
        if self._process is None:
            return True
        code = self._process.poll()
        if code is None:
            return False
        self.exit_code = code
        level = logging.INFO if code == 0 else logging.WARNING
        _log.log(level, "%s: the command ended with %s", self._context.part, _in_words(code))
        self._close()
        return True

    def stop(self) -> None:
        """End it and all it started. Blocks for 3 s at most, unless the system cannot kill it."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_TERM_S)
        # Also when it ended at once: what it started may not have.
        self._signal(signal.SIGKILL)
        self.exit_code = self._process.wait()
        self._close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _close(self) -> None:
        assert self._process is not None
        self._errors.leave()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._process = None


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class _ErrorPipe:
    """Reads standard error in a thread of its own, or a full pipe would stop the command."""

    def __init__(self, log_lines: bool, context: Context) -> None:
        self._log_lines = log_lines
        self._context = context
        self._thread: Thread | None = None
        self._leaving = context.threads.event()
        self._window_ms = -_WINDOW_MS
        self._shown = self._hidden = 0
        self.last = ""

    def follow(self, fd: int) -> None:
        self._leaving = leaving = self._context.threads.event()
        name = f"{self._context.part}-stderr"
        self._thread = self._context.threads.start(name, lambda: self._run(fd, leaving))

    def leave(self) -> None:
        """Whatever was written so far is read when it returns. Blocks for a moment."""
        self._leaving.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, fd: int, leaving: Event) -> None:
        rest = b""
        # Something it started may live on and write for ever.
        looks_left = _LAST_LOOKS
        while looks_left:
            last_look = leaving.is_set()
            looks_left -= last_look
            ready, _, _ = select.select([fd], [], [], 0 if last_look else _LOOK_S)
            if not ready and last_look:
                break
            if ready:
                data = os.read(fd, _READ_BYTES)
                if not data:
                    break
                if self._log_lines:
                    *lines, rest = (rest + data).split(b"\n")
                    rest = rest[:_ERROR_BYTES_MAX]
                    self._show(lines)
        if rest:
            self._show([rest])

    def _show(self, lines: list[bytes]) -> None:
        for line in lines:
            now = self._context.clock.monotonic_ms()
            if now - self._window_ms >= _WINDOW_MS:
                if self._hidden:
                    _log.warning(
                        "%s: %d more lines of standard error", self._context.part, self._hidden
                    )
                self._window_ms, self._shown, self._hidden = now, 0, 0
            self.last = escaped(line)
            if self._shown < _SHOWN_LINES:
                self._shown += 1
                _log.warning("%s: standard error: %s", self._context.part, self.last)
            else:
                self._hidden += 1


def escaped(line: bytes) -> str:
    """At most 256 bytes of a line as printable ASCII."""
    text = line[:_SHOWN_BYTES].rstrip(b"\r").decode("utf-8", "backslashreplace")
    shown = ascii(text)[1:-1]
    return f"{shown} ..." if len(line) > _SHOWN_BYTES else shown
