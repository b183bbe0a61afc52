"""Lines of text by TCP, as Flume's netcat source takes them: `nc host port < file`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from rayflume.batch import EventBatch
from rayflume.component import Context, component, option
from rayflume.sources._decoders import decoder_of
from rayflume.sources._line_protocol import Listener, Received
from rayflume.sources._listen_options import ConnectionOptions
from rayflume.sources._tcp_server import TcpSource
from rayflume.sources._tls_options import TlsOptions


def _known_encoding(name: str) -> str:
    try:
        decoder_of(name)
    except LookupError:
        raise ValueError(f"unknown encoding {name!r}; write one like utf-8 or iso-8859-1") from None
    return name


Encoding = Annotated[str, AfterValidator(_known_encoding)]
"""A character encoding, by Python's or Java's name."""


class _Events:
    """Each line is an event without headers."""

    def events(self, received: Received) -> EventBatch:
        return EventBatch(received.body)


@component
class Netcat(ConnectionOptions, TlsOptions):
    """Receive lines of text by TCP; each line is an event, its body UTF-8 without the newline (a
    carriage return before it stays).

    A line gets the answer `OK` once it is durable in every required channel; without room in the
    channel nothing is read, and the sender waits (Flume answers FAILED and the line is lost). A
    line longer than `max_line_length` gets `FAILED: Event exceeds the maximum length`, and its
    connection is closed, as in Flume. Bytes that are not text in `encoding` become U+FFFD, as in
    Flume. Text behind the last newline is an event if the sender closed its connection in an
    orderly way (Flume loses it); if the connection broke it is dropped and counted in
    EventReadFail.

    Without answers (`ack_every_event: false`) a sender cannot know what arrived; with them it can,
    but a line sent again is stored again.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "lossy"
    timeless: ClassVar[bool] = True
    server: ClassVar[bool] = True

    port: int = option(
        "TCP port to listen on. 0 takes any free one; status shows which.",
        example=6666,
        ge=0,
        le=65535,
    )
    bind: str = option(
        "Address to listen on. Another than loopback needs TLS, or dangerously_allow_anonymous.",
        default="127.0.0.1",
    )
    max_line_length: int = option(
        "Longest line in characters (of UTF-16, as Java counts), with its newline. Flume's default"
        " is 512.",
        default=2**20,
        ge=2,
        le=2**26,
    )
    ack_every_event: bool = option("Answer OK for each line once it is durable.", default=True)
    encoding: Encoding = option("Character encoding of the text.", default="utf-8")

    def build(self, context: Context) -> TcpSource:
        tls = self.server_tls(context)
        self.check_bind(self.bind, safe=tls is not None)
        listeners = (Listener(self.bind, self.port, self.encoding),)
        limit = self.max_line_length
        settings = replace(
            self.line_settings(context, listeners, limit - 1),
            characters=True,
            text=True,
            reply=b"OK\n" if self.ack_every_event else b"",
            refusal=b"FAILED: Event exceeds the maximum length (%d chars, including newline)\n"
            % limit,
            failure=b"FAILED: internal error; see the log of the agent\n",
            limits=self.connection_limits(),
            tls=tls,
        )
        return TcpSource(settings, _Events(), context)
