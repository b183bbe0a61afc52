"""What the listening sources of Flume have in common: TLS, and an address open to all.

User guide: SSL/TLS support, and the `ssl` properties of each source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayflume.addresses import is_loopback
from rayflume.flume.names import Finish, FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import flag, words

if TYPE_CHECKING:
    from rayflume.interfaces import Json

_OLDER = "TLS 1.2 and 1.3 are offered, and nothing older whatever is listed"

SERVER_TLS = (
    Prop("ssl", "false", "ssl", flag),
    Prop(
        "keystore",
        option="keystore",
        why="PKCS12 is read; Java's own format (JKS) is to be converted first: keytool"
        " -importkeystore -srckeystore OLD -destkeystore NEW.p12 -deststoretype PKCS12",
    ),
    Prop("keystore-password", option="keystore_password"),
    Prop(
        "keystore-type",
        "JKS",
        severity=Severity.NOTE,
        why="what a key store is, is seen in the file itself; remove it",
    ),
    Prop("exclude-protocols", "SSLv3", "exclude_protocols", words),
    Prop("include-protocols", option="include_protocols", read=words, why=_OLDER),
    Prop("exclude-cipher-suites", option="exclude_cipher_suites", read=words),
    Prop(
        "include-cipher-suites",
        option="include_cipher_suites",
        read=words,
        why="those of TLS 1.3 are all on or all off",
    ),
)
"""The properties of a source that listens with TLS."""
_ONLY_WITH_TLS = (
    "keystore", "keystore_password", "exclude_protocols", "include_protocols",
    "exclude_cipher_suites", "include_cipher_suites",
)  # fmt: skip
_CONNECTIONS_MAX = 1_000


@dataclass(frozen=True)
class OpenSource:
    """A source that takes events from anybody who reaches it. `tls`: encrypted."""

    name: str
    address: str
    kind: FlumePart
    tls: bool


def listens(
    option: str = "bind", *, connections: bool = True, certificates: bool = False
) -> Finish:
    """The `finish` of a source that listens on the address in `option`, on every one if it is not
    given. `connections`: it takes connections (TCP). `certificates`: TLS is not enough for
    rayflume, clients must show who they are. That it is open to all is told by `open_to_all`.
    """

    def finish(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
        address = options.setdefault(option, "0.0.0.0")
        with_tls = options.get("ssl") is True
        if not with_tls:
            for name in ("ssl", *_ONLY_WITH_TLS):
                options.pop(name, None)
        elif not options.get("keystore"):
            yield Remark(
                "ssl needs a keystore (PKCS12 or PEM with certificate and key), here or for all in "
                "FLUME_SSL_KEYSTORE_PATH", Severity.ERROR, "keystore",
            )  # fmt: skip
        if connections:
            # Flume has no limit for an address, and clients may come through one proxy.
            options["max_connections_per_address"] = _CONNECTIONS_MAX
        known = options.get("client_certificates") == "required" or not certificates
        if not (with_tls and known) and not is_loopback(str(address)):
            options["dangerously_allow_anonymous"] = True

    return finish


def address_of(options: Mapping[str, Json]) -> str:
    """Where a source with these options is open to all, "" if it is not."""
    if options.get("dangerously_allow_anonymous") is not True:
        return ""
    return str(options.get("bind", options.get("host", "0.0.0.0")))


def open_to_all(sources: Sequence[OpenSource]) -> Iterator[tuple[OpenSource, str]]:
    """A sentence for all sources that anybody may write to in plain, one for those with TLS, each
    with the first of its sources. It names what a Flume file can do about it, and what only YAML
    can.
    """
    for tls in (False, True):
        found = [one for one in sources if one.tls is tls]
        if not found:
            continue
        names = ", ".join(f"{one.name} on {one.address}" for one in found)
        how = "by anybody" if tls else "in plain and by anybody"
        advice = "; ".join(dict.fromkeys(_advice(one) for one in found))
        verb = "can be reached" if len(found) == 1 else "can all be reached"
        text = f"{names} {verb} from other hosts, {how}, as in Flume; bind 127.0.0.1, or {advice}"
        yield found[0], text


def _advice(one: OpenSource) -> str:
    kind = one.kind
    if kind.find("SslContextFactory.needClientAuth"):
        first = "" if one.tls else "ssl = true with a keystore and "
        return (
            f"for {kind.name} {first}SslContextFactory.needClientAuth = true (or a token, in YAML)"
        )
    if kind.find("ssl"):
        return f"for {kind.name} ssl = true with a keystore"
    if kind.find("max-line-length"):
        return f"for {kind.name} a certificate in YAML, for Flume's has no TLS"
    return f"for {kind.name} ip_filter_rules in YAML, for UDP has no TLS"
