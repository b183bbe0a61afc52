"""Options for TLS that every listening source has."""

from __future__ import annotations

from pydantic import SecretStr

from rayflume.component import LOCAL_PATH, Component, Context, option
from rayflume.errors import OptionError
from rayflume.sources._tls import Clients, ServerTls, TlsSettings
from rayflume.sources._tls_names import ciphers, versions


class TlsOptions(Component):
    """TLS 1.2 and 1.3, on when a certificate or a key store is named. Changed files are read anew
    within seconds, without a restart.
    """

    ssl: bool | None = option(
        "Flume's switch: false leaves TLS off though files are named, true makes their absence an"
        " error. Absent: on when a certificate or a key store is named.",
        default=None,
    )
    tls_certificate: str = option(
        "PEM file with the certificate chain; with tls_key it turns on TLS 1.2 and 1.3.",
        default="",
        json_schema_extra=LOCAL_PATH,
    )
    tls_key: str = option(
        "PEM file with the private key of tls_certificate, not encrypted.",
        default="",
        json_schema_extra=LOCAL_PATH,
    )
    keystore: str = option(
        "PKCS12 file with certificate and key, in place of tls_certificate and tls_key. Java's own"
        " format (JKS) is to be converted with `keytool -importkeystore -deststoretype PKCS12`.",
        default="",
        json_schema_extra=LOCAL_PATH,
    )
    keystore_password: SecretStr = option("Password of keystore.", default=SecretStr(""))
    truststore: str = option(
        "PEM or PKCS12 file with the authorities whose client certificates are accepted.",
        default="",
        json_schema_extra=LOCAL_PATH,
    )
    truststore_password: SecretStr = option("Password of truststore.", default=SecretStr(""))
    client_certificates: Clients = option(
        "Whether a client must show a certificate of truststore: none, optional (who shows one must"
        " show a good one) or required.",
        default="none",
    )
    client_names: list[str] = option(
        "Of the subject alternative names of a client's certificate (DNS, IP, URI, e-mail) one must"
        " be in this list; empty accepts every certificate of truststore.",
        factory=list,
        example=["web-1.example.com"],
    )
    include_protocols: list[str] = option(
        "Protocols to allow; empty allows TLSv1.2 and TLSv1.3. Older ones are never offered.",
        factory=list,
    )
    exclude_protocols: list[str] = option("Protocols to refuse.", factory=list)
    include_cipher_suites: list[str] = option(
        "Cipher suites to allow, by Java's or OpenSSL's names; empty allows OpenSSL's choice.",
        factory=list,
    )
    exclude_cipher_suites: list[str] = option("Cipher suites to refuse.", factory=list)

    def check(self, context: Context) -> list[str]:
        """What `build` would refuse, certificates included; it opens no socket."""
        self.build(context)
        return []

    def server_tls(self, context: Context) -> ServerTls | None:
        """What to wrap connections with; None without TLS. Raises OptionError."""
        if not self._tls_is_on():
            return None
        try:
            settings = self._tls_settings(context)
            return ServerTls(settings)
        except ValueError as error:
            raise OptionError(f"TLS: {error}") from error
        except OSError as error:  # ssl.SSLError is one
            own = [self.keystore] if self.keystore else [self.tls_certificate, self.tls_key]
            files = " and ".join([*own, *filter(None, [self.truststore])])
            why = error.strerror or type(error).__name__
            which = "keystore" if self.keystore else "tls_certificate, tls_key"
            form = "it must be a PKCS12 file" if self.keystore else "both must be PEM files"
            raise OptionError(f"{which}: cannot use {files}: {why}; {form}") from error

    def _tls_is_on(self) -> bool:
        named = bool(self.tls_certificate or self.tls_key or self.keystore)
        if self.ssl and not named:
            raise OptionError("ssl: name tls_certificate and tls_key, or a keystore")
        if self.ssl is False or not named:
            if self.client_certificates != "none":
                raise OptionError("client_certificates: TLS is off; name a certificate of ours")
            return False
        if self.keystore and (self.tls_certificate or self.tls_key):
            raise OptionError("keystore: leave it out, or tls_certificate and tls_key")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise OptionError("tls_certificate and tls_key: set both or none")
        if self.client_certificates != "none" and not self.truststore:
            raise OptionError("client_certificates: name the authorities in truststore")
        if self.client_certificates == "none" and (self.truststore or self.client_names):
            raise OptionError(
                "truststore, client_names: set client_certificates to optional or required"
            )
        return True

    def _tls_settings(self, context: Context) -> TlsSettings:
        listed, off = ciphers(self.include_cipher_suites, self.exclude_cipher_suites)
        found = versions(self.include_protocols, [*self.exclude_protocols, *off])
        files = {
            name: context.path(text)
            for name, text in (
                ("certificate", self.tls_certificate),
                ("key", self.tls_key),
                ("keystore", self.keystore),
                ("truststore", self.truststore),
            )
            if text
        }
        return TlsSettings(
            context.part,
            **files,
            keystore_password=self.keystore_password.get_secret_value(),
            truststore_password=self.truststore_password.get_secret_value(),
            clients=self.client_certificates,
            sans=frozenset(name.lower() for name in self.client_names),
            versions=tuple(found),
            ciphers=listed,
        )
