"""Properties of parts that rayflume has not, written short.

    refused("belongs to the Avro sink, ...", "hostname!", "port!", "batch-size=100", "ssl=false")

A name that ends in `!` is required; what follows `=` is Flume's default.
"""

from __future__ import annotations

from rayflume.flume.names import Prop

KEYTAB = (
    "a keytab is not read; before the start say `kinit -kt KEYTAB PRINCIPAL`, and renew the ticket "
    "with `k5start` or cron: rayflume uses the ticket cache that KRB5CCNAME names"
)
KEYSTORE = (
    "a Java keystore is not read; export certificate and key as PEM: `keytool -importkeystore "
    "-srckeystore STORE -destkeystore x.p12 -deststoretype PKCS12`, then `openssl pkcs12 -in x.p12`"
)
SERVER_TLS = (
    "ssl=false", "keystore", "keystore-password", "keystore-type=JKS", "exclude-protocols=SSLv3",
    "include-protocols", "exclude-cipher-suites", "include-cipher-suites",
)  # fmt: skip
CLIENT_TLS = (
    "ssl=false", "truststore", "truststore-password", "truststore-type=JKS",
    "exclude-protocols=SSLv3", "include-protocols", "exclude-cipher-suites",
    "include-cipher-suites",
)  # fmt: skip


def refused(why: str, *written: str) -> tuple[Prop, ...]:
    """A property for each text, all not honoured for the same reason."""
    found = []
    for text in written:
        name, equals, default = text.partition("=")
        required = name.endswith("!")
        found.append(
            Prop(name.removesuffix("!"), default if equals else None, required=required, why=why)
        )
    return tuple(found)
