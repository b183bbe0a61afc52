"""The grammar of Flume's escape sequences, as Flume 1.11 recognises them: `%x` with one letter,
digit, `_` or `%`, `%{header}` and `%[host]`. Anything else is literal text.
"""

from __future__ import annotations

import re

SEQUENCE = re.compile(r"%(?:(?P<one>[\w%])|\{(?P<header>[\w.-]+)\}|\[(?P<host>\w+)\])", re.ASCII)
TIME_LETTERS = frozenset("aAbBcdDeHIjklmMnpsStyYz")
TIME_HEADER = "timestamp"
"""The header whose epoch milliseconds they show."""
HOST_NAMES = ("localhost", "IP", "FQDN")
"""In brackets, in any case."""


def without_unknown(text: str) -> tuple[str, list[str]]:
    """The text without the escapes that Flume expands to nothing (`%q`), and which they are."""
    unknown = [match[0] for match in SEQUENCE.finditer(text) if _is_unknown(match)]
    return SEQUENCE.sub(lambda m: "" if _is_unknown(m) else m[0], text), unknown


def uses_time(text: str) -> bool:
    """Whether an escape of the text reads a time."""
    return any(match["one"] in TIME_LETTERS for match in SEQUENCE.finditer(text) if match["one"])


def _is_unknown(match: re.Match[str]) -> bool:
    one = match["one"]
    return bool(one) and one != "%" and one not in TIME_LETTERS
