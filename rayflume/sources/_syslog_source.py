"""What the three syslog sources have in common: options, lines to events, and the servers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from rayflume.batch import EventBatch, Header
from rayflume.clock import Clock
from rayflume.component import Component, Context, option
from rayflume.interfaces import Ingest, StreamPosition
from rayflume.regexes.columns import Matcher
from rayflume.sources._host_names import HostNames
from rayflume.sources._line_protocol import LineSettings, Received
from rayflume.sources._log_limit import LogLimit
from rayflume.sources._syslog import KEPT, STATUS, Encoded, Rules, SyslogReader, kept_fields
from rayflume.sources._syslog_format import CustomFormat, TimeForm
from rayflume.sources._tcp_server import TcpSource
from rayflume.sources._udp_server import UdpSource
from rayflume.units import local_zone, zone_of

LOCAL = "local"
UTF8 = "utf-8"
_COUNTED = r"\A[1-9][0-9]{0,5} <[0-9]{1,5}>"
"""How a message of RFC 6587's octet counting begins."""


def _kept_text(value: object) -> object:
    """A list of words, or YAML's true and false, as Flume's text."""
    if isinstance(value, bool):
        return "all" if value else "none"
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return value


def _known_words(value: str) -> str:
    words = re.split(r"[\s,;]+", value.strip().lower())
    if len(words) > 1 or words[0] not in ("", "none", "false", "all", "true"):
        for word in words:
            if word not in KEPT:
                raise ValueError(
                    f"{word!r} is no part of a message; write none, all, or some of"
                    f" {', '.join(KEPT)}"
                )
    return value


def _known_zone(value: str) -> str:
    if value == LOCAL:
        return value
    try:
        zone_of(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"unknown time zone {value!r}; write local, UTC or Europe/Oslo") from None
    return value


KeptFields = Annotated[str, BeforeValidator(_kept_text), AfterValidator(_known_words)]
Zone = Annotated[str, AfterValidator(_known_zone)]


class SyslogOptions(Component):
    """Of all syslog sources."""

    keep_fields: KeptFields = option(
        "Parts of the message that stay in the body besides its text: `none`, `all` (the body is"
        " the whole line), or some of priority, version, timestamp and hostname.",
        default="none",
        example=["timestamp", "hostname"],
    )
    time_zone: Zone = option(
        "Zone of times that name none, as those of RFC 3164; `local` is that of the agent's"
        " process.",
        default=LOCAL,
        example="Europe/Oslo",
    )
    client_ip_header: str = option(
        "Header that gets the sender's IP address; empty: none.",
        default="",
        example="ip",
    )
    client_hostname_header: str = option(
        "Header that gets the name of the sender's host, looked up backwards (its address, if it"
        " has none); empty: none. A resolver that is slow slows the source down.",
        default="",
        example="hostname",
    )

    def rules(self, *, by_hand: bool = False, custom: CustomFormat | None = None) -> Rules:
        keep_all, words = kept_fields(self.keep_fields)
        zone = "" if self.time_zone == LOCAL else self.time_zone
        return Rules(by_hand=by_hand, keep=words, keep_all=keep_all, zone=zone, custom=custom)

    def client_headers(self) -> ClientHeaders:
        return ClientHeaders(self.client_ip_header, self.client_hostname_header)


class MessageFormat(BaseModel):
    """A form of messages besides those of the RFCs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    regex: str = option(
        "Expression (Java's) that fits a whole message; its groups are, in this order, priority,"
        " version, time, host and text. It is tried first, on messages that begin with a priority.",
        example=r"<(\d+)>()(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+) (.*)",
    )
    search: str = option(
        "Expression (Java's) that is replaced in the time before it is read.", default=""
    )
    replace: str = option("What `search` is replaced by; `$1` is its first group.", default="")
    date_format: str = option(
        "Form of the time in the letters of Java's SimpleDateFormat: y M d D H k h K a m s S Z E;"
        " other text in single quotes. Without a year it is found as for RFC 3164. Absent: such"
        " messages get no `timestamp`.",
        default="",
        example="yyyy-MM-dd HH:mm:ss",
    )

    @model_validator(mode="after")
    def _fits(self) -> MessageFormat:
        self.compiled("UTC", 2000)
        if self.replace and not self.search:
            raise ValueError("`replace` needs a `search`")
        return self

    def compiled(self, zone: str, this_year: int) -> CustomFormat:
        """Raises ValueError with a sentence for what is no expression or pattern."""
        matcher = CustomFormat.matcher_of(self.regex)
        if not self.date_format:
            return CustomFormat(matcher)
        pattern, yearless = TimeForm.compile(self.date_format, zone, this_year)
        if not self.search:
            return CustomFormat(matcher, TimeForm(pattern, yearless))
        search = Matcher.of(self.search)
        replacement = search.regex.replacement(self.replace)
        return CustomFormat(matcher, TimeForm(pattern, yearless, search, replacement))


class FormatOptions(SyslogOptions):
    """Of the syslog sources that know a form of the user's own."""

    format: MessageFormat | None = option(
        "A form of messages besides those of the RFCs.", default=None
    )

    def rules_of(self, context: Context) -> Rules:
        """Times of the form that name no zone are of `time_zone`."""
        if self.format is None:
            return self.rules()
        zone = local_zone() if self.time_zone == LOCAL else self.time_zone
        this_year = int(np.datetime64(context.clock.now_ms(), "ms").astype("M8[Y]").item().year)
        custom = self.format.compiled(zone, this_year)
        custom.matcher.warn(context.part)
        return self.rules(custom=custom)


