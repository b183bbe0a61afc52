"""Flume's escape sequences in a path and a file prefix, as Flume 1.11 expands them.

Recognised are `%x` with one letter, digit, `_` or `%`, `%{header}` and `%[localhost]`, `%[IP]`,
`%[FQDN]`; anything else is literal text. As in Flume a header that is not there is empty, `%D`
brings directories of its own, and empty directory names vanish. Other than in Flume a value of an
event is only ever a piece of one name: see `Escaped`.

A path has two parts: the base, which holds no escape and is the lake, and the rest, of which the
last name is the prefix of files.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from rayflume.escapes import HOST_NAMES, SEQUENCE
from rayflume.naming import RESERVED
from rayflume.sinks._bucket import TIME_ESCAPES, LocalTime, TextPiece
from rayflume.sinks._escape import SEGMENT_BYTES_MAX, confine, escape_chars

HOST_FIELDS = tuple(f"[{name}]" for name in HOST_NAMES)
TAIL_BYTES_MAX = 110
"""Of a file name behind its prefix: a dot, the id of the delivery, a number and the suffix."""

_NAME_BYTES_MAX = 255
_PATH_BYTES_MAX = 900
_TIME_BYTES_MAX = 26
_VALUE_BYTES_MIN = 40
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*|file:(?=/(?!/))")
_ONE_SLASH = re.compile(r"(?!file:)([A-Za-z][A-Za-z0-9+.-]+:)/(?!/)")
_UNSAFE = frozenset("/\\%:\x7f")
"""HDFS allows no colon in a name."""


@dataclass(frozen=True)
class Escaped:
    """A Template: directories and the prefix of file names, relative to the base.

    Whatever headers hold, the result is a path below the base: separators, colons, control
    characters and what is no UTF-8 become `%XX` (as `%` itself, so that different values differ),
    names are never `.` or `..`, and a name with a value in it that is too long is cut, with a hash.
    """

    pieces: tuple[TextPiece, ...]

    @staticmethod
    def parse(text: str) -> Escaped:
        """Raises ValueError for an escape that Flume has not, and a path that leaves the base."""
        found = Escaped(tuple(_pieces(text)))
        found._check(text)
        return found

    def _check(self, text: str) -> None:
        names = [
            "".join(piece.text if piece.kind == "text" else "x" for piece in name)
            for name in _names(self.pieces)
        ]
        for number, name in enumerate(names):
            if name in (".", ".."):
                raise ValueError(f"{text!r} has the name {name!r} in it: leave it out")
            if any(ord(char) < 32 or char in "\\\x7f" for char in name):
                raise ValueError(f"{text!r} has a backslash or control character in it")
            room = _NAME_BYTES_MAX - (TAIL_BYTES_MAX if number == len(names) - 1 else 0)
            if len(name.encode()) > room:
                raise ValueError(f"a name in {text[:80]!r}... has over {room} bytes")
        # A name before it may be empty, and then vanish.
        if any(name.casefold() == RESERVED for name in names):
            raise ValueError(f"{RESERVED} is rayflume's own directory: choose another name")
        if self._value_bytes < _VALUE_BYTES_MIN:
            raise ValueError(f"{text[:80]!r}... is too long, or has too many headers in it")

    @cached_property
    def _value_bytes(self) -> int:
        """What a name with values in it may have, so that the whole path is not too long."""
        texts = sum(len(p.text.encode()) for p in self.pieces if p.kind == "text")
        times = sum(_TIME_BYTES_MAX for piece in self.pieces if piece.kind == "time")
        valued = [name for name in _names(self.pieces) if any(p.kind == "field" for p in name)]
        room = _PATH_BYTES_MAX - TAIL_BYTES_MAX - texts - times
        return min(SEGMENT_BYTES_MAX, room // max(1, len(valued)))

    def render(self, at: LocalTime | None, fields: Mapping[str, bytes | None]) -> str:
        """Directories and prefix, joined with `/`; the prefix may be empty."""
        names = [_Name()]
        for piece in self.pieces:
            if piece.kind == "field":
                names[-1].add_value(fields[piece.text] or b"")
                continue
            text = piece.text
            if piece.kind == "time":
                shown = at.exact if text == "t" else at.rounded  # type: ignore[union-attr]
                text = TIME_ESCAPES[text][1](shown)
            first, *others = text.split("/")
            names[-1].add(first)
            names += [_Name(other) for other in others]
        prefix_max = min(self._value_bytes, _NAME_BYTES_MAX - TAIL_BYTES_MAX)
        shown = [name.text(self._value_bytes) for name in names[:-1]]
        return "/".join([*(name for name in shown if name), names[-1].text(prefix_max)])


class _Name:
    """One name of a path, in the making."""

    def __init__(self, text: str = "") -> None:
        self._parts = list(text)
        self._raw = text.encode()
        self._valued = False

    def add(self, text: str) -> None:
        self._parts += text
        self._raw += text.encode()

    def add_value(self, value: bytes) -> None:
        self._parts += escape_chars(value, _UNSAFE)
        self._raw += value
        self._valued = True

    def text(self, bytes_max: int) -> str:
        if not self._valued or not self._parts:
            return "".join(self._parts)
        return confine(self._parts, self._raw, bytes_max)


def split_base(path: str, prefix: str) -> tuple[str, Escaped]:
    """A path and a file prefix with escapes -> the lake, and what is below it.

    `hdfs://nn/flume/%Y/x`, `web` -> `hdfs://nn/flume`, `%Y/x/web`. Raises ValueError.
    """
    single = _ONE_SLASH.match(path)
    if single:
        raise ValueError(f"{path!r} has one slash behind {single[1]}: write {single[1]}///path")
    match = _SCHEME.match(path)
    root = match[0] if match else ""
    if "%" in root:
        raise ValueError(f"{root!r} has an escape in it: the store cannot depend on the event")
    if root == "file:":
        root = "file://"
    rest = path[len(match[0]) :] if match else path
    fixed: list[str] = []
    moving: list[str] = []
    for name in rest.split("/"):
        found = list(_pieces(name))
        if moving or any(piece.kind != "text" for piece in found):
            moving.append(name)
        elif name or not fixed:
            fixed.append("".join(piece.text for piece in found))
    base = "/".join(fixed)
    if fixed == [""] and rest.startswith("/"):
        base = "/"
    escaped = Escaped.parse("/".join([*(name for name in moving if name), prefix]))
    return (root + base) or ".", escaped


def _pieces(text: str) -> Iterator[TextPiece]:
    end = 0
    for match in SEQUENCE.finditer(text):
        if match.start() > end:
            yield TextPiece(text[end : match.start()], "text")
        end = match.end()
        yield _piece(match, text)
    if end < len(text):
        yield TextPiece(text[end:], "text")


def _piece(match: re.Match[str], text: str) -> TextPiece:
    if match["header"]:
        return TextPiece(match["header"], "field")
    if match["host"]:
        for name in HOST_FIELDS:
            if name[1:-1].casefold() == match["host"].casefold():
                return TextPiece(name, "field")
        raise ValueError(f"{match[0]!r} in {text!r} is no escape; known: %{' %'.join(HOST_FIELDS)}")
    if match["one"] == "%":
        return TextPiece("%", "text")
    if match["one"] in TIME_ESCAPES:
        return TextPiece(match["one"], "time")
    known = " ".join(f"%{letter}" for letter in TIME_ESCAPES)
    raise ValueError(
        f"{match[0]!r} in {text!r} is no escape (Flume writes nothing for it); known: {known} %% "
        f"%{{header}} %{' %'.join(HOST_FIELDS)}"
    )


def _names(pieces: tuple[TextPiece, ...]) -> list[list[TextPiece]]:
    """The pieces of each name between the separators; at least one name."""
    names: list[list[TextPiece]] = [[]]
    for piece in pieces:
        if piece.kind == "text":
            first, *others = piece.text.split("/")
            names[-1].append(TextPiece(first, "text"))
            names += [[TextPiece(other, "text")] for other in others]
        else:
            names[-1].append(piece)
    return names


@cache
def host_values() -> Mapping[str, str]:
    """What `%[localhost]`, `%[IP]` and `%[FQDN]` say on this host: found once, as in Flume."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        address = "127.0.0.1"
    return dict(zip(HOST_FIELDS, (name, address, socket.getfqdn(name)), strict=True))
