"""What the listening sources of Flume have in common: TLS, and an address open to all.

User guide: SSL/TLS support, and the `ssl` properties of each source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rayflume.addresses import is_loopback
from rayflume.flume.names import Finish, Prop, Remark, Severity
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


def listens(option: str = "bind", *, connections: bool = True) -> Finish:
    """The `finish` of a source that listens on the address in `option`, on every one if it is not
    given. `connections`: it takes connections (TCP).
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
        if not with_tls and not is_loopback(str(address)):
            options["dangerously_allow_anonymous"] = True
            yield Remark(
                f"{address} can be reached from other hosts, in plain and by anybody, as in Flume;"
                " use TLS, or bind 127.0.0.1",
                Severity.WARNING,
                option if option in given else "",
            )

    return finish
