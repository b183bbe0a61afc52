"""Certificates for tests, made by `cryptography`: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

_BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_END = datetime.datetime(2049, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Certificate:
    """One certificate with its key, as files of `directory`."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    directory: Path
    name: str

    @property
    def pem(self) -> Path:
        return self.directory / f"{self.name}.pem"

    @property
    def key_pem(self) -> Path:
        return self.directory / f"{self.name}.key"

    def write(self, name: str = "") -> Certificate:
        """Write both PEM files, under another name if one is given."""
        told = Certificate(self.certificate, self.key, self.directory, name or self.name)
        told.pem.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        told.key_pem.write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return told

    def pkcs12(self, password: str, authority: Certificate) -> Path:
        """A store with the certificate, its key and its authority."""
        path = self.directory / f"{self.name}.p12"
        path.write_bytes(
            pkcs12.serialize_key_and_certificates(
                b"flume",
                self.key,
                self.certificate,
                [authority.certificate],
                BestAvailableEncryption(password.encode()),
            )
        )
        return path


def authority(directory: Path, name: str = "ca") -> Certificate:
    """One that signs itself and others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    builder = builder.add_extension(usage, critical=True)
    return Certificate(builder.sign(key, hashes.SHA256()), key, directory, name).write()


def signed(by: Certificate, name: str, end: datetime.datetime = _END) -> Certificate:
    """For a host of that name, and for loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = _builder(subject, by.certificate.subject, key, end).add_extension(
        x509.SubjectAlternativeName(names), critical=False
    )
    certificate = builder.sign(by.key, hashes.SHA256())
    return Certificate(certificate, key, by.directory, name).write()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    end: datetime.datetime = _END,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(end)
    )
