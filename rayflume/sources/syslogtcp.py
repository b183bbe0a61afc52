"""Syslog messages by TCP, as Flume's syslogtcp source reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from rayflume.component import Context, component, option
from rayflume.sources._line_protocol import Listener
from rayflume.sources._listen_options import ConnectionOptions
from rayflume.sources._syslog_source import FormatOptions, SyslogEvents, SyslogTcpSource
from rayflume.sources._tls_options import TlsOptions
from rayflume.units import ByteSize


@component
class Syslogtcp(FormatOptions, ConnectionOptions, TlsOptions):
    """Receive syslog messages of RFC 5424 and RFC 3164 by TCP, each ended by a newline.

    The body is the text of the message; what is before it becomes headers: `Facility` and
    `Severity` (numbers), `priority`, `version`, `timestamp` (milliseconds since 1970 UTC) and
    `host`, each if the message has it. Nothing is dropped but empty lines: a message of another
    form is a body as a whole, with the headers of its priority; without a priority it has
    `flume.syslog.status: Invalid`. One longer than `event_size` is cut, its beginning is marked
    `Incomplete`, and the rest is a further event. Bytes stay as they are; an empty text is
    replaced by the whole line, as in Flume.

    A time without a year is of the present one, but of the one before if that is more than a month
    ahead, and of the next one if it is more than eleven months back. A `-` or a time that does not
    exist makes no `timestamp`.

    Senders get no answer; without room in the channel nothing is read, and they wait. Octet
    counting (RFC 6587) is not read, as in Flume: such messages are marked Invalid, and the log
    says so.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "lossy"
    server: ClassVar[bool] = True

    port: int = option(
        "TCP port to listen on. 0 takes any free one; status shows which.",
        example=5140,
        ge=0,
        le=65535,
    )
    host: str = option(
        "Address to listen on. Another than loopback needs TLS, or dangerously_allow_anonymous.",
        default="127.0.0.1",
    )
    event_size: ByteSize = option(
        "Longest message in bytes. Flume's default is 2500.", default=64 * 2**10, ge=1, le=2**28
    )

    def build(self, context: Context) -> SyslogTcpSource:
        tls = self.server_tls(context)
        self.check_bind(self.host, safe=tls is not None, name="host")
        settings = replace(
            self.line_settings(context, (Listener(self.host, self.port),), self.event_size),
            cut=True,
            limits=self.connection_limits(),
            tls=tls,
        )
        events = SyslogEvents(
            self.rules_of(context), self.client_headers(), context.clock, settings.source
        )
        return SyslogTcpSource(settings, events, context)
