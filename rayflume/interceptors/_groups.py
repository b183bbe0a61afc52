"""Names for the groups of a regular expression, for Arrow extracts only named ones."""

from __future__ import annotations

import re

_STEP = re.compile(
    r"(?P<quoted>\\Q.*?(?:\\E|\Z))"
    r"|(?P<escaped>\\.)"
    r"|(?P<set>\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\])"
    r"|(?P<named>\(\?P?<(?![=!])[^>]*>)"
    r"|(?P<special>\(\?)"
    r"|(?P<open>\()",
    re.DOTALL,
)


def name_groups(pattern: str) -> tuple[str, int]:
    """The pattern with its groups named `g1`, `g2`, ... in the order they open, and their count."""
    count = 0

    def named(match: re.Match[str]) -> str:
        nonlocal count
        if match.lastgroup not in ("named", "open"):
            return match[0]
        count += 1
        return f"(?P<g{count}>"

    return _STEP.sub(named, pattern), count
