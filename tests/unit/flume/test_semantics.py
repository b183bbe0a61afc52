"""What Flume says of a part, from its properties on: configuration, input, what comes out.

The parts have tables of their own, with rayflume's options. Here the configuration is that of a
Flume file, so that Flume's names, spellings and defaults are tested with what they do.
"""

from __future__ import annotations

import json
import socket
from contextlib import AbstractContextManager, closing
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flume_tables import flume_file, told
from listeners import Listening, listening

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.config import AgentPlan, PartPlan, component_of
from rayflume.config.groups import leaders
from rayflume.flume.read import plan_of_flume
from rayflume.interfaces import Share
from rayflume.metrics import Metrics
from rayflume.protocols import built
from rayflume.sink_group import Turn
from rayflume.sinks.hdfs import Hdfs

NOW_MS = 1_764_158_399_123  # 2025-11-26 11:59:59.123 UTC, a Wednesday
NOW = str(NOW_MS)
Event = tuple[bytes, dict[str, str]]
BEGIN = """
a1.sources = r1
a1.channels = c1 c2 c3
a1.sinks = k1 k2 k3
a1.sources.r1.type = seq
a1.sources.r1.channels = c1 c2 c3
a1.channels.c1.type = memory
a1.channels.c2.type = memory
a1.channels.c3.type = memory
a1.sinks.k1.type = null
a1.sinks.k2.type = null
a1.sinks.k3.type = null
a1.sinks.k1.channel = c1
a1.sinks.k2.channel = c2
a1.sinks.k3.channel = c3
"""


def plan(directory: Path, part: str, text: str, first: str = "") -> AgentPlan:
    """Of an agent with these properties of a part; `first`: of what else is other."""
    lines = (f"a1.{part}.{line.strip()}" for line in text.strip().splitlines())
    file = flume_file(directory, "\n".join([BEGIN, first, *lines, ""]))
    wrong = [one for one in file.findings if one.fatal or one.dropped or "no property" in one.text]
    assert not wrong, told(file)
    return plan_of_flume(file, "a1")


def context() -> Context:
    return Context("a1", "r1", ManualClock(NOW_MS), Metrics(), Path.cwd(), replay="lossy")


def events_of(batch: EventBatch) -> list[Event]:
    columns = {name: batch.header(name).to_pylist() for name in batch.header_names()}
    return [
        (body, {name: column[i] for name, column in columns.items() if column[i] is not None})
        for i, body in enumerate(batch.body.to_pylist())
    ]


def batch_of(events: list[Event]) -> EventBatch:
    bodies: list[bytes | None] = [body for body, _ in events]
    extents = (Extent("s", 0, 100, len(events)),)
    return EventBatch.from_events(bodies, [headers for _, headers in events], extents)


# -- interceptors ----------------------------------------------------------------------------------

