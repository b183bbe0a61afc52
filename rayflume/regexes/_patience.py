"""How long a pattern may take for one text where Python matches: some take for ever.

RE2 is linear in the text. Python's `regex` tries all ways to match, of which there may be 2**n for
n characters (`(a|aa)+$`), and who sends the text may know that. A text that takes too long counts
as one that does not match. Meanwhile others may run: matching holds no lock of the interpreter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

TEXT_S = 1.0
"""CPU time that a text may take, after which it is given up."""
_LEAST_S = 0.002

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Patience:
    """For the texts of one batch. With each that is given up the next may take half as long, so a
    whole batch of them takes two seconds and not thousands.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._limit_s = TEXT_S
        self.given_up = 0

    def of(self, work: Callable[[float], _T], instead: _T) -> _T:
        """What `work` makes of a text in so many seconds, `instead` when it takes longer."""
        try:
            return work(self._limit_s)
        except TimeoutError:
            self.given_up += 1
            self._limit_s = max(_LEAST_S, self._limit_s / 2)
            return instead

    def tell(self) -> None:
        """At the end of the batch: one line in the log if any text was given up."""
        if self.given_up:
            _log.warning(
                "the pattern %.200r took too long for %d texts, which count as not matching",
                self._pattern, self.given_up,
            )  # fmt: skip


class Deadline:
    """CPU time of this thread. `check` raises TimeoutError behind it."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.thread_time() + limit_s

    def check(self) -> None:
        if time.thread_time() > self._end:
            raise TimeoutError
