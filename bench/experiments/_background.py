"""A loop in a thread, for as long as a `with` block lasts."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self


class Background:
    """Subclasses fill in `_run`, which ends when `_done` is set."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError
