"""Clauses V1 to V4 of interfaces.ServerSource, over every source that listens."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

import pytest
from listeners import Listening, listening

from rayflume.component import lookup, types_of
from rayflume.errors import ChannelFull, OptionError
from rayflume.interfaces import StreamPosition

Send = Callable[[Listening, list[bytes]], int]
"""Send rows and wait until the server is done with them: how many it said are stored."""


def lines(server: Listening, rows: list[bytes]) -> int:
    try:
        return server.talk(b"".join(row + b"\n" for row in rows)).count(b"OK\n")
    except OSError:
        return 0


def datagrams(server: Listening, rows: list[bytes]) -> int:
    server.send_datagrams(*rows)
    return 0


def request(server: Listening, rows: list[bytes]) -> int:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/ndjson", b"\n".join(rows))
            return len(rows) if connection.getresponse().status == 200 else 0
        except (OSError, HTTPException):
            return 0


@dataclass(frozen=True)
class Case:
    """How to talk to one source. `answers`: it says what it has. `waits`: rows that the channel has
    no room for wait, instead of being refused.
    """

    send: Send
    answers: bool = True
    waits: bool = True
    kind: socket.SocketKind = socket.SOCK_STREAM
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "http": Case(request, waits=False),
    "multiport_syslogtcp": Case(lines, answers=False),
    "netcat": Case(lines),
    "netcatudp": Case(datagrams, answers=False, kind=socket.SOCK_DGRAM),
    "syslogtcp": Case(lines, answers=False),
    "syslogudp": Case(datagrams, answers=False, kind=socket.SOCK_DGRAM),
}
ROWS = [b"row %d" % i for i in range(20)]


def test_every_server_is_here() -> None:
    servers = {t for t in types_of("source") if getattr(lookup("source", t), "server", False)}
    assert servers == set(CASES)


@pytest.fixture(params=sorted(CASES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(name: str) -> Case:
    return CASES[name]


@pytest.fixture
def server(name: str, case: Case) -> Iterator[Listening]:
    with listening(name, **case.options) as server:
        yield server


def send_later(case: Case, server: Listening) -> tuple[threading.Thread, list[int]]:
    said: list[int] = []
    thread = threading.Thread(target=lambda: said.append(case.send(server, ROWS)))
    thread.start()
    return thread, said


def test_v1_it_listens_when_start_returns(server: Listening, case: Case) -> None:
    said = case.send(server, ROWS)
    server.until_stored(len(ROWS))
    assert server.bodies() == ROWS
    assert said == (len(ROWS) if case.answers else 0)


def test_v1_a_taken_port_is_an_option_error(name: str, case: Case) -> None:
    with socket.socket(socket.AF_INET, case.kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if case.kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(OptionError, match=f"port {port} on 127.0.0.1 is in use"),
            listening(name, **{**case.options, "port": port}),
        ):
            pass


def test_v1_rows_are_of_one_life_without_a_gap(server: Listening, case: Case) -> None:
    for _ in range(3):
        case.send(server, ROWS)
    server.until_stored(3 * len(ROWS))
    extents = server.ingest.extents()
    assert {extent.stream for extent in extents} == {server.source.describe()["stream"]}
    assert extents[0].stream.startswith(server.source.prefix)
    ends = [0, *(extent.end for extent in extents)]
    assert [extent.start for extent in extents] == ends[:-1]


def test_v1_former_lives_retire_once(name: str, case: Case) -> None:
    positions = {
        "h1/edge/life/1": StreamPosition(7),
        "h1/edge/life/2": StreamPosition(7, retired=True),
        "h1/other/life/1": StreamPosition(7),
    }
    with listening(name, positions, **case.options) as server:
        assert server.source.retired() == ["h1/edge/life/1"]
        assert server.source.retired() == []


def test_v2_no_success_before_the_rows_are_durable(server: Listening, case: Case) -> None:
    server.ingest.gate.clear()
    thread, said = send_later(case, server)
    assert server.ingest.entered.acquire(timeout=20)
    if case.answers:
        thread.join(0.05)
        assert not said
    server.ingest.gate.set()
    thread.join(20)
    assert said == [len(ROWS) if case.answers else 0]
    server.until_stored(len(ROWS))


def test_v2_rows_that_find_no_room_are_never_called_stored(server: Listening, case: Case) -> None:
    server.ingest.errors = [ChannelFull("the channel is full", credit=0)]
    said = case.send(server, ROWS)
    if case.waits:
        server.until_stored(len(ROWS))
        assert said == (len(ROWS) if case.answers else 0)
    else:
        assert said == 0
    assert len(server.ingest.stored) == (len(ROWS) if case.waits else 0)


def test_v3_a_drain_ends_once_what_is_in_hand_is_stored(server: Listening, case: Case) -> None:
    server.ingest.gate.clear()
    thread, said = send_later(case, server)
    assert server.ingest.entered.acquire(timeout=20)
    drain = threading.Thread(target=server.source.drain)
    drain.start()
    server.until("state", "draining")
    drain.join(0.05)
    assert drain.is_alive()
    server.ingest.gate.set()
    drain.join(20)
    thread.join(20)
    assert server.source.describe()["state"] == "drained"
    assert server.bodies() == ROWS
    assert said == [len(ROWS) if case.answers else 0]
    assert case.send(server, [b"late"]) == 0
    assert server.bodies() == ROWS


def test_v4_stop_answers_nothing_and_closes_the_socket(server: Listening, case: Case) -> None:
    server.ingest.errors = [ChannelFull("the channel is full", credit=0)] * 100
    thread, said = send_later(case, server)
    assert server.ingest.entered.acquire(timeout=20)
    server.source.stop()
    thread.join(20)
    assert said == [0]
    assert server.ingest.stored == []
    with socket.socket(socket.AF_INET, case.kind) as anew:
        anew.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        anew.bind(("127.0.0.1", server.port))


def test_describe_is_plain_data(server: Listening) -> None:
    facts = server.source.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["state"], facts["bind"]) == ("serving", "127.0.0.1")
