"""The bench's servers side by side: what is sent, what is counted, what is computed from it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from bench import targets
from bench.experiments import _receiver_flume, _receiver_rayflume, servers
from bench.experiments._load import Wanted, _Connection, _Load, json_lists
from bench.experiments._receivers import (
    INLETS,
    INLINE,
    ON_RAY,
    GrowingFile,
    Inlet,
    free_ports,
    part_name,
)
from bench.experiments._server_cases import CASES, Amounts, Case, Sent
from bench.figures import Figures
from rayflume.config import load
from rayflume.sources._http_json import flume_events

FLUME = "Flume 1.11"


def test_every_case_has_an_inlet_that_is_served() -> None:
    assert {case.inlet for case in CASES} == set(INLETS)
    assert len({case.title for case in CASES}) == len(CASES)
    assert [case.title for case in CASES if not case.is_for(FLUME, INLETS)] == [
        "http, NDJSON, file"
    ]
    assert not any(case.is_for("rsyslog", ()) for case in CASES)


def test_rows_of_a_request() -> None:
    rows = {case.title: case.rows(1000) for case in CASES if case.size}
    assert rows == {
        "http, one event a request, file": 1,
        "http, JSON lists, file": 1000,
        "http, NDJSON, file": 1000,
    }


def test_rayflume_listens_at_every_inlet(tmp_path: Path) -> None:
    conf = tmp_path / "agent.yaml"
    conf.write_text(yaml.safe_dump(_receiver_rayflume.configuration(tmp_path)))
    plan = load(conf)
    found = {part.name: part.type for part in plan.parts() if part.kind == "source"}
    assert found == {part_name(inlet): inlet[0] for inlet in INLETS}


def test_flume_listens_at_every_inlet(tmp_path: Path) -> None:
    ports = {part_name(inlet): 1000 + i for i, inlet in enumerate(INLETS)}
    lines = _receiver_flume.configuration(tmp_path, ports).splitlines()
    given = dict(line.split(" = ", 1) for line in lines if line)
    for inlet, port in zip(INLETS, ports.values(), strict=True):
        begin = f"a1.sources.{part_name(inlet)}"
        assert given[f"{begin}.type"] == inlet[0]
        assert given[f"{begin}.channels"] == inlet[1]
        assert given[f"{begin}.port"] == str(port)
        assert given[f"{begin}.host" if "syslog" in inlet[0] else f"{begin}.bind"] == "127.0.0.1"
    assert given["a1.sinks.file.hdfs.path"] == f"file://{tmp_path}/text"


def test_ports_differ() -> None:
    assert len(set(free_ports("abcdef").values())) == 6


def test_a_json_list_holds_the_events_that_netcat_gets() -> None:
    bodies = json_lists(3, 50)
    batches = [flume_events(body, "utf-8") for body in bodies]
    assert [batch.num_rows for batch in batches] == [50, 50, 50]
    events = [event for batch in batches for event in batch.body.to_pylist()]
    assert {len(event) for event in events} == {199}
    assert len(set(events)) == 150
    assert json.loads(bodies[0])[0]["headers"] == {}


def test_a_file_that_grows_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "text"
    counted = GrowingFile(path)
    assert counted.lines() == 0
    path.write_bytes(b"a\nb\nhalf")
    assert counted.lines() == 2
    with path.open("ab") as file:
        file.write(b" and half\nc\n")
    assert counted.lines() == 4
    assert counted.lines() == 4


# -- answers ---------------------------------------------------------------------------------------

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: Jetty\r\n\r\n0\r\n\r\n"


class Answered(_Load):
    def __init__(self) -> None:
        self.statuses: list[bytes] = []

    def answered(self, connection: _Connection, status: bytes) -> None:
        self.statuses.append(status)


@pytest.mark.parametrize("answer", [EMPTY, CHUNKED])
def test_an_answer_is_seen_at_its_end_however_it_is_cut(answer: bytes) -> None:
    for cut in range(1, len(answer)):
        load_of = Answered()
        connection = _Connection(load_of)
        connection.data_received(answer[:cut])
        assert not load_of.statuses
        connection.data_received(answer[cut:])
        assert load_of.statuses == [b"200"]


def test_an_answer_with_a_body_is_an_error() -> None:
    with pytest.raises(ValueError, match="with a body"):
        _Connection(Answered()).data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def test_requests_of_both_forms() -> None:
    for form, path in (("json", b"/ "), ("ndjson", b"/ndjson ")):
        requests = _Load(Wanted(0, rows=2, form=form))._requests
        assert all(request.startswith(b"POST " + path) for request in requests)


# -- runs ------------------------------------------------------------------------------------------


@dataclass
class Program:
    """A receiver whose events come through a few at each look; the last `lost` never do."""

    lost: int = 0
    name: str = "it"
    inlets: tuple[Inlet, ...] = INLETS
    note: str = ""
    sent: int = 0
    came: int = field(default=100)

    def missing(self) -> str:
        return ""

    def start(self, folder: Path) -> None: ...
    def port(self, inlet: Inlet) -> int:
        return INLETS.index(inlet)

    def arrived(self, channel: str) -> int:
        self.came = min(self.came + 4, 100 + max(0, self.sent - self.lost))
        return self.came

    def settled(self) -> bool:
        return True

    def pids(self) -> Iterable[int]:
        return []

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Tens(Case):
    """Sends ten events, wherever to."""

    program: Program = field(default_factory=Program)

    def send(self, port: int, amounts: Amounts) -> Sent:
        assert INLETS[port] == self.inlet
        self.program.sent += 10
        return Sent(10, 2_000, time.perf_counter(), 0.5)


@pytest.mark.parametrize("lost", [0, 3])
def test_a_run_counts_what_came_through(lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "STILL_S", 0.1)
    program = Program(lost)
    case = Tens("netcat, memory", INLETS[0], program=program)
    done = servers.measure(program, case, Amounts(10, 1, 1, 1, 1, 1))
    assert (done.events, done.arrived, done.lost, done.bytes) == (10, 10 - lost, lost, 2_000)
    assert 0 < done.seconds < 5
    assert done.sender_seconds == 0.5


def run_of(case: str, program: str, rate: int, lost: int = 0) -> servers.Measured:
    return servers.Measured(case, program, rate + lost, rate, 200 * (rate + lost), 1.0, 0.5, 0.9)


def test_a_row_has_medians_and_ratios() -> None:
    case = "syslogtcp, memory"
    ours = [run_of(case, ON_RAY, rate) for rate in (300, 100, 200)]
    ours.append(run_of(case, INLINE, 10))
    theirs = [run_of(case, FLUME, rate, lost=5) for rate in (20, 60, 40)]
    told = {ON_RAY: "here", FLUME: "in Java"}
    made = servers.table([*ours, *theirs], told, servers.Options())
    assert [row[0] for row in made.rows] == [f"{case}: {name}" for name in (ON_RAY, INLINE, FLUME)]
    figures = Figures(tables=[made])
    row = f"{case}: {FLUME}"
    assert figures.cell("Servers", row, "events/s") == 40
    assert figures.cell("Servers", row, "lowest") == 20
    assert figures.cell("Servers", row, "on Ray : it") == 5
    assert figures.cell("Servers", row, "--inline : it") == 0.25
    assert figures.cell("Servers", row, "lost") == 15
    assert figures.cell("Servers", row, "MB/s") == pytest.approx(0.008)
    assert figures.cell("Servers", row, "requests/s") is None
    assert "rayflume on Ray: here; Flume 1.11: in Java" in made.note


def test_requests_a_second_are_events_by_what_a_request_holds() -> None:
    made = servers.table(
        [run_of("http, NDJSON, file", ON_RAY, 5_000)], {}, servers.Options(rows=100)
    )
    assert Figures(tables=[made]).cell("Servers", "http, NDJSON", "requests/s") == 50


def test_targets_find_their_rows() -> None:
    runs = [run_of(case.title, ON_RAY, 400_000) for case in CASES]
    runs += [run_of("syslogtcp, file", INLINE, 500_000)]
    runs += [run_of(case.title, FLUME, 100_000) for case in CASES if not case.only]
    figures = Figures(tables=[servers.table(runs, {}, servers.Options())])
    found = [row for row in targets.table(figures).rows if row[3] != "not measured"]
    assert len(found) == 13
    met = {str(row[0]): row[3] for row in found}
    assert met["netcat into a memory channel and null sink"] == "yes"
    assert met["datagrams of syslogudp dropped at 20,000 a second"] == "yes"
    better = "channel, the better of on Ray and --inline, against Flume"
    assert met[f"netcat, file {better}"] == "no"
    assert met[f"syslogtcp, file {better}"] == "yes"
