"""Settings for TLS of all parts, in Java's properties or in `FLUME_SSL_*` of the environment.

What a source says of itself comes first, then the property (`-D name=value`), then the variable;
TLS itself is switched on in each. Flume 1.11, SSLUtil; user guide: SSL/TLS support.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from rayflume.flume.names import FlumePart, Status
from rayflume.flume.readers import flag
from rayflume.flume.values import Resolver, Surroundings, Value, literal, variable


class _Kind(Enum):
    PATH = "path"
    SECRET = "secret"
    LIST = "list"
    """Parted by commas, where the property of a source has blanks."""


@dataclass(frozen=True)
class _Setting:
    """`prop`: the property of a source that has none of its own and takes this."""

    prop: str
    java: str
    variable: str
    kind: _Kind = _Kind.LIST


_SETTINGS = (
    _Setting("keystore", "javax.net.ssl.keyStore", "FLUME_SSL_KEYSTORE_PATH", _Kind.PATH),
    _Setting(
        "keystore-password", "javax.net.ssl.keyStorePassword", "FLUME_SSL_KEYSTORE_PASSWORD",
        _Kind.SECRET,
    ),
    _Setting("include-protocols", "flume.ssl.include.protocols", "FLUME_SSL_INCLUDE_PROTOCOLS"),
    _Setting("exclude-protocols", "flume.ssl.exclude.protocols", "FLUME_SSL_EXCLUDE_PROTOCOLS"),
    _Setting(
        "include-cipher-suites", "flume.ssl.include.cipherSuites",
        "FLUME_SSL_INCLUDE_CIPHERSUITES",
    ),
    _Setting(
        "exclude-cipher-suites", "flume.ssl.exclude.cipherSuites",
        "FLUME_SSL_EXCLUDE_CIPHERSUITES",
    ),
)  # fmt: skip
TAKEN = frozenset(setting.java for setting in _SETTINGS)
"""Java's properties that a source can take."""


class GlobalTls:
    """The settings of one process. `resolver`: gets variables that the plan refers to."""

    def __init__(self, around: Surroundings, resolver: Resolver) -> None:
        self._around = around
        self._resolver = resolver
        self.used: set[str] = set()
        """Java's properties that a source has taken."""

    def missing(self, part: FlumePart, values: Mapping[str, Value]) -> dict[str, tuple[str, Value]]:
        """What a source with `ssl = true` does not say itself: property -> (where it is said, it).

        The plan has the name of a variable in the place of a password.
        """
        switch = next((v for name, v in values.items() if _option(part, name) == "ssl"), None)
        if part.status is not Status.DONE or switch is None or not flag(switch.text):
            return {}
        given = {_option(part, name) for name in values}
        found = {}
        for setting in _SETTINGS:
            option = _option(part, setting.prop)
            said = self._said(setting) if option and option not in given else None
            if said is not None:
                where, text, written = said
                key = f"{switch.key.rpartition('.')[0]}.{setting.prop}"
                found[setting.prop] = where, Value(text, written, key, switch.place)
        return found

    def _said(self, setting: _Setting) -> tuple[str, str, str] | None:
        """(where, the text, as the plan writes it)."""
        defined = self._around.defines.get(setting.java, "").strip()
        text = defined or self._around.environ.get(setting.variable, "").strip()
        if not text:
            return None
        where = setting.variable
        if defined:
            where = f"-D {setting.java}"
            self.used.add(setting.java)
        if setting.kind is _Kind.LIST:
            text = " ".join(text.replace(",", " ").split())
            return where, text, literal(text)
        if setting.kind is _Kind.SECRET and defined:
            self._resolver.defined.add(setting.java)
            self._resolver.exported[setting.variable] = text
        elif defined:
            return where, text, literal(text)
        return where, text, variable(setting.variable)


def _option(part: FlumePart, name: str) -> str:
    found = part.find(name)
    return found.option if found else ""
