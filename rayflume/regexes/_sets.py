"""Sets of characters as ranges of code points: Java's classes by name, and how both engines write
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import regex

Ranges = tuple[tuple[int, int], ...]
"""Sorted `[first, last]` pairs that do not touch."""

_LAST = 0x10FFFF
ALL: Ranges = ((0, _LAST),)
_ASCII = {
    "Lower": "a-z",
    "Upper": "A-Z",
    "ASCII": "\0-\x7f",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "Punct": "!-/:-@[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Blank": " \t",
    "Cntrl": "\0-\x1f\x7f",
    "XDigit": "0-9a-fA-F",
    "Space": " \t-\r",
}
_UNICODE = {
    "d": r"\p{Nd}",
    "s": r"\p{White_Space}",
    "w": r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]",
}
_OF_JAVA = {
    "javaLowerCase": r"\p{Lowercase}",
    "javaUpperCase": r"\p{Uppercase}",
    "javaAlphabetic": r"\p{Alphabetic}",
    "javaDigit": r"\p{Nd}",
    "javaLetter": r"\p{L}",
    "javaLetterOrDigit": r"[\p{L}\p{Nd}]",
    "javaSpaceChar": r"\p{Z}",
    "javaISOControl": r"[\x00-\x1f\x7f-\x9f]",
    "javaWhitespace": r"[\t-\r\x1c-\x1f\p{Z}--[\xa0\u2007\u202f]]",
}


def ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted and joined."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(pairs):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return tuple(found)


def one(char: str) -> Ranges:
    return ((ord(char), ord(char)),)


def negated(given: Ranges) -> Ranges:
    start, found = 0, []
    for first, last in given:
        if start < first:
            found.append((start, first - 1))
        start = last + 1
    return (*found, (start, _LAST)) if start <= _LAST else tuple(found)


def united(one: Ranges, other: Ranges) -> Ranges:
    return ranges((*one, *other))


def common(one: Ranges, other: Ranges) -> Ranges:
    return negated(united(negated(one), negated(other)))


def folded(given: Ranges) -> Ranges:
    """With the other case of every ASCII letter: what Java's `(?i)` does without `(?u)`."""
    both = [*given]
    for first, last in given:
        for low, high, other in ((0x41, 0x5A, 0x20), (0x61, 0x7A, -0x20)):
            start, stop = max(first, low), min(last, high)
            if start <= stop:
                both.append((start + other, stop + other))
    return ranges(both)


TERMINATORS = ranges([(10, 10), (13, 13), (0x85, 0x85), (0x2028, 0x2029)])
VERTICAL = ranges([(10, 13), (0x85, 0x85), (0x2028, 0x2029)])
_HORIZONTAL = ranges((ord(c), ord(c)) for c in "\t \xa0\u1680\u180e\u202f\u205f\u3000")
_HORIZONTAL = ranges((*_HORIZONTAL, (0x2000, 0x200A)))
_SHORT: dict[str, Ranges] = {
    "d": ranges([(48, 57)]),
    "s": ranges([(9, 13), (32, 32)]),
    "w": ranges([(48, 57), (65, 90), (95, 95), (97, 122)]),
    "h": _HORIZONTAL,
    "v": VERTICAL,
}


def shorthand(letter: str, unicode: bool) -> Ranges:
    r"""`\d` and its like; the capital letter is everything else. `unicode`: with `(?U)`."""
    name = letter.lower()
    found = _scanned(_UNICODE[name]) if unicode and name in _UNICODE else _SHORT[name]
    return negated(found) if letter.isupper() else found


def property_set(name: str, unicode: bool) -> Ranges:
    r"""`\p{name}`. Raises ValueError for a name that is not known."""
    if name in _ASCII and not unicode:
        return _ascii(name)
    if name in _OF_JAVA:
        return _scanned(_OF_JAVA[name])
    key = name
    if name in ("L1", "IsL1"):
        return ((0, 0xFF),)
    if name == "all":
        return ALL
    if name == "LC":
        key = "L&"
    try:
        return _scanned(rf"\p{{{key}}}")
    except regex.error:
        raise ValueError(f"there is no class of characters {name!r}") from None


@cache
def _ascii(name: str) -> Ranges:
    text = _ASCII[name]
    pieces, at = [], 0
    while at < len(text):
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            pieces.append((ord(text[at]), ord(text[at + 2])))
            at += 3
        else:
            pieces.append((ord(text[at]), ord(text[at])))
            at += 1
    return ranges(pieces)


@cache
def _all_characters() -> str:
    return "".join(map(chr, range(_LAST + 1)))


@cache
def _scanned(expression: str) -> Ranges:
    """The ranges that one character of an expression of `regex` can be; some 50 ms, once."""
    found = regex.finditer(f"(?:{expression})+", _all_characters(), regex.VERSION1)
    return tuple((match.start(), match.end() - 1) for match in found)


def as_re2(given: Ranges) -> str:
    """A set as RE2 writes it. Not one of UTF-8's surrogates: no text holds them."""
    if given == ALL:
        return "(?s:.)"
    if not given:
        return r"[^\x00-\x{10FFFF}]"
    return _written(given, lambda code: rf"\x{{{code:X}}}")


def as_python(given: Ranges) -> str:
    if given == ALL:
        return "(?s:.)"
    if not given:
        return "(?!)"
    return _written(given, lambda code: rf"\U{code:08X}" if code > 0xFF else rf"\x{code:02X}")


def _written(given: Ranges, escape: Callable[[int], str]) -> str:
    def char(code: int) -> str:
        text = chr(code)
        return text if code < 128 and text.isalnum() else escape(code)

    if len(given) == 1 and given[0][0] == given[0][1] and given[0][0] < 128:
        return char(given[0][0])
    inverse = negated(given)
    sign, chosen = ("^", inverse) if len(inverse) < len(given) else ("", given)
    body = "".join(
        char(first) if first == last else f"{char(first)}-{char(last)}" for first, last in chosen
    )
    return f"[{sign}{body}]"
