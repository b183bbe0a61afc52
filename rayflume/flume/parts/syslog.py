"""The syslog sources. Flume user guide, section Syslog Sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rayflume.flume.names import FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import charset, integer, pattern, port, positive
from rayflume.flume.servers import SERVER_TLS, listens

if TYPE_CHECKING:
    from rayflume.interfaces import Json

_WORDS = ("priority", "version", "timestamp", "hostname")


def _kept(value: str) -> Json:
    """Flume looks for the words in any text."""
    value = value.strip().lower()
    if value in ("all", "true"):
        return "all"
    found: Json = [word for word in _WORDS if word in value]
    return found or "none"


def _ports(value: str) -> Json:
    return [port(one) for one in value.split()]


def _event_size(value: str) -> int:
    """Flume's parser takes at least 10 bytes. Raises ValueError for what it cannot begin with."""
    found = integer(value)
    if found < 0:
        raise ValueError(f"{value!r} is negative")
    return max(found, 10)


_SENDERS = (
    Prop("keepFields", "none", "keep_fields", _kept),
    Prop("clientIPHeader", option="client_ip_header"),
    Prop("clientHostnameHeader", option="client_hostname_header"),
)
_EVENT_SIZE = Prop("eventSize", "2500", "event_size", _event_size)
_FORMAT = (
    Prop("format.regex", option="format.regex", read=pattern),
    Prop("format.search", option="format.search", read=pattern),
    Prop("format.replace", option="format.replace"),
    Prop("format.dateFormat", option="format.date_format"),
)
_READ_BUFFER = "the size of reads is found by what arrives; remove it"


def _finish_kept(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    text = given.get("keepFields", "none")
    if options.get("keep_fields") == "none" and text.strip().lower() not in ("none", "false", ""):
        yield Remark(
            f"{text!r} names none of {', '.join(_WORDS)}, so none is kept, as in Flume",
            name="keepFields",
        )


def _finish_format(options: dict[str, Json]) -> Iterable[Remark]:
    form = options.get("format")
    if not isinstance(form, dict):
        return
    if "regex" not in form:
        del options["format"]
        yield Remark("without format.regex the other format properties do nothing, as in Flume")
    elif "replace" in form and "search" not in form:
        del form["replace"]
        yield Remark("does nothing without format.search", name="format.replace")


def _finish_tcp(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    yield from listens("host")(options, given)
    yield from _finish_kept(options, given)
    yield from _finish_format(options)


def _finish_udp(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    yield from listens("host", connections=False)(options, given)
    yield from _finish_kept(options, given)
    yield from _finish_format(options)


def _finish_multiport(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    """Flume goes on where a port is named twice, or a character set for a port it has not."""
    yield from listens("host")(options, given)
    yield from _finish_kept(options, given)
    ports = options.get("ports")
    if isinstance(ports, list) and len(set(map(str, ports))) < len(ports):
        options["ports"] = [port for at, port in enumerate(ports) if port not in ports[:at]]
        yield Remark("a port is there twice; the second is ignored", name="ports")
    charset = options.get("charset")
    by_port = charset.get("port") if isinstance(charset, dict) else None
    if isinstance(by_port, dict) and isinstance(ports, list):
        for port in sorted(set(by_port) - set(map(str, ports))):
            del by_port[port]
            yield Remark(f"{port} is none of the ports", name=f"charset.port.{port}")


PARTS = (
    FlumePart(
        kind="source",
        types=("syslogtcp",),
        java_class="org.apache.flume.source.SyslogTcpSource",
        type="syslogtcp",
        props=(
            Prop("host", option="host", required=True),
            Prop("port", option="port", read=port, required=True),
            _EVENT_SIZE,
            *_SENDERS,
            *_FORMAT,
            *SERVER_TLS,
        ),
        finish=_finish_tcp,
    ),
    FlumePart(
        kind="source",
        types=("syslogudp",),
        java_class="org.apache.flume.source.SyslogUDPSource",
        type="syslogudp",
        props=(
            Prop("host", option="host"),
            Prop("port", option="port", read=port, required=True),
            *_SENDERS,
            *_FORMAT,
        ),
        finish=_finish_udp,
    ),
    FlumePart(
        kind="source",
        types=("multiport_syslogtcp",),
        java_class="org.apache.flume.source.MultiportSyslogTCPSource",
        type="multiport_syslogtcp",
        batch="batchSize",
        props=(
            Prop("host", option="host"),
            Prop("ports", option="ports", read=_ports, required=True),
            Prop("eventSize", "2500", "event_size", positive),
            *_SENDERS,
            Prop("portHeader", option="port_header"),
            Prop("charset.default", "UTF-8", "charset.default", charset),
            Prop("charset.port.<port>", option="charset.port.<port>", read=charset),
            Prop(
                "batchSize",
                "100",
                severity=Severity.NOTE,
                why="what has arrived is put together, up to batch_bytes; the number is only"
                " compared with the channel's transactionCapacity, as Flume does",
            ),
            Prop("readBufferBytes", "1024", severity=Severity.NOTE, why=_READ_BUFFER),
            Prop("readBufferSize", "1024", severity=Severity.NOTE, why=_READ_BUFFER),
            Prop(
                "numProcessors",
                severity=Severity.NOTE,
                why="one thread serves all connections; remove it",
            ),
            *SERVER_TLS,
        ),
        finish=_finish_multiport,
    ),
)
