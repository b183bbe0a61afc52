"""The syslog sources without their sockets: options, and lines of many senders to events."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from listeners import listening
from pydantic import ValidationError

from rayflume.batch import EventBatch
from rayflume.clock import ManualClock
from rayflume.component import Component, Context, lookup
from rayflume.errors import OptionError
from rayflume.metrics import Metrics
from rayflume.sources import _syslog_kernel
from rayflume.sources._line_protocol import Peer, Received
from rayflume.sources._syslog import STATUS, Rules
from rayflume.sources._syslog_source import ClientHeaders, SyslogEvents, SyslogOptions
from rayflume.sources._tcp_server import TcpSource
from rayflume.sources._udp_server import UdpSource
from rayflume.sources.multiport_syslogtcp import MultiportSyslogtcp
from rayflume.sources.syslogtcp import Syslogtcp
from rayflume.sources.syslogudp import Syslogudp

NOW_MS = 1_764_115_200_000  # 2025-11-26T00:00:00Z
ALICE, BOB = Peer("10.0.0.1", 4001, 514), Peer("2001:db8::2", 4002, 515)
HEAD = b"<13>Nov 11 22:14:15 h "


def received(*lines: bytes, peers: Mapping[Peer, int] | None = None) -> Received:
    peers = peers or {ALICE: len(lines)}
    return Received(pa.array(lines, pa.binary()), list(peers), list(peers.values()))


def events(
    by_hand: bool = False, clients: ClientHeaders | None = None, **more: Any
) -> SyslogEvents:
    rules = Rules(by_hand=by_hand, zone="UTC")
    return SyslogEvents(rules, clients or ClientHeaders(), ManualClock(NOW_MS), "part", **more)


def values(batch: EventBatch, name: str) -> list[str | None]:
    found: list[str | None] = batch.header(name).to_pylist()
    return found


def context() -> Context:
    return Context("agent", "part", ManualClock(NOW_MS), Metrics())


# -- lines to events -------------------------------------------------------------------------------


@pytest.mark.parametrize("by_hand", [False, True])
def test_empty_lines_are_no_events(by_hand: bool) -> None:
    batch = events(by_hand, ClientHeaders(ip="ip")).events(
        received(b"", HEAD + b"a", b"", b"nothing", b"")
    )
    assert batch.body.to_pylist() == [b"a", b"nothing"]
    assert values(batch, "host") == ["h", None]
    assert values(batch, STATUS) == [None, "Invalid"]
    assert values(batch, "ip") == ["10.0.0.1"] * 2


def test_only_empty_lines() -> None:
    assert events().events(received(b"", b"")).num_rows == 0
    assert events().events(received()).num_rows == 0


def test_cut_lines_are_incomplete() -> None:
    lines = Received(
        pa.array([HEAD + b"a", b"b", b"c"], pa.binary()),
        [ALICE],
        [3],
        np.array([True, True, False]),
    )
    batch = events().events(lines)
    assert values(batch, STATUS) == ["Incomplete", "Invalid", "Invalid"]
    assert batch.body.to_pylist() == [b"a", b"b", b"c"]


def test_who_sent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(address: str) -> tuple[str, list[str], list[str]]:
        if address == ALICE.address:
            return "alice.example.com", [], [address]
        raise socket.herror

    monkeypatch.setattr(socket, "gethostbyaddr", look_up)
    lines = received(*[HEAD + b"m"] * 3, peers={ALICE: 2, BOB: 1})
    batch = events(clients=ClientHeaders("ip", "name", "port")).events(lines)
    assert values(batch, "ip") == ["10.0.0.1", "10.0.0.1", "2001:db8::2"]
    assert values(batch, "name") == ["alice.example.com"] * 2 + ["2001:db8::2"]
    assert values(batch, "port") == ["514", "514", "515"]


def test_client_headers_win_over_those_of_the_message() -> None:
    batch = events(clients=ClientHeaders(ip="host")).events(received(HEAD + b"m"))
    assert values(batch, "host") == ["10.0.0.1"]


def test_character_sets_by_port() -> None:
    line = "<13>Nov 11 22:14:15 hóst grüße".encode("latin-1")
    lines = received(line, line, "<13>Nov 11 22:14:15 hóst é".encode(), peers={ALICE: 1, BOB: 2})
    batch = events(True, charset="iso8859-1", charsets={515: "utf-8"}).events(lines)
    assert values(batch, "host") == ["hóst", None, "hóst"]
    assert values(batch, STATUS) == [None, "Invalid", None]
    assert batch.body.to_pylist() == ["grüße".encode("latin-1"), line, "é".encode()]


@pytest.mark.parametrize("by_hand", [False, True])
def test_octet_counting_is_told(by_hand: bool, caplog: pytest.LogCaptureFixture) -> None:
    line = b"83 <13>1 2003-10-11T22:14:15Z h app - - - m"
    with caplog.at_level(logging.WARNING):
        batch = events(by_hand).events(received(HEAD + b"m", line))
    assert batch.body.to_pylist() == [b"m", line]
    assert values(batch, STATUS) == [None, "Invalid"]
    assert "octet counting, RFC 6587" in caplog.text


def test_other_invalid_messages_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        events().events(received(b"83 apples", b"x <13>", b"<>"))
    assert caplog.text == ""


# -- a form of the user's own ----------------------------------------------------------------------

FORM = {
    "regex": r"<(\d+)>()(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+) (.*)",
    "date_format": "yyyy-MM-dd HH:mm:ss",
}
YEARLESS = {
    "regex": r"<(\d+)>(\d?)(\d\d \w{3} \d\d:\d\d:\d\d) (\S+) (.*)",
    "date_format": "dd MMM HH:mm:ss",
}
JOINED = {"regex": r"<(\d+)>()(\S+) (\S+) (.*)", "search": "(.*)T(.*)", "replace": "$1 $2"}


def read_form(
    line: bytes, form: Mapping[str, str], keep: str = "none", zone: str = "UTC"
) -> tuple[bytes, dict[str, str]]:
    options = Syslogudp.model_validate(
        {"port": 0, "format": form, "keep_fields": keep, "time_zone": zone}
    )
    protocol = SyslogEvents(
        options.rules_of(context()), ClientHeaders(), ManualClock(NOW_MS), "part"
    )
    batch = protocol.events(received(b"other", line))
    names = {name: values(batch, name)[1] for name in batch.header_names()}
    body = batch.body.to_pylist()[1]
    assert body is not None
    return body, {name: value for name, value in names.items() if value is not None}


OF_FORM = {"Facility": "1", "Severity": "5", "priority": "13", "host": "web"}


@pytest.mark.parametrize(
    ("line", "form", "body", "headers"),
    [
        (b"<13>2025-11-01 10:00:00 web m", FORM, b"m", {"timestamp": "1761991200000"}),
        (b"<13>2025-11-01 10:00:00 web ", FORM, None, {"timestamp": "1761991200000"}),
        (b"<13>2025-02-30 10:00:00 web m", FORM, b"m", {}),
        (
            "<13>2025-11-01 10:00:00 web é".encode(),
            FORM,
            "é".encode(),
            {"timestamp": "1761991200000"},
        ),
        (
            b"<13>2025-11-01 10:00:00 web \xff",
            FORM,
            "\ufffd".encode(),
            {"timestamp": "1761991200000"},
        ),
        (b"<13>Nov 11 22:14:15 web m", FORM, b"m", {"timestamp": "1762899255000"}),
        (b"<13>2025-11-01T10:00:00 web m", FORM | JOINED, b"m", {"timestamp": "1761991200000"}),
        (b"<13>2025-11-01T10:00:00 web m", JOINED, b"m", {}),
        (b"<13>01 Nov 10:00:00 web m", YEARLESS, b"m", {"timestamp": "1761991200000"}),
        (
            b"<13>201 Nov 10:00:00 web m",
            YEARLESS,
            b"m",
            {"version": "2", "timestamp": "1761991200000"},
        ),
        (b"<13>01 Jan 10:00:00 web m", YEARLESS, b"m", {"timestamp": "1735725600000"}),
        (b"<13>27 Dec 10:00:00 web m", YEARLESS, b"m", {"timestamp": "1735293600000"}),
    ],
)
def test_a_form_of_the_users_own(
    line: bytes, form: Mapping[str, str], body: bytes | None, headers: dict[str, str]
) -> None:
    assert read_form(line, form) == (line if body is None else body, OF_FORM | headers)


def test_the_form_keeps_fields() -> None:
    line = b"<13>2025-11-01 10:00:00 web m"
    assert read_form(line, FORM, "all")[0] == line
    assert read_form(line, FORM, "priority version timestamp hostname")[0] == line
    assert read_form(line, FORM, "hostname")[0] == b"web m"


def test_the_form_needs_a_priority() -> None:
    line = b"<x>2025-11-01 10:00:00 web m"
    invalid = {"Facility": "0", "Severity": "0", STATUS: "Invalid"}
    assert read_form(line, {"regex": "(.*)"}) == (line, invalid)


def test_times_of_the_form_are_of_the_zone() -> None:
    line = b"<13>2025-11-01 10:00:00 web m"
    assert read_form(line, FORM, zone="Europe/Oslo")[1]["timestamp"] == "1761987600000"
    yearless = read_form(b"<13>01 Nov 10:00:00 web m", YEARLESS, zone="Europe/Oslo")
    assert yearless[1]["timestamp"] == "1761987600000"


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"regex": "("}, "regular expression"),
        ({"regex": "(.*)", "date_format": "QQ"}, "QQ"),
        ({"regex": "(.*)", "replace": "x"}, "`replace` needs a `search`"),
        ({"regex": "(.*)", "date_format": "yyyy", "search": "a", "replace": "$1"}, "group"),
        ({}, "regex"),
    ],
)
def test_forms_that_are_none(form: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Syslogtcp.model_validate({"port": 1, "format": form})


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["syslogtcp", "SYSLOGUDP", "multiport_syslogtcp"])
def test_the_parts_are_found_by_their_names(name: str) -> None:
    assert lookup("source", name).type_name == name.lower()


@pytest.mark.parametrize(
    ("given", "all_", "words"),
    [
        ("none", False, ()),
        (False, False, ()),
        ("all", True, ()),
        (True, True, ()),
        (["hostname", "priority"], False, ("priority", "hostname")),
        ("timestamp,hostname", False, ("timestamp", "hostname")),
    ],
)
def test_keep_fields(given: object, all_: bool, words: tuple[str, ...]) -> None:
    rules = SyslogOptions.model_validate({"keep_fields": given}).rules(by_hand=False)
    assert (rules.keep_all, rules.keep) == (all_, words)


@pytest.mark.parametrize(("zone", "expected"), [("local", ""), ("Europe/Oslo", "Europe/Oslo")])
def test_time_zone(zone: str, expected: str) -> None:
    assert SyslogOptions(time_zone=zone).rules(by_hand=False).zone == expected


WRONG: list[tuple[type[Component], dict[str, object], str]] = [
    (Syslogtcp, {"port": 1, "time_zone": "Oslo"}, "write local, UTC or Europe/Oslo"),
    (Syslogtcp, {"port": 1, "event_size": 0}, "greater than or equal to 1"),
    (Syslogtcp, {"port": 1, "keep_fields": "yes"}, "'yes' is no part of a message; write none"),
    (Syslogtcp, {"port": 1, "keep_fields": ["hostname", "all"]}, "'all' is no part"),
    (Syslogtcp, {"port": 70000}, "less than or equal to 65535"),
    (Syslogudp, {"port": 1, "event_size": 100}, "Extra inputs are not permitted"),
    (MultiportSyslogtcp, {"ports": []}, "at least 1 item"),
    (MultiportSyslogtcp, {"ports": "1 x"}, "valid integer"),
    (MultiportSyslogtcp, {"ports": [1], "charset": {"default": "utf8x"}}, "utf8x"),
    (MultiportSyslogtcp, {"ports": [1], "charset": {"default": "utf-16"}}, "newlines cannot"),
    (MultiportSyslogtcp, {"ports": [1], "charset": {"port": {1: "cp037"}}}, "newlines cannot"),
]


@pytest.mark.parametrize(("part", "options", "sentence"), WRONG)
def test_wrong_options(part: type[Component], options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        part.model_validate(options)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("UTF-8", "utf-8"),
        ("ISO-8859-1", "iso8859-1"),
        ("windows-1252", "cp1252"),
        ("Shift_JIS", "shift_jis"),
    ],
)
def test_character_sets_by_names_of_java(name: str, codec: str) -> None:
    part = MultiportSyslogtcp.model_validate({"ports": "1", "charset": {"default": name}})
    assert part.charset.default == codec


@pytest.mark.parametrize(
    ("part", "options", "sentence"),
    [
        (Syslogtcp, {"port": 1, "host": "0.0.0.0"}, "host: 0.0.0.0 can be reached"),
        (Syslogudp, {"port": 1, "host": ""}, "host: every address can be reached"),
        (MultiportSyslogtcp, {"ports": [1], "host": "10.0.0.1"}, "host: 10.0.0.1 can be reached"),
        (MultiportSyslogtcp, {"ports": [7, 8, 7]}, "ports: 7 is there twice"),
        (
            MultiportSyslogtcp,
            {"ports": [7], "charset": {"port": {8: "utf-8"}}},
            "charset.port: 8 is none of the ports",
        ),
    ],
)
def test_options_that_do_not_fit(
    part: type[Component], options: dict[str, object], sentence: str
) -> None:
    made = part.model_validate(options)
    for ask in (made.build, made.check):
        with pytest.raises(OptionError, match=sentence):
            ask(context())


@pytest.mark.parametrize("part", [Syslogtcp, Syslogudp, MultiportSyslogtcp])
def test_s1_dangerous_addresses_are_possible(part: type[Component]) -> None:
    ports = {"ports": "7 8"} if part is MultiportSyslogtcp else {"port": 7}
    options = {**ports, "host": "0.0.0.0", "dangerously_allow_anonymous": True}
    described = part.model_validate(options).build(context()).describe()
    assert described["bind"] == "0.0.0.0"
    assert described["ports"] == ([7, 8] if part is MultiportSyslogtcp else [7])


# -- machine code ----------------------------------------------------------------------------------

LISTENERS = ["syslogtcp", "syslogudp", "multiport_syslogtcp"]


@pytest.mark.parametrize("type_name", LISTENERS)
def test_machine_code_is_made_before_the_port_listens(
    type_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    prepare = SyslogEvents.prepare

    def noted(self: SyslogEvents) -> None:
        prepare(self)
        steps.append("prepared")

    monkeypatch.setattr(SyslogEvents, "prepare", noted)
    monkeypatch.setattr(TcpSource, "start", lambda *_: steps.append("listens"))
    monkeypatch.setattr(UdpSource, "start", lambda *_: steps.append("listens"))
    port: dict[str, object] = {"ports": [514]} if type_name.startswith("multi") else {"port": 514}
    source = lookup("source", type_name).model_validate(port).build(context())
    source.start({}, lambda _: pytest.fail("nothing was sent"))
    assert steps == ["prepared", "listens"]


@pytest.mark.parametrize("type_name", LISTENERS)
def test_the_first_message_waits_for_no_machine_code(type_name: str) -> None:
    """What was compiled at the start is what arrays of the socket ask for."""
    kernels = [_syslog_kernel.read_by_patterns, _syslog_kernel.read_by_hand]
    with listening(type_name) as at:
        made = [len(kernel.signatures) for kernel in kernels]  # type: ignore[attr-defined]
        message = HEAD + b"a\n"
        if type_name == "syslogudp":
            at.send_datagrams(message)
        else:
            at.talk(message)
        at.until_stored(1)
        assert [len(kernel.signatures) for kernel in kernels] == made  # type: ignore[attr-defined]
        assert sum(made) > 0
