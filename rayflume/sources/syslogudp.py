"""Syslog messages by UDP, as Flume's syslogudp source reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from rayflume.component import Context, component, option
from rayflume.sources._line_protocol import Listener
from rayflume.sources._listen_options import DatagramOptions
from rayflume.sources._syslog_source import FormatOptions, SyslogEvents, SyslogUdpSource
from rayflume.sources._udp_server import DATAGRAM_BYTES_MAX


@component
class Syslogudp(FormatOptions, DatagramOptions):
    """Receive syslog messages of RFC 5424 and RFC 3164 by UDP, one in each datagram (up to its
    first newline), with the headers of `syslogtcp`.

    UDP has no answers: what the network or the kernel drops is lost to the sender unseen. What the
    kernel dropped because its buffer was full is counted here, in DatagramDroppedCount and in
    status.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "lossy"
    server: ClassVar[bool] = True

    port: int = option(
        "UDP port to listen on. 0 takes any free one; status shows which.",
        example=5140,
        ge=0,
        le=65535,
    )
    host: str = option(
        "Address to listen on. Flume's default is every address; here it is loopback, and another"
        " one needs dangerously_allow_anonymous, for UDP has no TLS.",
        default="127.0.0.1",
    )

    def build(self, context: Context) -> SyslogUdpSource:
        self.check_bind(self.host, safe=False, name="host")
        listeners = (Listener(self.host, self.port),)
        settings = replace(
            self.line_settings(context, listeners, DATAGRAM_BYTES_MAX),
            receive_buffer_bytes=self.receive_buffer,
        )
        events = SyslogEvents(
            self.rules_of(context), self.client_headers(), context.clock, settings.source
        )
        return SyslogUdpSource(settings, events, context)