PACKAGE = "org.apache.flume.interceptor"
INTERCEPTORS: list[tuple[str, list[Event], list[Event]]] = [
    ("type = timestamp", [(b"a", {"timestamp": "1"}), (b"b", {})],
     [(b"a", {"timestamp": NOW}), (b"b", {"timestamp": NOW})]),
    ("type = TIMESTAMP\npreserveExisting = TRUE\nheaderName = at",
     [(b"a", {"at": "1"}), (b"b", {})], [(b"a", {"at": "1"}), (b"b", {"at": NOW})]),
    (f"type = {PACKAGE}.TimestampInterceptor$Builder\npreserveExisting = yes",
     [(b"a", {"timestamp": "1"})], [(b"a", {"timestamp": NOW})]),
    ("type = host\npreserveExisting = true", [(b"a", {"host": "h"})], [(b"a", {"host": "h"})]),
    ("type = host\nuseIP = false\nhostHeader = from", [(b"a", {"from": "h"})],
     [(b"a", {"from": "here.test"})]),
    ("type = static", [(b"a", {}), (b"b", {"key": "1"})],
     [(b"a", {"key": "value"}), (b"b", {"key": "1"})]),
    ("type = static\nkey = zone\nvalue = north east\npreserveExisting = false",
     [(b"a", {"zone": "1"})], [(b"a", {"zone": "north east"})]),
    ("type = remove_header\nwithName = x", [(b"a", {"x": "1", "X": "2"})], [(b"a", {"X": "2"})]),
    ("type = remove_header\nfromList = x , y", [(b"a", {"x": "1", "y": "2", "z": "3"})],
     [(b"a", {"z": "3"})]),
    ("type = remove_header\nfromList = x;y\nfromListSeparator = ;",
     [(b"a", {"x": "1", "y": "2", "z": "3"})], [(b"a", {"z": "3"})]),
    ("type = remove_header\nmatching = x\\\\d", [(b"a", {"x1": "1", "x12": "2", "ax1": "3"})],
     [(b"a", {"x12": "2", "ax1": "3"})]),
    ("type = search_replace\nsearchPattern = \\\\d+\nreplaceString = <$0>",
     [(b"a1b22", {"h": "1"})], [(b"a<1>b<22>", {"h": "1"})]),
    ("type = search_replace\nsearchPattern = ([a-z])-([a-z])\nreplaceString = $2$1",
     [(b"a-b c-d", {})], [(b"ba dc", {})]),
    ("type = search_replace\nsearchPattern = ^[a-z]+\nreplaceString =",
     [(b"abc1abc", {})], [(b"1abc", {})]),
    ("type = search_replace\nsearchPattern = \\u00fc\nreplaceString = ue\ncharset = ISO-8859-1",
     [(b"gr\xfcn", {})], [(b"gruen", {})]),
    ("type = regex_filter", [(b"", {}), (b"a", {})], [(b"", {}), (b"a", {})]),
    ("type = regex_filter\nregex = \\\\bfail", [(b"to fail", {}), (b"unfailing", {})],
     [(b"to fail", {})]),
    ("type = regex_filter\nregex = ^debug\nexcludeEvents = true",
     [(b"debug a", {}), (b"a debug", {})], [(b"a debug", {})]),
    ("type = regex_extractor\nregex = (\\\\w+)=(\\\\w+)\nserializers = s1 s2\n"
     "serializers.s1.name = left\nserializers.s2.name = right\nserializers.s2.type = DEFAULT",
     [(b"a=b c=d", {}), (b"none", {"left": "1"})],
     [(b"a=b c=d", {"left": "a", "right": "b"}), (b"none", {"left": "1"})]),
    ("type = regex_extractor\nregex = (\\\\d)(\\\\d)\nserializers = s1\nserializers.s1.name = n",
     [(b"12", {})], [(b"12", {"n": "1"})]),
    ("type = regex_extractor\nregex = ^(\\\\S+)\nserializers = s1\n"
     f"serializers.s1.type = {PACKAGE}.RegexExtractorInterceptorMillisSerializer\n"
     "serializers.s1.name = timestamp\nserializers.s1.pattern = yyyy-MM-dd'T'HH:mm:ssZ",
     [(b"2025-11-26T12:59:59+0100 x", {})],
     [(b"2025-11-26T12:59:59+0100 x", {"timestamp": "1764158399000"})]),
    (f"type = {PACKAGE}.RegexExtractorInterceptor$Builder\nregex = (.)$\nserializers = s1\n"
     f"serializers.s1.type = {PACKAGE}.RegexExtractorInterceptorPassThroughSerializer\n"
     "serializers.s1.name = last", [(b"abc", {})], [(b"abc", {"last": "c"})]),
]  # fmt: skip
"""Properties of an interceptor, events before it, and behind it."""


@pytest.mark.parametrize(("text", "given", "expected"), INTERCEPTORS)
def test_interceptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, given: list[Event],
    expected: list[Event],
) -> None:  # fmt: skip
    monkeypatch.setattr(socket, "getfqdn", lambda *_: "here.test")
    found = plan(tmp_path, "sources.r1.interceptors.i1", text, "a1.sources.r1.interceptors = i1")
    assert intercepted(found, given) == expected


def intercepted(found: AgentPlan, given: list[Event]) -> list[Event]:
    batch = batch_of(given)
    for one in found.sources["r1"].interceptors:
        batch = built(component_of(one), context()).intercept(batch)
    return events_of(batch)


