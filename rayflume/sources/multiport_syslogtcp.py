"""Syslog messages by TCP on several ports, as Flume's multiport_syslogtcp source reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rayflume.charsets import codec_of
from rayflume.component import Context, component, option
from rayflume.errors import OptionError
from rayflume.sources._line_protocol import Listener
from rayflume.sources._listen_options import ConnectionOptions
from rayflume.sources._syslog_source import SyslogEvents, SyslogOptions, SyslogTcpSource, Zone
from rayflume.sources._tls_options import TlsOptions
from rayflume.units import ByteSize

_ASCII = bytes(range(128)).decode()


def _ascii_charset(name: str) -> str:
    codec = codec_of(name)
    if _ASCII.encode(codec) != _ASCII.encode():
        raise ValueError(
            f"{name!r} is not ASCII in its lower half, so newlines cannot be found; write one like"
            " utf-8 or iso-8859-1"
        )
    return codec


def _port_list(value: object) -> object:
    """Flume's `ports` is one text with blanks."""
    return value.split() if isinstance(value, str) else value


AsciiCharset = Annotated[str, AfterValidator(_ascii_charset)]
Port = Annotated[int, Field(ge=0, le=65535)]
Ports = Annotated[list[Port], BeforeValidator(_port_list)]


class Charsets(BaseModel):
    """What messages are written in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: AsciiCharset = option("Of all ports that `port` does not name.", default="utf-8")
    port: dict[int, AsciiCharset] = option(
        "Of single ports, by number.", factory=dict, example={10514: "iso-8859-1"}
    )


@component
class MultiportSyslogtcp(SyslogOptions, ConnectionOptions, TlsOptions):
    """Receive syslog messages by TCP on one or more ports; one thread serves all of them.

    The headers are `Facility`, `Severity`, `Priority`, `Version` (only `1` is one), `timestamp`
    and `host`; Flume's parser of this source is another than that of `syslogtcp`. It reads from
    blank to blank, so hosts may be of any form. A message that it cannot read (also one whose
    bytes are not of the port's character set, or whose time with a year does not exist) is a body
    as a whole, with `flume.syslog.status: Invalid` and no other header. A `-` for the time means
    the time of arrival. Bodies keep their bytes, whatever the character set; the header `host` is
    decoded.

    Long messages, years, answers and octet counting are as in `syslogtcp`.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "lossy"
    server: ClassVar[bool] = True

    ports: Ports = option(
        "TCP ports to listen on: a list, or a text with blanks between them. 0 takes any free one.",
        example=[10001, 10002],
        min_length=1,
    )
    host: str = option(
        "Address to listen on. Flume's default is every address; here it is loopback, and another"
        " one needs TLS, or dangerously_allow_anonymous.",
        default="127.0.0.1",
    )
    event_size: ByteSize = option(
        "Longest message in bytes. Flume's default is 2500.", default=64 * 2**10, ge=1, le=2**28
    )
    port_header: str = option(
        "Header that gets the port a message came to; empty: none.", default="", example="port"
    )
    charset: Charsets = option("What messages are written in.", factory=Charsets)
    time_zone: Zone = option(
        "Zone of times of RFC 3164, which name none; `local` is that of the agent's process.",
        default="UTC",
        example="Europe/Oslo",
    )

    def build(self, context: Context) -> SyslogTcpSource:
        self._check_ports()
        tls = self.server_tls(context)
        self.check_bind(self.host, safe=tls is not None, name="host")
        listeners = tuple(Listener(self.host, port) for port in self.ports)
        settings = replace(
            self.line_settings(context, listeners, self.event_size),
            cut=True,
            limits=self.connection_limits(),
            tls=tls,
        )
        clients = replace(self.client_headers(), port=self.port_header)
        events = SyslogEvents(
            self.rules(by_hand=True),
            clients,
            context.clock,
            settings.source,
            self.charset.default,
            self.charset.port,
        )
        return SyslogTcpSource(settings, events, context)

    def _check_ports(self) -> None:
        twice = sorted({port for port in self.ports if port and self.ports.count(port) > 1})
        if twice:
            raise OptionError(f"ports: {twice[0]} is there twice; remove one")
        strange = sorted(set(self.charset.port) - set(self.ports))
        if strange:
            raise OptionError(
                f"charset.port: {strange[0]} is none of the ports; add it or remove its charset"
            )
