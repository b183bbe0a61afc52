"""The text of `.properties` files -> entries that know their lines.

The grammar is that of java.util.Properties.load; `javaproperties` has it, corners and all. Java
reads the bytes as ISO-8859-1 whatever their author meant. Here text that is UTF-8 or UTF-16 is read
as it was meant, and a note says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from javaproperties import InvalidUEscapeError, KeyValue, parse

from rayflume.errors import ConfigError
from rayflume.flume.findings import Finding, Place
from rayflume.flume.names import Severity

FILE_BYTES_MAX = 4 * 2**20
_TRIMMED = "".join(map(chr, range(33)))
"""What Java's trim() takes off: all control characters, too."""
_LINE_END = re.compile(r"\r\n?|\n")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOMS = {
    b"\xef\xbb\xbf": ("utf-8-sig", "UTF-8 with a byte order mark"),
    b"\xff\xfe": ("utf-16", "UTF-16"),
    b"\xfe\xff": ("utf-16", "UTF-16"),
}
_MEANT = (
    "the file is {}, which Flume reads as ISO-8859-1; it is read here as it was meant. For both to "
    "read the same write it as ASCII, other characters as \\uXXXX"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key = value`, trimmed as Flume trims.

    `earlier`: place and value of the same key before it in this file, which no longer count.
    """

    key: str
    value: str
    place: Place
    earlier: tuple[Place, str] | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """The entries of one or several files, in the order of their keys' last places."""

    entries: dict[str, Entry]
    findings: list[Finding]


def read_files(paths: Sequence[str | Path]) -> Text:
    """Read the files, merged key by key: the later wins. Blocks on the disk.

    Raises ConfigError: a file cannot be read, or is not what Java could read.
    """
    entries: dict[str, Entry] = {}
    findings: list[Finding] = []
    for path in paths:
        text = parse_bytes(read_bytes(Path(path).expanduser()), str(path))
        for key in text.entries:
            entries.pop(key, None)
        entries |= text.entries
        findings += text.findings
    return Text(entries, findings)


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises ConfigError saying why it cannot be read."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            limit = FILE_BYTES_MAX >> 20
            raise ConfigError(f"{path} has more than {limit} MiB: is it a configuration?")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name
        raise ConfigError(f"cannot read {str(path)!r}: {error}") from error


def parse_bytes(data: bytes, file: str) -> Text:
    """Parse the content of one file. Raises ConfigError, and no other, for what Java refuses."""
    text, meant = decoded(data)
    found, told = Text({}, []), not meant
    for number, line in _lines(text):
        place = Place(file, number)
        # What begins with a mark here is no comment: the mark came after a continued line.
        marked = f"\\{line}" if line[:1] in ("#", "!") else line
        try:
            elements = [one for one in parse(marked) if isinstance(one, KeyValue)]
        except InvalidUEscapeError as error:
            raise ConfigError(
                f"{place}: `{error.escape}` is no \\uXXXX escape, and Flume reads nothing of a "
                "file with such; write a backslash as two"
            ) from None
        if not told and not line.isascii():
            found.findings.append(Finding(place, Severity.NOTE, "", _MEANT.format(meant)))
            told = True
        for element in elements:
            _add(element, place, found)
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, joined) for every logical line that is no comment and not blank.

    Joined here and not by the library, whose time grows with the square of what is joined.
    """
    pieces: list[str] = []
    start = 0
    for number, line in enumerate(_LINE_END.split(text), 1):
        stripped = line.lstrip(" \t\f")
        if not pieces:
            if not stripped or stripped[0] in "#!":
                continue
            start = number
        continued = (len(stripped) - len(stripped.rstrip("\\"))) % 2 == 1
        pieces.append(stripped[:-1] if continued else stripped)
        if not continued:
            yield start, "".join(pieces)
            pieces = []
    if pieces:
        yield start, "".join(pieces)


def _add(element: KeyValue, place: Place, found: Text) -> None:
    key, value = _whole(element.key), _whole(element.value)
    if (key, value) != (element.key, element.value):
        text = "half of a surrogate pair is no character; it is replaced"
        found.findings.append(Finding(place, Severity.WARNING, key.strip(_TRIMMED), text))
    key, value = key.strip(_TRIMMED), value.strip(_TRIMMED)
    before = found.entries.pop(key, None)
    earlier = (before.place, before.value) if before else None
    found.entries[key] = Entry(key, value, place, earlier)


def _whole(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def decoded(data: bytes) -> tuple[str, str]:
    """(text, what the encoding is called when it is not the one Flume would read it in).

    Never fails: ISO-8859-1 has a character for every byte.
    """
    for mark, (encoding, name) in _BOMS.items():
        if data.startswith(mark):
            return data.decode(encoding, "replace"), name
    if b"\0" in data[:64]:
        for encoding, zeros in (("utf-16-le", data[1:64:2]), ("utf-16-be", data[:64:2])):
            if zeros and not any(zeros):
                return data.decode(encoding, "replace"), "UTF-16"
    if not data.isascii():
        try:
            return data.decode("utf-8"), "UTF-8"
        except UnicodeDecodeError:
            pass
    return data.decode("iso-8859-1"), ""


_FLUME_LINE = re.compile(r"^[ \t\f]*[^\s:=#!.]+\.(?:sources|channels|sinks)[=: \t\f]", re.MULTILINE)
_YAML_LINE = re.compile(r"^(?:agent|sources|channels|sinks)[ \t]*:", re.MULTILINE)


def is_flume(path: str | Path) -> bool:
    """Whether a file is Flume's: by its name, else by its content. False when it is not readable.

    `.properties` is, YAML's and JSON's endings are not.
    """
    ending = Path(path).suffix.lower()
    if ending in (".properties", ".yaml", ".yml", ".json"):
        return ending == ".properties"
    try:
        text, _ = decoded(read_bytes(Path(path).expanduser()))
    except ConfigError:
        return False
    return bool(_FLUME_LINE.search(text)) and not _YAML_LINE.search(text)