def test_uuids(tmp_path: Path) -> None:
    text = "type = org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder\nprefix = n-"
    found = plan(tmp_path, "sources.r1.interceptors.i1", text, "a1.sources.r1.interceptors = i1")
    (_, old), (_, new) = intercepted(found, [(b"a", {"id": "1"}), (b"b", {})])
    assert old == {"id": "1"}
    assert new["id"].startswith("n-") and len(new["id"]) == 38


def test_interceptors_apply_in_the_order_of_their_list(tmp_path: Path) -> None:
    text = """
        i1.type = regex_extractor
        i1.regex = (\\\\d+)
        i1.serializers = s
        i1.serializers.s.name = number
        i2.type = search_replace
        i2.searchPattern = 1
        i2.replaceString = 2
    """
    seen = []
    for order in ("i1 i2", "i2\ti1"):
        first = f"a1.sources.r1.interceptors = {order}"
        found = plan(tmp_path, "sources.r1.interceptors", text, first)
        seen += intercepted(found, [(b"a1", {})])
    assert seen == [(b"a2", {"number": "1"}), (b"a2", {"number": "2"})]


# -- selectors -------------------------------------------------------------------------------------

ROUTES = """
    type = multiplexing
    header = state
    mapping.CZ = c1
    mapping.US = c2 c3
    mapping.10.0.0.1 = c3
"""
SELECTORS: list[tuple[str, dict[str, str], str]] = [
    ("", {}, "c1 c2 c3"),
    ("type = replicating", {"state": "CZ"}, "c1 c2 c3"),
    ("type = REPLICATING\noptional = c3 c1", {}, "c2 (c1) (c3)"),
    ("optional = c3", {}, "c1 c2 (c3)"),
    (ROUTES, {"state": "CZ"}, "c1"),
    (ROUTES, {"state": "US"}, "c2 c3"),
    (ROUTES, {"state": "10.0.0.1"}, "c3"),
    (ROUTES, {"state": "cz"}, ""),
    (ROUTES, {"State": "CZ"}, ""),
    (ROUTES, {}, ""),
    (f"{ROUTES}\ndefault = c2", {}, "c2"),
    (f"{ROUTES}\ndefault = c2", {"state": " "}, "c2"),
    (f"{ROUTES}\ndefault = c2 c1", {"state": "FR"}, "c1 c2"),
    ("type = multiplexing\nmapping.x = c1\noptional.x = c1 c2",
     {"flume.selector.header": "x"}, "c1 (c2)"),
    ("type = multiplexing\nheader = h\nmapping.x = c1\noptional.y = c2", {"h": "y"}, "(c2)"),
    ("type = multiplexing\nheader = h\nmapping.x = c1\ndefault = c3\noptional.y = c3 c2",
     {"h": "y"}, "c3 (c2)"),
]  # fmt: skip
"""Properties of a selector, headers of an event, and its channels, the optional in brackets."""


@pytest.mark.parametrize(("text", "headers", "channels"), SELECTORS)
def test_selectors(tmp_path: Path, text: str, headers: dict[str, str], channels: str) -> None:
    source = plan(tmp_path, "sources.r1.selector", text).sources["r1"]
    got = [
        share.channel if share.required else f"({share.channel})"
        for share in selected(source, [(b"x", headers)])
    ]
    assert " ".join(sorted(got, key=lambda name: (name[0] == "(", name))) == channels


def selected(source: PartPlan, events: list[Event]) -> list[Share]:
    chosen = source.selector
    selector = component_of(chosen) if chosen else lookup("selector", "replicating")()
    shares = built(selector, context()).select(batch_of(events), list(source.channels))
    return [share for share in shares if share.batch.num_rows]


@pytest.mark.parametrize("policy", ["", "policy = round_robin", "policy = random"])
def test_load_balancing_gives_each_event_to_one_channel(tmp_path: Path, policy: str) -> None:
    source = plan(tmp_path, "sources.r1.selector", f"type = load_balancing\n{policy}").sources["r1"]
    events: list[Event] = [(b"%d" % i, {}) for i in range(300)]
    shares = selected(source, events)
    bodies = [share.batch.body.to_pylist() for share in shares]
    assert sorted(chain.from_iterable(bodies)) == sorted(body for body, _ in events)
    sizes = [len(one) for one in bodies]
    assert sizes == [100, 100, 100] if policy != "policy = random" else min(sizes) > 50


