r"""Values from events as parts of lake paths: whatever they hold, they stay one harmless segment.

Invariants: the result holds no `/`, `\` or control character, is never `.` or `..`, has at most
SEGMENT_BYTES_MAX bytes, and different values (up to the cut of very long ones) give different text.
Escapes are Hive's `%XX`, which Spark, DuckDB and pyarrow decode when they read partition values. As
in Hive, what is not ASCII stays as it is: Spark and Hive take each escape for one character, so
they would read two or more for it. Only what could hide or reorder text in a listing is escaped.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

from rayflume.naming import NULL_PARTITION, RESERVED

NULL = NULL_PARTITION
EMPTY = "__EMPTY__"
SEGMENT_BYTES_MAX = 200

_DIGEST_CHARS = 16
_UNSAFE = frozenset("\"#%'*/:=?\\{}[]^<>|~\x7f")
_REORDERS = frozenset(["LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"])
_WINDOWS = frozenset(
    ["CON", "PRN", "AUX", "NUL"] + [f"{name}{n}" for name in ("COM", "LPT") for n in range(1, 10)]
)


def escape(value: bytes | None) -> str:
    """One value as the text of one path segment (behind `name=`).

    Null and empty have fixed tokens, and a value that reads like a token is escaped. Above
    SEGMENT_BYTES_MAX bytes the end is replaced with `~` and a hash of the whole value.
    """
    if value is None:
        return NULL
    if not value:
        return EMPTY
    parts = escape_chars(value, _UNSAFE)
    if parts[0] == "_" and value in (NULL.encode(), EMPTY.encode()):
        parts[0] = "%5F"
    if parts[-1] in (".", " "):
        parts[-1] = _percent(parts[-1].encode())
    if set(parts[:-1]) <= {"."}:
        parts[:-1] = ["%2E"] * (len(parts) - 1)
    return _cut(parts, value)


def guard_segment(segment: str) -> str:
    """A segment without `name=`: not hidden, not reserved, no device name of Windows."""
    if segment[:1] in ("_", ".") or segment.partition(".")[0].upper() in _WINDOWS:
        return _percent(segment[:1].encode()) + segment[1:]
    return segment


def confine(parts: Sequence[str], value: bytes, bytes_max: int = SEGMENT_BYTES_MAX) -> str:
    """A segment with text of events in it: its escaped characters, and what they were made of.

    It is not `.` or `..`, not rayflume's own directory, no device name of Windows, does not end
    with a dot or blank, and has at most `bytes_max` bytes.
    """
    parts = list(parts)
    text = "".join(parts)
    if text.casefold() == RESERVED or text.partition(".")[0].upper() in _WINDOWS:
        parts[0] = _percent(text[0].encode()) + parts[0][1:]
    elif set(text) <= {"."}:
        parts = ["%2E"] * len(text)
    elif text[-1] in ". ":
        parts[-1] = parts[-1][:-1] + _percent(text[-1].encode())
    return _cut(parts, value, bytes_max)


def escape_chars(value: bytes, unsafe: frozenset[str]) -> list[str]:
    """Each character as it is or, if it is unsafe, could hide or reorder text or is not UTF-8, as
    `%XX`.
    """
    return [_escape_char(char, unsafe) for char in value.decode("utf-8", "surrogateescape")]


def _escape_char(char: str, unsafe: frozenset[str]) -> str:
    if char in unsafe or not (char.isprintable() or _harmless(char)):
        return _percent(char.encode("utf-8", "surrogateescape"))
    return char


def _harmless(char: str) -> bool:
    """Spaces, joiners and the like: not printable, but common in text, and they hide nothing."""
    known = unicodedata.category(char) in ("Zs", "Cf")
    return known and unicodedata.bidirectional(char) not in _REORDERS


def _percent(data: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in data)


def _cut(parts: list[str], value: bytes, bytes_max: int = SEGMENT_BYTES_MAX) -> str:
    text = "".join(parts)
    if len(text.encode()) <= bytes_max:
        return text
    kept, size = [], 0
    for part in parts:
        size += len(part.encode())
        if size > bytes_max - _DIGEST_CHARS - 1:
            break
        kept.append(part)
    return f"{''.join(kept)}~{hashlib.sha256(value).hexdigest()[:_DIGEST_CHARS]}"
