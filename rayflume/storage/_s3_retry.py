"""What to do after a failed request, decided without asking anybody: pure functions and values.

A request that the store could not answer is sent again after a pause that doubles, shortened by
chance so that many writers do not come back together. A store that is asked too much is asked less:
the window of requests under way is halved, and widens by one with each round of answers (additive
increase, multiplicative decrease, as TCP does).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

PAUSE_S = 0.1
"""Longest first pause after a failure."""
SLOWER_S = 0.5
"""Longest first pause after the store asked to slow down."""
PAUSE_S_MAX = 20.0

_SLOW_DOWN = {
    "SlowDown", "ServiceUnavailable", "TooManyRequests", "TooManyRequestsException", "Throttling",
    "ThrottlingException", "RequestThrottled", "RequestThrottledException", "RequestLimitExceeded",
    "BandwidthLimitExceeded", "429", "503",
}  # fmt: skip
_EXPIRED = {
    "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired",
}  # fmt: skip
_UNKNOWN_KEY = {"InvalidAccessKeyId", "InvalidToken"}
_UNEXPLAINED = {"400", "403"}
_FAILED = {0, 500, 502, 504}
_TIMED_OUT = {"RequestTimeout", "RequestTimeoutException", "408"}


class Verdict(Enum):
    """What a failed request asks for."""

    FINAL = "the answer stands"
    AGAIN = "the store failed, or did not answer"
    SLOWER = "the store is asked too much"
    RENEW = "other credentials may do"


def expired(code: str) -> bool:
    """Whether an answer says that the credentials were right once."""
    return code in _EXPIRED


def verdict(code: str, status: int) -> Verdict:
    """What the answer to a request asks for. `status` 0: there was no answer.

    An answer to HEAD has no body, so its code is only its status: then 400 and 403 may be about the
    credentials, too. An access key that is not known may be one that was replaced by a newer one.
    """
    if code in _EXPIRED or code in _UNKNOWN_KEY or code in _UNEXPLAINED:
        return Verdict.RENEW
    if status in {429, 503} or code in _SLOW_DOWN:
        return Verdict.SLOWER
    if status in _FAILED or code in _TIMED_OUT:
        return Verdict.AGAIN
    return Verdict.FINAL


def pause_s(found: Verdict, tries: int, retries: int, chance: float) -> float | None:
    """Seconds before the next try, after `tries` that failed; None: give up.

    `chance` is in [0, 1); it shortens the pause to any part of its length. The pause does not
    exceed PAUSE_S_MAX, however many tries there were.
    """
    if found not in {Verdict.AGAIN, Verdict.SLOWER} or tries > retries:
        return None
    first = SLOWER_S if found is Verdict.SLOWER else PAUSE_S
    doublings = min(tries - 1, 16)
    return min(PAUSE_S_MAX, first * 2.0**doublings) * chance


@dataclass(frozen=True)
class Window:
    """How many requests may be under way: between 1 and `ceiling`; at first `ceiling`."""

    ceiling: int
    size: float

    @classmethod
    def open(cls, ceiling: int) -> Window:
        return cls(ceiling, float(ceiling))

    @property
    def room(self) -> int:
        return int(self.size)

    def widened(self) -> Window:
        """After an answer: by one for each `size` answers."""
        return Window(self.ceiling, min(float(self.ceiling), self.size + 1 / self.size))

    def halved(self, under_way: int) -> Window:
        """After the store asked to slow down, when so many requests were under way: half of what
        was really asked of it, not of what was allowed.
        """
        return Window(self.ceiling, max(1.0, min(self.size, float(under_way)) / 2))
