"""Discards rows: to measure what comes before it, or to let a channel run empty."""

from __future__ import annotations

import logging
import threading
from typing import ClassVar

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option
from rayflume.sinks._unstaged import UnstagedSink

_log = logging.getLogger(__name__)


@component
class Null(Component):
    """Discards every row."""

    staged: ClassVar[bool] = False

    log_every_n_events: int = option(
        "Log a line of progress each time so many rows were discarded; 0: never.",
        default=10_000,
        ge=0,
    )

    def build(self, context: Context) -> UnstagedSink:
        return UnstagedSink(context.part, _Counter(context.part, self.log_every_n_events))


class _Counter:
    def __init__(self, part: str, every: int) -> None:
        self._part = part
        self._every = every
        self._rows = 0
        self._lock = threading.Lock()

    def __call__(self, batch: EventBatch) -> None:
        with self._lock:
            before, self._rows = self._rows, self._rows + batch.num_rows
            rows = self._rows
        if self._every and rows // self._every > before // self._every:
            # One line a batch at most, whatever the number: a batch can hold many times `every`.
            _log.info("Null sink %s successful processed %d events.", self._part, rows)
