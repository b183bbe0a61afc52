"""Options that listening sources have in common: where to listen, and limits for each sender."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from rayflume.addresses import is_loopback
from rayflume.component import Component, Context, option
from rayflume.errors import OptionError
from rayflume.sources._ip_filter import IpFilter, address_rules, parse_rules
from rayflume.sources._line_protocol import ConnectionLimits, LineSettings, Listener
from rayflume.sources._stream import stream_prefix
from rayflume.units import ByteSize, Millis


def _rules(value: object) -> object:
    rules = value.split(",") if isinstance(value, str) else value
    if isinstance(rules, list) and all(isinstance(rule, str) for rule in rules):
        parse_rules(rules)
    return rules


IpRules = Annotated[list[str], BeforeValidator(_rules)]
"""Flume's `ipFilterRules`: one text with commas, or a list."""


class ListenOptions(Component):
    """Of every source of lines, TCP or UDP."""

    id: str | None = option(
        "Name of this source in the names of its streams; the part's name if absent.",
        default=None,
        min_length=1,
        example="edge",
    )
    ip_filter_rules: IpRules = option(
        "Who may send: rules `allow|deny:ip|name:pattern`, the first that matches decides, and no"
        " match allows. `*` and `?` are wildcards, `ip` also takes a network (10.0.0.0/8),"
        " `name:localhost` is this host. Names are looked up backwards, so whoever rules the"
        " sender's network chooses them.",
        factory=list,
        example=["allow:ip:10.0.0.0/8", "deny:ip:*"],
    )
    dangerously_allow_anonymous: bool = option(
        "Listen on an address other than loopback without TLS: anybody who reaches the port may"
        " send, and anybody on the way may read.",
        default=False,
    )
    batch_bytes: ByteSize = option(
        "Most bytes of lines that are put into the channel together. Two buffers of that size are"
        " kept: one is filled while the other is put.",
        default=8 * 2**20,
        ge=64 * 2**10,
        le=512 * 2**20,
    )

    def check(self, context: Context) -> list[str]:
        """What `build` would refuse; it opens no socket."""
        self.build(context)
        return []

    def check_bind(self, bind: str, *, safe: bool, name: str = "bind") -> None:
        """S1. `safe`: TLS is on. Raises OptionError."""
        if not (safe or self.dangerously_allow_anonymous or is_loopback(bind)):
            raise OptionError(
                f"{name}: {bind or 'every address'} can be reached from other hosts, and TLS is"
                " off; name a certificate (or dangerously_allow_anonymous: true)"
            )

    def ip_filter(self) -> IpFilter | None:
        return parse_rules(self.ip_filter_rules)

    def line_settings(
        self, context: Context, listeners: tuple[Listener, ...], line_max: int
    ) -> LineSettings:
        """What all sources of lines have in common; the rest by `dataclasses.replace`."""
        return LineSettings(
            listeners=listeners,
            source=self.id or context.part,
            life_prefix=stream_prefix(context, self.id) + "life/",
            line_max=line_max,
            batch_bytes=self.batch_bytes,
            ip_filter=self.ip_filter(),
        )


class ConnectionOptions(ListenOptions):
    """Of every source of lines on TCP. Mix with TlsOptions."""

    max_connections: int = option(
        "Open connections, with those in their TLS handshake. A further one takes the place of the"
        " one that has been silent longest, if that is 60 s or more; else it is closed.",
        default=1_000,
        ge=1,
    )
    max_connections_per_address: int = option(
        "Open connections from one address. Raise it if clients come through a proxy.",
        default=64,
        ge=1,
    )
    handshake_timeout: Millis = option(
        "Time in which a TLS handshake must be done, in milliseconds.", default=5_000, ge=1
    )
    idle_timeout: Millis = option(
        "Time after which a silent connection without an unfinished line is closed, in"
        " milliseconds. 0: never, for a sender without answers may lose the line with which it"
        " finds out.",
        default=0,
    )
    min_line_rate: ByteSize = option(
        "Bytes per second at which an unfinished line must arrive, looked at after 5 seconds; a"
        " slower sender is cut off. 0: no limit.",
        default=1024,
    )
    max_pending_bytes: ByteSize = option(
        "Bytes of all unfinished lines together. Above it, the connection with the longest one is"
        " cut off.",
        default=64 * 2**20,
        ge=1,
    )

    def connection_limits(self) -> ConnectionLimits:
        return ConnectionLimits(
            connections_max=self.max_connections,
            per_address_max=self.max_connections_per_address,
            handshake_timeout_ms=self.handshake_timeout,
            idle_timeout_ms=self.idle_timeout,
            line_rate_min=self.min_line_rate,
            pending_bytes_max=self.max_pending_bytes,
        )


class DatagramOptions(ListenOptions):
    """Of every source of lines on UDP."""

    receive_buffer: ByteSize = option(
        "Bytes of memory in which the kernel keeps datagrams while the source is busy, some 800 for"
        " a small one. More than"
        " net.core.rmem_max needs the right CAP_NET_ADMIN; status shows what was granted.",
        default=32 * 2**20,
        ge=4096,
        le=2**30,
    )

    def ip_filter(self) -> IpFilter | None:
        # The address of a datagram is easily forged: each would be one more look-up.
        return address_rules(self.ip_filter_rules)