@dataclass(frozen=True)
class ClientHeaders:
    """Headers that say who sent a message; "" for those that are not wanted."""

    ip: str = ""
    hostname: str = ""
    port: str = ""

    def of(self, received: Received, names: HostNames) -> dict[str, Header]:
        peers, headers = received.peers, dict[str, Header]()
        if self.ip:
            headers[self.ip] = received.header([peer.address for peer in peers])
        if self.hostname:
            hosts = [names.name_of(peer.address) or peer.address for peer in peers]
            headers[self.hostname] = received.header(hosts)
        if self.port:
            headers[self.port] = received.header([str(peer.local_port) for peer in peers])
        return headers


@dataclass
class SyslogEvents:
    """A LineProtocol: each line that is not empty is an event. `charset` is that of ports that
    `charsets` does not name, by Python's names.
    """

    rules: Rules
    clients: ClientHeaders
    clock: Clock
    source: str
    charset: str = UTF8
    charsets: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reader = SyslogReader(self.rules)
        self._names = HostNames(self.clock)
        self._log = LogLimit(self.source, self.clock)

    def prepare(self) -> None:
        """Load the machine code. Blocks, for seconds when it must be made."""
        self._reader.prepare()

    def events(self, received: Received) -> EventBatch:
        body, headers = self._reader.read(
            received.body, self.clock.now_ms(), received.cut, self._encoded(received)
        )
        if STATUS in headers:
            self._warn_of_counts(received.body, headers[STATUS])
        headers.update(self.clients.of(received, self._names))
        batch = EventBatch(body, headers)
        filled = pc.greater(pc.binary_length(received.body), 0)
        return batch if pc.all(filled).as_py() is not False else batch.filter(filled)

    def _encoded(self, received: Received) -> Sequence[Encoded]:
        if {self.charset, *self.charsets.values()} == {UTF8}:
            return ()
        charsets = [self.charsets.get(peer.local_port, self.charset) for peer in received.peers]
        of_row = np.repeat(np.array(charsets), received.rows)
        return [Encoded(name, of_row == name) for name in sorted(set(charsets) - {UTF8})]

    def _warn_of_counts(self, lines: pa.BinaryArray, status: Header) -> None:
        invalid = lines if isinstance(status, str) else lines.filter(status.is_valid())
        if pc.any(pc.match_substring_regex(invalid, _COUNTED)).as_py():
            self._log.warning(
                "messages begin with their length (octet counting, RFC 6587) and are marked"
                " Invalid; let the sender end each with a newline instead"
            )


class SyslogTcpSource(TcpSource):
    """A ServerSource of syslog messages."""

    def __init__(self, settings: LineSettings, events: SyslogEvents, context: Context) -> None:
        super().__init__(settings, events, context)
        self._events = events

    def start(self, positions: Mapping[str, StreamPosition], ingest: Ingest) -> None:
        """As of all listeners, with the machine code in memory before the first connection."""
        self._events.prepare()
        super().start(positions, ingest)


class SyslogUdpSource(UdpSource):
    """A ServerSource of syslog messages."""

    def __init__(self, settings: LineSettings, events: SyslogEvents, context: Context) -> None:
        super().__init__(settings, events, context)
        self._events = events

    def start(self, positions: Mapping[str, StreamPosition], ingest: Ingest) -> None:
        """As of all listeners, with the machine code in memory before the first datagram."""
        self._events.prepare()
        super().start(positions, ingest)
