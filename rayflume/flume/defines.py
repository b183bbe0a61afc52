"""What is said of `-D name=value`: nothing that a user gives is passed over in silence.

Flume user guide: Starting an agent, Monitoring, SSL/TLS support.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rayflume.flume import names
from rayflume.flume.findings import Finding, Place
from rayflume.flume.global_tls import TAKEN
from rayflume.flume.names import Severity
from rayflume.flume.values import BARE, BARE_RESOLVER, Surroundings

MONITORING = "flume.monitoring."
MONITORS = ("http", "prometheus")
"""Types of Flume's monitoring that are served, both on one port."""
LOGGER = "flume.root.logger"
_OWN = {
    LOGGER: "there is no log4j; LEVEL,console is what `rayflume run --log-level LEVEL` says",
    "flume.log.dir": "log lines go to stderr, and no log file is written; redirect stderr",
    "flume.log.file": "log lines go to stderr, and no log file is written; redirect stderr",
    "log4j.configuration": "there is no log4j; see `rayflume run --log-level`",
    "log4j.configurationFile": "there is no log4j; see `rayflume run --log-level`",
    "log4j2.configurationFile": "there is no log4j; see `rayflume run --log-level`",
}
_CUSTOM = "<custom class>"
_TRUST = "FLUME_SSL_TRUSTSTORE_PATH", "javax.net.ssl.trustStore"
_NOT_TAKEN = "no source with `ssl = true` takes it: there is none, or each says its own"
_SECRET = (
    "a secret on a command line is seen by all users of this host; set a variable of the "
    "environment instead (FLUME_SSL_KEYSTORE_PASSWORD; ${env:NAME} in the file)"
)
_UNASKED = "nothing reads it: there is no Java here, and nothing in the file asks for `${{sys:{}}}`"


@dataclass(frozen=True)
class Asked:
    """What of the properties has been read: by `${sys:NAME}`, and for TLS of sources. `secrets`:
    which of them must not show.
    """

    names: Collection[str]
    tls: Collection[str]
    secrets: Collection[str]


def defined(around: Surroundings, asked: Asked, file: str) -> Iterator[Finding]:
    """A finding for each property that is not simply honoured. Values are never shown."""
    for name in around.defines:
        said = None if name in asked.names else _said(name, around, asked)
        if name in asked.secrets:
            said = Severity.WARNING, _SECRET
        if said is not None:
            yield Finding(Place(file), said[0], f"-D {name}", said[1])
    variable, java = _TRUST
    if around.environ.get(variable) and (said := _in_table(java)):
        yield Finding(Place(file), Severity.NOTE, variable, said[1])


def _said(name: str, around: Surroundings, asked: Asked) -> tuple[Severity, str] | None:
    if name.startswith(MONITORING):
        return _monitoring(name.removeprefix(MONITORING), around)
    if name in _OWN:
        return Severity.NOTE, _OWN[name]
    if name in TAKEN:
        return None if name in asked.tls else (Severity.NOTE, _NOT_TAKEN)
    if name == BARE and around.defines[name] == BARE_RESOLVER:
        return None
    return _in_table(name) or (Severity.NOTE, _UNASKED.format(name))


def _in_table(name: str) -> tuple[Severity, str] | None:
    for part in names.all_parts():
        found = part.find(name) if part.kind in ("global_ssl", "system_property") else None
        if found is not None:
            return found.severity, f"is not used: {found.why}"
    return None


def _monitoring(name: str, around: Surroundings) -> tuple[Severity, str] | None:
    kind = around.defines.get(f"{MONITORING}type", "")
    if not kind:
        return Severity.WARNING, "is not used without -D flume.monitoring.type=http"
    if kind.lower() in MONITORS:
        if name in ("type", "port"):
            return None
        return Severity.WARNING, f"is nothing that the type {kind.lower()} reads"
    part = names.lookup("monitoring", kind) or names.lookup("monitoring", _CUSTOM)
    if name == "type" and part is not None:
        return Severity.WARNING, f"no metrics are served: {part.why}"
    return Severity.WARNING, "is not used, for its flume.monitoring.type is not"
