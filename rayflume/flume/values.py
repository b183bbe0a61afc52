"""`${...}` in values, as Flume 1.11 resolves it with Apache Commons Text.

    ${env:NAME}     the environment             ${sys:name}   -D name=value, and a few of Java's
    ${date:FORMAT}  the time of reading         ${java:os}    facts of the machine
    ${key}          another key of the file     ${x:-text}    text when x is unknown
    $${x}           the text ${x}               ${a${b}}      the inner one first

What is unknown stays as it is written. A reference to the environment stays one in the plan, so
that no secret is in it.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rayflume.config import resolve
from rayflume.config.fields import names_secret
from rayflume.errors import ConfigError
from rayflume.flume import dates
from rayflume.flume.findings import Finding, Place
from rayflume.flume.grammar import Entry
from rayflume.flume.names import Severity

_CHARACTERS_MAX = 2**20
_DEPTH_MAX = 50
_HIDDEN_CHARACTERS_MIN = 4
"""Shorter ones are in half of all words."""
_UNKNOWN_IN_SECRET = (
    "nothing is known of a `${...}` in it; the text stays as it is, as in Flume; for the "
    "environment write ${env:NAME}"
)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENV_RESOLVER = "org.apache.flume.node.EnvVarResolverProperties"


@dataclass(frozen=True)
class Surroundings:
    """What a file may ask for.

    `defines`: of `-D name=value`. `now_ms`: what `${date:...}` shows. `allow_exec`: programs that
    config filters may run (S15). `java_classes`: a user's own Java class -> the dotted name of the
    Python class in its place.
    """

    environ: Mapping[str, str]
    defines: Mapping[str, str] = field(default_factory=dict)
    now_ms: int = 0
    allow_exec: tuple[str, ...] = ()
    java_classes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Value:
    """A resolved value. `written`: as the plan holds it, references to the environment kept and
    every other `${` escaped. `open`: what is in it still holds references nobody could resolve.
    """

    text: str
    written: str
    key: str
    place: Place
    open: bool = False


Answer = tuple[str, str] | None
"""(the value, as the plan writes it), or nothing is known of the name."""
Filters = Callable[[str], Answer]
"""The inside of `${...}` -> what a config filter says to it."""


def literal(text: str) -> str:
    """The text as the plan writes it, without any reference."""
    return text.replace("${", "$${")


def reference(name: str, value: str) -> Answer:
    """A variable of the environment, kept as such where the plan can say it."""
    return value, f"${{{name}}}" if _ENV_NAME.fullmatch(name) else literal(value)


class Resolver:
    """Resolves the values of one file, or of several merged ones. Findings are collected."""

    def __init__(self, entries: Mapping[str, Entry], around: Surroundings) -> None:
        self._entries = entries
        self._around = around
        self._bare = around.defines.get("propertiesImplementation") == _ENV_RESOLVER
        self._stack: list[str] = []
        self.findings: list[Finding] = []
        self.exported: dict[str, str] = {}
        """Variables that config filters have given values, which the plan refers to."""
        self._hidden: dict[str, str] = {}

    def value(self, entry: Entry, filters: Filters | None = None) -> Value:
        """The value of an entry. Raises ConfigError: it grows beyond all bounds."""
        if "${" not in entry.value:
            return Value(entry.value, entry.value, entry.key, entry.place)
        self._stack = [entry.key]
        run = _Run(self, entry, filters)
        text, written = run.expand(entry.value)
        text = text.strip()
        try:
            environ = {**self._around.environ, **self.exported}
            same = resolve({"": written}, environ)[""] == text
        except ConfigError:
            same = False
        if text and same and written != literal(text):
            self._hidden[text] = written
        return Value(text, written if same else literal(text), entry.key, entry.place, run.open)

    def masked(self, text: str) -> str:
        """The text with references in place of what they stand for: of a variable nobody knows
        whether it is a secret (S12).
        """
        for hidden, written in sorted(self._hidden.items(), key=lambda item: -len(item[0])):
            text = text.replace(repr(hidden), repr(written))
            if len(hidden) >= _HIDDEN_CHARACTERS_MIN:
                text = text.replace(hidden, written)
        return text

    def lookup(self, name: str, run: _Run) -> Answer:
        """What stands for `${name}`."""
        found = self._found(name, run)
        if found is not None and found[0] and found[1] == f"${{{name.removeprefix('env:')}}}":
            self._hidden[found[0]] = found[1]
        return found

    def _found(self, name: str, run: _Run) -> Answer:
        prefix, colon, rest = name.partition(":")
        if colon and prefix in _PREFIXES:
            found = _PREFIXES[prefix](rest, self._around)
            if found is None:
                return None
            return reference(rest, found) if prefix == "env" else (found, literal(found))
        if name in self._entries:
            return self._other_key(name, run)
        if self._bare and name in self._around.environ:
            return reference(name, self._around.environ[name])
        return run.filters(name) if run.filters else None

    def _other_key(self, name: str, run: _Run) -> Answer:
        if name in self._stack or len(self._stack) > _DEPTH_MAX:
            run.tell(
                f"`${{{name}}}` leads back to itself; Flume reads nothing of such a file",
                Severity.ERROR,
            )
            left = f"${{{name}}}"
            return left, literal(left)
        self._stack.append(name)
        try:
            return run.expand(self._entries[name].value)
        finally:
            self._stack.pop()


class _Run:
    """The resolving of one entry."""

    def __init__(self, resolver: Resolver, entry: Entry, filters: Filters | None) -> None:
        self._resolver = resolver
        self._entry = entry
        self._steps = 0
        self.filters = filters
        self.open = False

    def expand(self, text: str) -> tuple[str, str]:
        plain: list[str] = []
        written: list[str] = []
        self._steps += 1
        for literally, name in _pieces(text):
            plain.append(literally)
            written.append(literal(literally))
            if name is not None:
                found = self._reference(name)
                plain.append(found[0])
                written.append(found[1])
        result = "".join(plain)
        if len(result) > _CHARACTERS_MAX or self._steps > 10_000:
            raise ConfigError(f"{self._entry.place}: {self._entry.key}: grows beyond all bounds")
        return result, "".join(written)

    def _reference(self, inside: str) -> tuple[str, str]:
        name = self.expand(inside)[0] if "${" in inside else inside
        name, default, otherwise = name.partition(":-")
        found = self._resolver.lookup(name, self)
        if found is not None:
            return found
        if default:
            return otherwise, literal(otherwise)
        secret = names_secret(self._entry.key)
        self.tell(_UNKNOWN_IN_SECRET if secret else _unknown(name), Severity.WARNING)
        left = f"${{{inside}}}"
        return left, literal(left)

    def tell(self, text: str, severity: Severity) -> None:
        fatal = severity is Severity.ERROR
        self.open = True
        one = Finding(self._entry.place, severity, self._entry.key, text, fatal=fatal)
        if one not in self._resolver.findings:
            self._resolver.findings.append(one)


def _pieces(text: str) -> Iterator[tuple[str, str | None]]:
    """(text up to a reference, the inside of the reference); the last has None."""
    start = position = 0
    before = ""
    while (found := text.find("${", position)) >= 0:
        if found > start and text[found - 1] == "$":
            before += text[start : found - 1] + "${"
            start = position = found + 2
            continue
        end = _closing(text, found)
        if end < 0:
            break
        yield before + text[start:found], text[found + 2 : end]
        before, start = "", end + 1
        position = start
    yield before + text[start:], None


def _closing(text: str, start: int) -> int:
    """Where the brace of the reference at `start` closes; -1 when it does not."""
    depth = 0
    for found in re.compile(r"\$\{|\}").finditer(text, start):
        depth += 1 if found[0] == "${" else -1
        if depth == 0:
            return found.start()
    return -1


def _unknown(name: str) -> str:
    prefix, colon, rest = name.partition(":")
    stays = "the text stays as it is, as in Flume"
    if colon and prefix == "env":
        return f"the environment variable {rest} is not set; {stays}"
    if colon and prefix == "sys":
        return f"the system property {rest} is not given (-D {rest}=...); {stays}"
    if colon and prefix == "date":
        return f"{rest!r} is no date format of Java that is understood here; {stays}"
    if colon and prefix == "java":
        return f"there is no Java whose {rest} could be told; {stays}"
    hint = f"; for the environment write ${{env:{name}}}" if _ENV_NAME.fullmatch(name) else ""
    return f"nothing is known of `${{{name}}}`; {stays}{hint}"


def _of_system(name: str, around: Surroundings) -> str | None:
    if name in around.defines:
        return around.defines[name]
    known: dict[str, Callable[[], str]] = {
        "user.home": lambda: str(Path("~").expanduser()),
        "user.dir": lambda: str(Path.cwd()),
        "user.name": getpass.getuser,
        "java.io.tmpdir": tempfile.gettempdir,
        "os.name": platform.system,
        "os.arch": platform.machine,
        "file.separator": lambda: os.sep,
        "path.separator": lambda: os.pathsep,
    }
    return known[name]() if name in known else None


def _of_machine(name: str, around: Surroundings) -> str | None:
    if name == "os":
        system = f"{platform.system()} {platform.release()}"
        return f"{system}, architecture: {platform.machine()}"
    if name == "hardware":
        return f"processors: {os.cpu_count()}, architecture: {platform.machine()}"
    if name == "locale":
        language = around.environ.get("LANG", "en_US").partition(".")[0]
        return f"default locale: {language}, platform encoding: UTF-8"
    return None


_PREFIXES: dict[str, Callable[[str, Surroundings], str | None]] = {
    "env": lambda name, around: around.environ.get(name),
    "sys": _of_system,
    "date": lambda form, around: dates.formatted(form, around.now_ms),
    "java": _of_machine,
}
