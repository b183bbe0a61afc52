"""Logs every row on one bounded line, as Flume does. To try a flow out, not for volume."""

from __future__ import annotations

import logging
from typing import ClassVar

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.sinks._unstaged import UnstagedSink

_HEADERS_CHARS_MAX = 256
_SLICE_ROWS = 1024
_log = logging.getLogger(__name__)


@component
class Logger(Component):
    """Logs every row: `Event: { headers:{k=v} body: 68 65 6C 6C 6F    hello }`.

    What users sent is on that one line, whatever it holds: bytes that are not printable are dots,
    line ends and control characters in headers are escaped, and headers are cut at 256 characters.
    """

    staged: ClassVar[bool] = False

    max_bytes_to_log: int = option(
        "Bytes of each body to show. (Flume 1.11 reads this option but never applies it.)",
        default=16,
        ge=0,
        le=65_536,
    )

    def build(self, context: Context) -> UnstagedSink:
        return UnstagedSink(context.part, self._emit)

    def _emit(self, batch: EventBatch) -> None:
        if not _log.isEnabledFor(logging.INFO):
            return
        for start in range(0, batch.num_rows, _SLICE_ROWS):
            for line in self._lines(batch.slice(start, _SLICE_ROWS)):
                _log.info("%s", line)

    def _lines(self, batch: EventBatch) -> list[str]:
        names = batch.header_names()
        columns = [batch.header(name).cast("binary").to_pylist() for name in names]
        rows = zip(*columns, strict=True) if columns else iter([()] * batch.num_rows)
        lines = []
        for headers, body in zip(rows, batch.body, strict=True):
            pairs = [
                f"{name}={value.decode('utf-8', 'backslashreplace')}"
                for name, value in zip(names, headers, strict=True)
                if value is not None
            ]
            shown = _escape("{" + ", ".join(pairs) + "}", _HEADERS_CHARS_MAX)
            lines.append(f"Event: {{ headers:{shown} body:{self._dump(body.as_buffer())} }}")
        return lines

    def _dump(self, body: object) -> str:
        if body is None:
            return " null"
        data = memoryview(body)[: self.max_bytes_to_log].tobytes()  # type: ignore[arg-type]
        if not data:
            return ""
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
        return f" {data.hex(' ').upper():<47} {text}"


def _escape(text: str, chars_max: int) -> str:
    """User data in our log: on one line, printable, bounded."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:chars_max])
    return shown if len(text) <= chars_max else f"{shown[:chars_max]}..."
