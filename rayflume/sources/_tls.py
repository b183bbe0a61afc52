"""TLS of a listening source: certificates of ours and of clients, read anew when files change.

A new certificate takes part in handshakes that begin after it was read (S11); connections that are
open stay. Files that cannot be used leave the ones before in force, and the log says so. There are
no session tickets: a client that only ever sends would never read them, and closing with them
unread resets the connection and loses what is on its way (RFC 9293, 3.6.1); and who resumes a
session shows no certificate.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from rayflume.interfaces import Json
from rayflume.sources._tls_names import PROTOCOLS

Clients: TypeAlias = Literal["none", "optional", "required"]

_JAVA_STORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")  # JKS, JCEKS
_PEM = b"-----BEGIN "

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TlsSettings:
    """`certificate`, `key`: PEM. `keystore` in their place: PKCS12 (or PEM with both).

    `truststore`: PEM or PKCS12 with the authorities of client certificates. `sans`: of a client's
    names (DNS, IP, URI, e-mail) one must be in it; empty allows all. `ciphers`: OpenSSL's list for
    TLS 1.2, "" its own choice.
    """

    source: str
    certificate: Path | None = None
    key: Path | None = None
    keystore: Path | None = None
    keystore_password: str = ""
    truststore: Path | None = None
    truststore_password: str = ""
    clients: Clients = "none"
    sans: frozenset[str] = frozenset()
    versions: tuple[str, ...] = tuple(PROTOCOLS)
    ciphers: str = ""

    def files(self) -> list[Path]:
        named = (self.certificate, self.key, self.keystore, self.truststore)
        return [path for path in named if path is not None]

    def __repr__(self) -> str:  # no password in logs and tracebacks
        return f"TlsSettings({self.source!r})"


class ServerTls:
    """What connections are wrapped with. Raises ValueError or OSError for files that cannot be
    used.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._seen = self._signature()
        self._latest, self.expires = _context(settings)
        self.context = self._latest
        self.context.sni_callback = self._take_latest
        self.last_error = ""

    def _take_latest(
        self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext
    ) -> None:
        # OpenSSL asks in every handshake, whether or not the client names a server.
        if self._latest is not self.context:
            connection.context = self._latest

    def refresh(self) -> None:
        """Read the files anew if one has changed. Blocks for reading small files; never raises."""
        seen = self._signature()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._latest, self.expires = _context(self._settings)
        except (ValueError, OSError) as error:
            self.last_error = _why(error)
            _log.error(
                "source %s: the new TLS files cannot be used, the old ones stay: %s",
                self._settings.source, self.last_error,
            )  # fmt: skip
        else:
            self.last_error = ""
            _log.info("source %s: TLS files read anew", self._settings.source)

    def permits(self, certificate: Mapping[str, object] | None) -> bool:
        """Whether a client with this (verified) certificate may send; see `getpeercert`."""
        if not certificate or not self._settings.sans:
            return True
        return any(name in self._settings.sans for name in names_of(certificate))

    def _signature(self) -> list[tuple[int, int, int]]:
        found = []
        for path in self._settings.files():
            try:
                status = path.stat()
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                found.append((0, 0, 0))
        return found


def tls_facts(tls: ServerTls | None) -> dict[str, Json]:
    """What status shows of it."""
    if tls is None:
        return {"tls": False}
    return {"tls": True, "tls_expires": tls.expires, "tls_error": tls.last_error or None}


def names_of(certificate: Mapping[str, object]) -> Iterator[str]:
    """The alternative names of a certificate as `getpeercert` gives it, in lower case."""
    names = certificate.get("subjectAltName", ())
    for entry in names if isinstance(names, tuple) else ():
        if isinstance(entry[1], str):
            yield entry[1].lower()


def _context(settings: TlsSettings) -> tuple[ssl.SSLContext, str]:
    """A context, and when its certificate expires (ISO 8601)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = PROTOCOLS[settings.versions[0]]
    context.maximum_version = PROTOCOLS[settings.versions[-1]]
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    if settings.ciphers:
        context.set_ciphers(settings.ciphers)
    certificate = _load_own(context, settings)
    _load_trusted(context, settings)
    return context, _expires(certificate)


def _load_own(context: ssl.SSLContext, settings: TlsSettings) -> bytes:
    """Returns the certificate chain as PEM."""
    if settings.keystore is None:
        assert settings.certificate is not None and settings.key is not None
        # An encrypted key must fail here, not ask on the terminal.
        context.load_cert_chain(settings.certificate, settings.key, password="")
        return settings.certificate.read_bytes()
    pem = _read_store(settings.keystore, settings.keystore_password)
    if b"PRIVATE KEY-----" not in pem:
        raise ValueError(f"{settings.keystore} holds no private key")
    with _in_memory(pem) as path:
        context.load_cert_chain(path, password="")
    return pem


def _load_trusted(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.clients == "none":
        return
    assert settings.truststore is not None
    pem = _read_store(settings.truststore, settings.truststore_password)
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError(f"{settings.truststore} holds no certificate")
    context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    required = settings.clients == "required"
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL


def _expires(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.isoformat()


def _read_store(path: Path, password: str) -> bytes:
    """All of a store as PEM: the key first, if there is one, then its certificate, then others."""
    data = path.read_bytes()
    if data.startswith(_JAVA_STORES):
        raise ValueError(
            f"{path} is in Java's own format; convert it: keytool -importkeystore -srckeystore"
            f" {path} -destkeystore {path.with_suffix('.p12')} -deststoretype PKCS12"
        )
    if _PEM in data:
        return data
    try:
        store = pkcs12.load_pkcs12(data, password.encode() or None)
    except ValueError:
        raise ValueError(f"{path} is no PKCS12 file, or its password is another") from None
    pem = b""
    if store.key is not None:
        pem = store.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    found = [store.cert] if store.cert is not None else []
    for entry in (*found, *store.additional_certs):
        pem += entry.certificate.public_bytes(Encoding.PEM)
    return pem


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A path under which OpenSSL can read `data`, which is on no disk."""
    fd = os.memfd_create("key")
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _why(error: ValueError | OSError) -> str:
    if isinstance(error, OSError):  # ssl.SSLError is one
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or type(error).__name__}"
    return str(error)