# -- sink processors -------------------------------------------------------------------------------

FIRST = "sinks = k1 k2\nprocessor.type = failover\nprocessor.priority.k1 = 5"
BALANCED = "sinks = k1 k2\nprocessor.type = load_balance"
PROCESSORS: list[tuple[str, str, str]] = [
    (f"{FIRST}\nprocessor.priority.k2 = 10", "0 1 2", "k2 k2 k2"),
    (f"{FIRST}\nprocessor.priority.k2 = -1", "0 1 2", "k1 k1 k1"),
    (f"{FIRST}\nprocessor.priority.k2 = 10", "0! 0 1999 2000 2001", "k2 k1 k1 k2 k2"),
    (f"{FIRST}\nprocessor.priority.k2 = 10", "0! 2000! 5999 6000", "k2 k2 k1 k2"),
    (f"{FIRST}\nprocessor.priority.k2 = 10\nprocessor.maxpenalty = 3000",
     "0! 2000! 4999 5000", "k2 k2 k1 k2"),
    (f"{FIRST}\nprocessor.priority.k2 = 10", "0! 0! 1000 2000", "k2 k1 - k2"),
    (BALANCED, "0 1 2", "k1 k2 k1"),
    (BALANCED.replace("load", "LOAD"), "0! 1 2! 3", "k1 k2 k1 k2"),
    (f"{BALANCED}\nprocessor.selector = ROUND_ROBIN\nprocessor.backoff = true",
     "0! 1 1999 2000", "k1 k2 k2 k1"),
    (f"{BALANCED}\nprocessor.backoff = true\nprocessor.selector.maxTimeOut = 500",
     "0! 1 499 500", "k1 k2 k2 k1"),
]  # fmt: skip
"""Properties of a group; when a sink may take, `!` if it fails to deliver; which one it is."""


@pytest.mark.parametrize(("text", "times", "sinks"), PROCESSORS)
def test_sink_processors(tmp_path: Path, text: str, times: str, sinks: str) -> None:
    found = plan(tmp_path, "sinkgroups.g1", text, "a1.sinkgroups = g1\na1.sinks.k2.channel = c1")
    [(members, processor)] = leaders(found, "c1")
    took = []
    for step in times.split():
        now_ms = int(step.rstrip("!"))
        turns = {name: processor.turn(name, members, now_ms) for name in members}
        may = [name for name, turn in turns.items() if turn in (Turn.TAKE, Turn.TRIAL)]
        took += may or ["-"]
        for name in may:
            processor.took(name, True, now_ms)
            if step.endswith("!"):
                processor.failed(name, now_ms)
            else:
                processor.delivered(name)
    assert " ".join(took) == sinks


# -- path escapes ----------------------------------------------------------------------------------

