"""Java's names of TLS protocols and cipher suites, as Flume's files have them, for OpenSSL.

Which are on: those offered, limited to the include list if there is one, without the exclude list.
TLS 1.2 and 1.3 are offered and nothing older, whatever a list says. OpenSSL has no switch for a
single cipher suite of TLS 1.3: all three are on, or TLS 1.3 is off.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence

PROTOCOLS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_OLD = {"SSLv2Hello", "SSLv2", "SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1"}
_ALL_1_3 = {
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
}
_JAVA = re.compile(r"(?:TLS|SSL)_(\w+?)_WITH_(\w+)")


def versions(include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Names of the protocols that are on, of PROTOCOLS. Raises ValueError for unknown names and
    when none is left.
    """
    known = {name.lower(): name for name in (*PROTOCOLS, *_OLD)}
    for name in (*include, *exclude):
        if name.lower() not in known:
            raise ValueError(f"{name!r} is no TLS protocol; known: {', '.join(PROTOCOLS)}")
    included = {known[name.lower()] for name in include} or set(PROTOCOLS)
    excluded = {known[name.lower()] for name in exclude}
    found = [name for name in PROTOCOLS if name in included and name not in excluded]
    if not found:
        raise ValueError("no protocol is left: TLSv1.2 and TLSv1.3 are offered, nothing older")
    return found


def openssl_name(name: str) -> str:
    """`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` -> `ECDHE-RSA-AES128-GCM-SHA256`.

    Names that are not of Java's form are returned as they are.
    """
    match = _JAVA.fullmatch(name)
    if match is None:
        return name
    exchange, cipher = match[1], match[2]
    cipher = cipher.removesuffix("_SHA256") if "POLY1305" in cipher else cipher
    cipher = re.sub(r"(AES|ARIA|CAMELLIA)_(\d+)", r"\1\2", cipher)
    cipher = cipher.replace("3DES_EDE_CBC", "DES-CBC3").replace("_CBC_", "_")
    parts = [] if exchange == "RSA" else [exchange]
    return "-".join([*parts, cipher]).replace("_", "-")


def is_of_1_3(name: str) -> bool:
    """Whether it names a cipher suite of TLS 1.3 (RFC 8446, B.4)."""
    return name.startswith("TLS_") and "_WITH_" not in name


def ciphers(include: Sequence[str], exclude: Sequence[str]) -> tuple[str, list[str]]:
    """What to hand to `SSLContext.set_ciphers` ("": OpenSSL's own choice), and the protocols that
    go off because no suite of theirs is listed, as in Java.

    Raises ValueError for what this OpenSSL does not have or cannot do.
    """
    if not include and not exclude:
        return "", []
    default = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _check_known(include, default)
    _check_1_3(include, exclude)
    names = list(include) or [found["name"] for found in default.get_ciphers()]
    excluded = {openssl_name(name) for name in exclude}
    old = [openssl_name(name) for name in names if not is_of_1_3(name)]
    old = [name for name in old if name not in excluded]
    off = [] if old else ["TLSv1.2"]
    if not any(map(is_of_1_3, names)):
        off.append("TLSv1.3")
    if len(off) == len(PROTOCOLS):
        raise ValueError("no cipher suite is left")
    return ":".join(old), off


def _check_known(include: Sequence[str], context: ssl.SSLContext) -> None:
    for name in include:
        if is_of_1_3(name):
            if name not in _ALL_1_3:
                raise ValueError(f"{name!r} is no cipher suite of TLS 1.3 that OpenSSL offers")
            continue
        try:
            context.set_ciphers(openssl_name(name))
        except ssl.SSLError:
            raise ValueError(
                f"the cipher suite {name!r} is not offered by OpenSSL; `openssl ciphers -stdname`"
                " lists those that are"
            ) from None


def _check_1_3(include: Sequence[str], exclude: Sequence[str]) -> None:
    named = {name for name in include if is_of_1_3(name)}
    partly = named and not named >= _ALL_1_3
    if partly or any(name in _ALL_1_3 for name in exclude):
        raise ValueError(
            "cipher suites of TLS 1.3 cannot be chosen one by one in OpenSSL: list all of"
            f" {', '.join(sorted(_ALL_1_3))}, or none and exclude the protocol TLSv1.3"
        )
