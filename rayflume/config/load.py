"""YAML text -> plain values that know their lines. No object is ever constructed from a tag.

Plain words follow YAML 1.2: only `true` and `false` are booleans (`no` is a text), numbers have no
base 60 and no leading-zero octals, and a date is a text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from rayflume.errors import ConfigError

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow


KeyPath = tuple[str | int, ...]
FILE_BYTES_MAX = 4 * 2**20
_SUFFIXES = (".yaml", ".yml", ".conf", ".properties")
_NODES_MAX = 200_000
"""Aliases count each time they are used, so a small file cannot become a huge value."""
_DEPTH_MAX = 64
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + name for name in ("null", "bool", "int", "float", "timestamp", "value")}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class Document:
    """One YAML document: its value, and the line of every key and list item by path."""

    value: Json
    line: int
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line_of(self, path: KeyPath) -> int:
        """The line of the path, or of the longest beginning of it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


def read(path: Path) -> str:
    """The text of a configuration file. Raises ConfigError saying why it cannot be read."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(
                f"{path} has more than {FILE_BYTES_MAX >> 20} MiB: is it a configuration?"
            )
        return path.read_bytes().decode("utf-8-sig")
    except IsADirectoryError as error:
        inside = _files_in(path)
        raise ConfigError(f"cannot read {path}: {error.strerror}{inside}") from error
    except FileNotFoundError as error:
        near = _files_near(path)
        raise ConfigError(f"cannot read {path}: {error.strerror}{near}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text (byte {error.start}): is it a configuration?"
        ) from error


def _files_in(folder: Path) -> str:
    """What to name instead of a directory."""
    found = _configurations(folder)
    shown = f", for example {folder / found[0]}" if found else ""
    return f"; name the configuration file{shown}"


def _files_near(path: Path) -> str:
    close = difflib.get_close_matches(path.name, _configurations(path.parent), n=1)
    return f"; did you mean {path.with_name(close[0])}?" if close else ""


def _configurations(folder: Path) -> list[str]:
    """Names of files in a folder that may be configurations, sorted; none if it cannot be read."""
    try:
        return sorted(one.name for one in folder.iterdir() if one.suffix in _SUFFIXES)
    except OSError:
        return []


def documents(text: str, file: str) -> list[Document]:
    """All documents of the text that hold anything. Raises ConfigError for broken YAML."""
    try:
        nodes = [node for node in yaml.compose_all(text, yaml.SafeLoader) if node is not None]
        return [_Reader().document(node) for node in nodes]
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_broken(error, file, text)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{file}: nested deeper than {_DEPTH_MAX} levels, or endless") from None


def _broken(error: yaml.MarkedYAMLError, file: str, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"{file}:{mark.line + 1}" if mark else file
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        problem = "a tab cannot indent; use spaces"
    if "mapping values are not allowed" in problem:
        problem = "a second `:` in one line; put text with `: ` in quotes"
    if mark and "${" in _line(text, mark.line):
        problem += "; between braces or brackets put ${NAME} in quotes"
    context = f" {error.context}" if error.context else ""
    return f"{place}: not YAML: {problem}{context}"


def _line(text: str, number: int) -> str:
    """The line with that number from 0; "" at the end, where a bracket that is never closed ends.

    YAML ends lines at fewer characters than `splitlines`, so a line may be missed, not more.
    """
    lines = text.splitlines()
    return lines[number] if number < len(lines) else ""


class _Reader:
    """Turns nodes into values; notes lines and what is wrong on the way."""

    def __init__(self) -> None:
        self._lines: dict[KeyPath, int] = {}
        self._problems: list[tuple[int, str]] = []
        self._nodes = 0

    def document(self, root: yaml.Node) -> Document:
        value = self._value(root, ())
        return Document(value, root.start_mark.line + 1, self._lines, self._problems)

    def _value(self, node: yaml.Node, path: KeyPath) -> Json:
        self._count(len(path))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            values: list[Json] = []
            for index, item in enumerate(node.value):
                self._lines[*path, index] = item.start_mark.line + 1
                values.append(self._value(item, (*path, index)))
            return values
        if isinstance(node, yaml.ScalarNode):
            if node.tag == _TAG + "str":
                return str(node.value)
            if node.tag in _PLAIN_TAGS:
                return _plain(node.value)
        self._report(node, f"the tag {node.tag.replace(_TAG, '!!')} is not supported; remove it")
        return None

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > _DEPTH_MAX or self._nodes > _NODES_MAX:
            raise RecursionError

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Json]:
        values: dict[str, Json] = {}
        for merged in reversed(list(self._merged(node))):  # the earlier wins, own keys win over all
            self._count(len(path))  # also one that is empty: merged twice it is there twice
            values |= self._mapping(merged, path)
        first: dict[str, int] = {}
        for key, item in self._entries(node):
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._report(key, "a key must be a plain word")
                continue
            name = str(key.value)
            if name in first:
                self._report(key, f"{name!r} is here twice; the first is in line {first[name]}")
                continue
            first[name] = line
            self._lines[*path, name] = line
            values[name] = self._value(item, (*path, name))
            if name == "type" and item.value == "null":
                values[name] = "null"  # the name of a sink
        return values

    def _entries(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        return ((key, item) for key, item in node.value if key.tag != _TAG + "merge")

    def _merged(self, node: yaml.MappingNode) -> Iterator[yaml.MappingNode]:
        for key, item in node.value:
            if key.tag != _TAG + "merge":
                continue
            for part in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                if isinstance(part, yaml.MappingNode):
                    yield part
                else:
                    self._report(key, "`<<` takes a mapping or a list of mappings")

    def _report(self, node: yaml.Node, text: str) -> None:
        self._problems.append((node.start_mark.line + 1, text))


def _plain(text: str) -> Json:
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false") and text[1:] in (text[1:].lower(), text[1:].upper()):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text) if len(text) < 40 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