ESCAPES: list[tuple[str, str, dict[str, str], str]] = [
    ("/l/%Y-%m-%d/%H%M/%S", "", {}, "2025-11-26/1159/59/FlumeData"),
    ("/l/%a.%A.%b.%B.%p", "", {}, "Wed.Wednesday.Nov.November.AM/FlumeData"),
    ("/l/%y.%e.%n.%k.%l.%I.%j", "", {}, "25.26.11.11.11.11.330/FlumeData"),
    ("/l/%s", "hdfs.filePrefix = %t", {}, "1764158399/1764158399123"),
    ("/l/%D/%z", "", {}, "11/26/25/+0000/FlumeData"),
    ("/l/%H%Q%%", "", {}, "11%/FlumeData"),
    ("/l/%{topic}", "hdfs.filePrefix = %{host}", {"topic": "a", "host": "b"}, "a/b"),
    ("/l/%{topic}/x", "", {}, "x/FlumeData"),
    ("/l/%{up}/x", "", {"up": "../.."}, "..%2F.%2E/x/FlumeData"),
    ("/l/%{up}/x", "", {"up": "/etc"}, "%2Fetc/x/FlumeData"),
    ("/l/%[LOCALHOST]/%{up}", "", {"up": ".."}, "here/%2E%2E/FlumeData"),
    ("/l/%d%H%M", "hdfs.timeZone = Asia/Kolkata", {}, "261729/FlumeData"),
    ("/l/%H%M%S", "hdfs.round = true\nhdfs.roundUnit = minute\nhdfs.roundValue = 10", {},
     "115000/FlumeData"),
    ("/l/%H%M%S", "hdfs.round = true\nhdfs.roundUnit = hour\nhdfs.roundValue = 6", {},
     "060000/FlumeData"),
    ("/l/%S", "hdfs.round = true\nhdfs.roundValue = 30", {}, "30/FlumeData"),
    ("/l/%H%M%S", "hdfs.roundUnit = minute\nhdfs.roundValue = 10", {}, "115959/FlumeData"),
    ("/l/%H%M", "hdfs.round = true\nhdfs.roundUnit = minute\nhdfs.roundValue = 20\n"
     "hdfs.timeZone = Asia/Kolkata", {}, "1720/FlumeData"),
]  # fmt: skip
"""Path, more properties of an hdfs sink, headers, and the file's path below the base, without what
makes its name unique.
"""


@pytest.mark.parametrize(("path", "text", "headers", "expected"), ESCAPES)
def test_path_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, text: str,
    headers: dict[str, str], expected: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("rayflume.sinks._events.host_values", lambda: {"[localhost]": "here"})
    text = f"hdfs.path = file://{path}\n{text}"
    zone = "" if "timeZone" in text else "a1.sinks.k1.hdfs.timeZone = UTC\n"
    sink = component_of(
        plan(tmp_path, "sinks.k1", text, f"{zone}a1.sinks.k1.type = hdfs").sinks["k1"]
    )
    assert isinstance(sink, Hdfs)
    constants = {"[localhost]": "here"} if "%[" in path else {}
    groups = sink._buckets(None).group(np.array([NOW_MS]), {**headers, **constants})
    assert groups.directories == [expected]


# -- syslog ----------------------------------------------------------------------------------------

OLD = b"<13>Nov 26 11:59:59 edge app: hello"
NEW = b"<165>1 2025-11-26T11:59:59.123Z edge app - ID47 - hello"
OLD_HEADERS = {"Facility": "1", "Severity": "5", "host": "edge"}
NEW_HEADERS = {"Facility": "20", "Severity": "5", "host": "edge", "timestamp": NOW}
ODD = {"Facility": "0", "Severity": "0", "flume.syslog.status": "Invalid"}
SYSLOG: list[tuple[str, str, bytes, bytes, dict[str, str]]] = [
    ("syslogtcp", "", NEW, b"app - ID47 - hello",
     NEW_HEADERS | {"priority": "165", "version": "1"}),
    ("syslogudp", "", NEW, b"app - ID47 - hello",
     NEW_HEADERS | {"priority": "165", "version": "1"}),
    ("multiport_syslogtcp", "", NEW, b"app - ID47 - hello",
     NEW_HEADERS | {"Priority": "165", "Version": "1"}),
    ("syslogtcp", "keepFields = all", NEW, NEW,
     NEW_HEADERS | {"priority": "165", "version": "1"}),
    ("syslogtcp", "keepFields = true", NEW, NEW,
     NEW_HEADERS | {"priority": "165", "version": "1"}),
    ("syslogtcp", "keepFields = none", OLD, b"app: hello", OLD_HEADERS | {"priority": "13"}),
    ("syslogtcp", "keepFields = hostname priority", OLD, b"<13>edge app: hello",
     OLD_HEADERS | {"priority": "13"}),
    ("multiport_syslogtcp", "keepFields = timestamp", OLD, b"Nov 26 11:59:59 app: hello",
     OLD_HEADERS | {"Priority": "13"}),
    ("syslogudp", "", b"no syslog", b"no syslog", ODD),
    ("syslogtcp", "", b"no syslog", b"no syslog", ODD),
    ("multiport_syslogtcp", "", b"no syslog", b"no syslog", {"flume.syslog.status": "Invalid"}),
    ("syslogtcp", "", b"<13>what is this", b"<13>what is this",
     {"Facility": "1", "Severity": "5"}),
    ("syslogtcp", "clientIPHeader = ip", b"<13>what is this", b"<13>what is this",
     {"Facility": "1", "Severity": "5", "ip": "127.0.0.1"}),
    ("multiport_syslogtcp", "portHeader = at", b"what", b"what",
     {"flume.syslog.status": "Invalid", "at": "PORT"}),
]  # fmt: skip
"""Type of a source, its properties, a message, and the body and headers of its event; the time of
the old form, which has no year, left out.
"""


