"""A pattern under the eyes of the parser, and the escapes that stand for characters."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from rayflume.regexes import _sets as sets

_PLAIN = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "a": "\a", "e": "\x1b"}
_CODE = re.compile(
    r"\\(?:x(?P<x>[0-9a-fA-F]{2})|x\{(?P<long>[0-9a-fA-F]+)\}|0(?P<octal>[0-3]?[0-7]{1,2})"
    r"|c(?P<control>.)|N\{(?P<name>[^}]+)\})",
    re.DOTALL,
)
_UNIT = re.compile(r"\\u+([0-9a-fA-F]{4})")
_PROPERTY = re.compile(r"\\[pP](?:\{(\^?)([^}]+)\}|([A-Za-z]))")


@dataclass
class Reader:
    """`at`: the next character."""

    text: str
    at: int = 0

    @property
    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, what: str) -> bool:
        """Go over `what`, if it is next."""
        found = self.text.startswith(what, self.at)
        self.at += len(what) if found else 0
        return found

    def quoted(self) -> str:
        r"""What stands before the next `\E`, or the rest."""
        end = self.text.find("\\E", self.at)
        found = self.text[self.at : end if end >= 0 else None]
        self.at = len(self.text) if end < 0 else end + 2
        return found

    def skip_comment(self, flags: frozenset[str]) -> bool:
        """Go over one blank or one comment to the line's end, with `(?x)`."""
        if "x" not in flags or self.at_end:
            return False
        if self.peek() in " \t\n\x0b\f\r":
            self.at += 1
            return True
        if self.peek() != "#":
            return False
        end = re.compile("[\n\r\x85\u2028\u2029]|$").search(self.text, self.at)
        self.at = end.end() if end else len(self.text)
        return True


def character(reader: Reader, flags: frozenset[str]) -> str | sets.Ranges:
    """One character, or the set that a shorthand stands for. Raises ValueError."""
    text, at = reader.text, reader.at
    letter = text[at + 1 : at + 2]
    if not letter:
        raise ValueError(r"it ends in a single `\`")
    if letter in "dDsSwWhHvV":
        reader.at += 2
        return sets.shorthand(letter, "U" in flags)
    if letter in "pP":
        return _property(reader, flags)
    if letter in _PLAIN:
        reader.at += 2
        return _PLAIN[letter]
    if letter == "u":
        return _unit(reader)
    found = _CODE.match(text, at)
    if found is not None:
        reader.at = found.end()
        return _coded(found)
    if letter.isascii() and letter.isalnum():
        raise ValueError(rf"`\{letter}` means nothing")
    reader.at += 2
    return letter


def _property(reader: Reader, flags: frozenset[str]) -> sets.Ranges:
    found = _PROPERTY.match(reader.text, reader.at)
    if found is None:
        raise ValueError(r"`\p` must name a class of characters, as in `\p{L}`")
    given = sets.property_set(found[2] or found[3], "U" in flags)
    reader.at = found.end()
    return sets.negated(given) if found[0][1] == "P" else given


def _unit(reader: Reader) -> str:
    found = _UNIT.match(reader.text, reader.at)
    if found is None:
        raise ValueError(r"`\u` must be followed by four hexadecimal digits")
    reader.at = found.end()
    code = int(found[1], 16)
    low = _UNIT.match(reader.text, reader.at)
    if 0xD800 <= code < 0xDC00 and low is not None and 0xDC00 <= int(low[1], 16) < 0xE000:
        reader.at = low.end()
        return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00)
    return chr(code)


def _coded(found: re.Match[str]) -> str:
    if found["control"] is not None:
        return chr(ord(found["control"]) ^ 64)
    if found["name"] is not None:
        try:
            return unicodedata.lookup(found["name"])
        except KeyError:
            raise ValueError(f"there is no character {found['name']!r}") from None
    code = int(found["octal"], 8) if found["octal"] else int(found["x"] or found["long"], 16)
    if code > 0x10FFFF:
        raise ValueError(f"there is no character {code:x}")
    return chr(code)
