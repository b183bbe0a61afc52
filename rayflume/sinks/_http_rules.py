"""What an HTTP status means for the event that was sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Rule = tuple[bool, Mapping[str, bool]]
"""The default, and what single codes (`503`) and groups (`5XX`) say."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rollback`: send it again. `backoff`: wait first. `counts`: it is delivered."""

    rollback: bool
    backoff: bool
    counts: bool


NO_ANSWER = Verdict(rollback=True, backoff=True, counts=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """Each of the three is decided by itself."""

    rollback: Rule
    backoff: Rule
    counts: Rule

    def verdict(self, status: int) -> Verdict:
        return Verdict(
            _decide(self.rollback, status),
            _decide(self.backoff, status),
            _decide(self.counts, status),
        )


def _decide(rule: Rule, status: int) -> bool:
    default, by_code = rule
    code = str(status)
    return by_code.get(code, by_code.get(f"{code[0]}XX", default))
