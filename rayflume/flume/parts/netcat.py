"""The netcat sources. Flume user guide, sections NetCat TCP Source and NetCat UDP Source."""

from __future__ import annotations

from rayflume.flume.names import FlumePart, Prop
from rayflume.flume.readers import charset, flag, integer, port
from rayflume.flume.servers import listens


def _line(value: str) -> int:
    """The longest line, with its newline. Raises ValueError when none would fit."""
    found = integer(value)
    if found < 2:
        raise ValueError(f"{value!r}: no line fits into that")
    return found


PARTS = (
    FlumePart(
        kind="source",
        types=("netcat",),
        java_class="org.apache.flume.source.NetcatSource",
        type="netcat",
        props=(
            Prop("bind", option="bind", required=True),
            Prop("port", option="port", read=port, required=True),
            Prop("max-line-length", "512", "max_line_length", _line),
            Prop("ack-every-event", "true", "ack_every_event", flag),
            Prop("encoding", "utf-8", "encoding", charset),
        ),
        finish=listens(),
    ),
    FlumePart(
        kind="source",
        types=("netcatudp",),
        java_class="org.apache.flume.source.NetcatUdpSource",
        type="netcatudp",
        props=(
            Prop("bind", option="bind"),
            Prop("port", option="port", read=port, required=True),
            Prop("remoteAddress", option="remote_address"),
            Prop("remoteAddressHeader", option="remote_address"),
        ),
        finish=listens(connections=False),
    ),
)
