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

from rayflume.naming import NULL_PARTITION

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
    parts = [_escape_char(char) for char in value.decode("utf-8", "surrogateescape")]
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


def _escape_char(char: str) -> str:
    if char in _UNSAFE or not (char.isprintable() or _harmless(char)):
        return _percent(char.encode("utf-8", "surrogateescape"))
    return char


def _harmless(char: str) -> bool:
    """Spaces, joiners and the like: not printable, but common in text, and they hide nothing."""
    known = unicodedata.category(char) in ("Zs", "Cf")
    return known and unicodedata.bidirectional(char) not in _REORDERS


def _percent(data: bytes) -> str:
    return "".join(f"%{byte:02X}" for byte in data)


def _cut(parts: list[str], value: bytes) -> str:
    text = "".join(parts)
    if len(text.encode()) <= SEGMENT_BYTES_MAX:
        return text
    kept, size = [], 0
    for part in parts:
        size += len(part.encode())
        if size > SEGMENT_BYTES_MAX - _DIGEST_CHARS - 1:
            break
        kept.append(part)
    return f"{''.join(kept)}~{hashlib.sha256(value).hexdigest()[:_DIGEST_CHARS]}"
