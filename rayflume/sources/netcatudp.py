"""Lines of text by UDP, one in each datagram, as Flume's netcatudp source takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rayflume.batch import EventBatch
from rayflume.component import Context, component, option
from rayflume.sources._line_protocol import Listener, Received
from rayflume.sources._listen_options import DatagramOptions
from rayflume.sources._udp_server import DATAGRAM_BYTES_MAX, UdpSource


@dataclass(frozen=True)
class _Events:
    """Each line is an event; `header` (if any) holds who sent it."""

    header: str

    def events(self, received: Received) -> EventBatch:
        batch = EventBatch(received.body)
        if not self.header or not batch.num_rows:
            return batch
        addresses = [peer.address for peer in received.peers]
        return batch.with_header(self.header, received.header(addresses))


@component
class Netcatudp(DatagramOptions):
    """Receive datagrams; each is an event, its body the bytes up to the first newline, as they
    are.

    UDP has no answers: what the network or the kernel drops is lost to the sender unseen. What the
    kernel dropped because its buffer was full is counted here, in DatagramDroppedCount and in
    status.
    """

    replay: ClassVar[Literal["replayable", "keyed", "lossy"]] = "lossy"
    timeless: ClassVar[bool] = True
    server: ClassVar[bool] = True

    port: int = option(
        "UDP port to listen on. 0 takes any free one; status shows which.",
        example=6667,
        ge=0,
        le=65535,
    )
    bind: str = option(
        "Address to listen on. Flume's default is every address; here it is loopback, and another"
        " one needs dangerously_allow_anonymous, for UDP has no TLS.",
        default="127.0.0.1",
    )
    remote_address: str = option(
        "Header that gets the sender's IP address; empty: none.", default="", example="sender"
    )

    def headers_written(self) -> dict[str, bool]:
        return {self.remote_address: False} if self.remote_address else {}

    def build(self, context: Context) -> UdpSource:
        self.check_bind(self.bind, safe=False)
        listeners = (Listener(self.bind, self.port),)
        settings = replace(
            self.line_settings(context, listeners, DATAGRAM_BYTES_MAX),
            receive_buffer_bytes=self.receive_buffer,
        )
        return UdpSource(settings, _Events(self.remote_address), context)