@pytest.mark.parametrize(("kind", "text", "message", "body", "headers"), SYSLOG)
def test_syslog(
    tmp_path: Path, kind: str, text: str, message: bytes, body: bytes, headers: dict[str, str]
) -> None:
    port = "ports = 0" if kind.startswith("multi") else "port = 0"
    first = f"a1.sources.r1.type = {kind}"
    with serving(
        plan(tmp_path, "sources.r1", f"host = 127.0.0.1\n{port}\n{text}", first)
    ) as server:
        if kind == "syslogudp":
            server.send_datagrams(message)
        else:
            server.talk(message + b"\n")
        server.until_stored(1)
        [(found, got)] = events_of(server.ingest.calls[0])
        wanted = {n: str(server.port) if v == "PORT" else v for n, v in headers.items()}
    if message == OLD:
        assert got.pop("timestamp").endswith("9000")
    assert (found, got) == (body, wanted)


def serving(found: AgentPlan) -> AbstractContextManager[Listening]:
    """The source of a plan."""
    source = found.sources["r1"]
    options: dict[str, Any] = {**source.options, "port": 0}
    return listening(source.type, **options)


# -- HTTP ------------------------------------------------------------------------------------------

BLOB = "handler = org.apache.flume.sink.solr.morphline.BlobHandler"
BLOB_OF_CORE = "handler = org.apache.flume.source.http.BLOBHandler"
LIST = json.dumps([{"headers": {"a": "b"}, "body": "x"}, {"body": "y"}]).encode()
HTTP: list[tuple[str, str, str, bytes, int, list[Event]]] = [
    ("", "POST", "/", LIST, 200, [(b"x", {"a": "b"}), (b"y", {})]),
    ("handler = org.apache.flume.source.http.JSONHandler", "GET", "/any?x=1", LIST, 200,
     [(b"x", {"a": "b"}), (b"y", {})]),
    ("", "POST", "/", b"[]", 200, []),
    ("", "POST", "/", b"[{]", 400, []),
    ("", "POST", "/", b"", 500, []),
    ("", "POST", "/", b"null", 500, []),
    ("", "TRACE", "/", b"", 403, []),
    ("", "OPTIONS", "/", b"", 403, []),
    (BLOB, "POST", "/?name=n", b"\x00[{", 200, [(b"\x00[{", {"name": "n"})]),
    (f"{BLOB}\nhandler.maxBlobLength = 3", "POST", "/", b"abcdef", 200, [(b"abc", {})]),
    (f"{BLOB_OF_CORE}\nhandler.mandatoryParameters = id", "POST", "/?id=1", b"x", 200,
     [(b"x", {"id": "1"})]),
    (f"{BLOB_OF_CORE}\nhandler.mandatoryParameters = id", "POST", "/?no=1", b"x", 500, []),
]  # fmt: skip
"""Properties of an http source, method, path, body, status of the answer, events."""


@pytest.mark.parametrize(("text", "method", "path", "body", "status", "events"), HTTP)
def test_http(
    tmp_path: Path, text: str, method: str, path: str, body: bytes, status: int,
    events: list[Event],
) -> None:  # fmt: skip
    text = f"bind = 127.0.0.1\nport = 0\n{text}"
    with serving(plan(tmp_path, "sources.r1", text, "a1.sources.r1.type = http")) as server:
        answer = asked(server.port, method, path, body)
        assert answer == (200, b"") if status == 200 else answer[0] == status
        got = [event for batch in server.ingest.calls for event in events_of(batch)]
    assert got == events


def asked(port: int, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
