"""Interceptor `host`: the host that read the event, as a header."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import ClassVar

from rayflume.batch import EventBatch
from rayflume.component import Component, Context, component, option

_ANYWHERE = ("192.0.2.1", 9)
"""An address reserved for documentation: choosing a route to it sends nothing."""


@component
class Host(Component):
    """Write the address or name of the host that reads an event into a header.

    It is found once, when the source starts; if there is none, nothing is written. Rows: out = in,
    same order. Raises: nothing.
    """

    timeless: ClassVar[bool] = True

    use_ip: bool = option(
        "Write the IP address; otherwise the full host name.", default=True, example=False
    )
    host_header: str = option("Header to write.", default="host", min_length=1, example="collector")
    preserve_existing: bool = option(
        "Keep the value of events that have the header already.", default=False, example=True
    )

    def headers_written(self) -> dict[str, bool]:
        return {self.host_header: False}

    def build(self, context: Context) -> HostInterceptor:
        return HostInterceptor(self, _address() if self.use_ip else _name())


@dataclass(frozen=True)
class HostInterceptor:
    """`value` is "" when the host has no address."""

    options: Host
    value: str

    def intercept(self, batch: EventBatch) -> EventBatch:
        if not self.value:
            return batch
        name, preserve = self.options.host_header, self.options.preserve_existing
        return batch.with_header(name, self.value, preserve=preserve)


def _address() -> str:
    """The address that other hosts see: that of the route outwards, not a loopback entry."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_ANYWHERE)
            return str(probe.getsockname()[0])
    except OSError:
        pass
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""


def _name() -> str:
    try:
        return socket.getfqdn()
    except (OSError, UnicodeError):
        return ""
