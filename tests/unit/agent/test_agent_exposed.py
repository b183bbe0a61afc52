"""Metrics as others read them: Flume's JSON and Prometheus's text, from a status."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rayflume.agent.exposed import flume_document, prometheus_text
from rayflume.agent.metrics_server import MetricsServer
from rayflume.clock import ManualClock
from rayflume.config import Monitoring, check_host, plan_of
from rayflume.errors import ConfigError
from rayflume.interfaces import Json
from rayflume.metrics import FLUME, METRICS


def component(kind: str, name: str, type_: str, metrics: Json, replica: int = 0) -> Json:
    return {
        "name": name, "kind": kind, "type": type_, "replica": replica, "state": "running",
        "restarts": 2, "metrics": metrics,
    }  # fmt: skip


STATUS: dict[str, Json] = {
    "agent": "a1",
    "state": "running",
    "components": [
        component("channel", "c1", "file", {"ChannelSize": 5, "Open": 1, "StartTime": 17}),
        component("channel", "c2", "memory", {"ChannelFillPercentage": 12}),
        component("sink", "k1", "null", {"EventDrainSuccessCount": 7, "StartTime": 30}),
        component("sink", "k1", "null", {"EventDrainSuccessCount": 8, "StartTime": 20}, 1),
        component("source", "r1", "http", {"OpenConnectionCount": 3, "RequestRejectedCount": 1}),
    ],
}


def test_flume_shows_every_component_with_its_whole_set_as_text() -> None:
    found = flume_document(STATUS)
    assert list(found) == ["CHANNEL.c1", "CHANNEL.c2", "SINK.k1", "SOURCE.r1"]
    assert all(isinstance(text, str) for entry in found.values() for text in entry.values())
    for name, kinds in {
        "CHANNEL.c1": ("channel", "file channel"), "CHANNEL.c2": ("channel",),
        "SINK.k1": ("sink",), "SOURCE.r1": ("source",),
    }.items():  # fmt: skip
        wanted = {metric for kind in kinds for metric in FLUME[kind]}
        assert wanted | {"Type", "StartTime", "StopTime"} <= set(found[name])
    assert "Open" not in found["CHANNEL.c2"]


@pytest.mark.parametrize(
    ("entry", "metric", "text"),
    [
        ("CHANNEL.c1", "Type", "CHANNEL"),
        ("CHANNEL.c1", "ChannelSize", "5"),
        ("CHANNEL.c1", "Open", "true"),
        ("CHANNEL.c1", "Closed", "0"),
        ("CHANNEL.c1", "StartTime", "17"),
        ("CHANNEL.c1", "StopTime", "0"),
        ("CHANNEL.c2", "ChannelFillPercentage", "12.0"),
        ("CHANNEL.c2", "ChannelSize", "0"),
        ("SINK.k1", "EventDrainSuccessCount", "15"),
        ("SINK.k1", "StartTime", "20"),
        ("SINK.k1", "BatchUnderflowCount", "0"),
        ("SOURCE.r1", "OpenConnectionCount", "3"),
        ("SOURCE.r1", "RequestRejectedCount", "1"),
    ],
)
def test_values_of_flumes_document(entry: str, metric: str, text: str) -> None:
    assert flume_document(STATUS)[entry][metric] == text


def test_prometheus_reads_its_text() -> None:
    families = list(text_string_to_metric_families(prometheus_text(STATUS).decode()))
    samples = {
        (sample.name, sample.labels["component"], sample.labels["replica"]): sample
        for family in families
        for sample in family.samples
    }
    drained = samples["rayflume_EventDrainSuccessCount_total", "k1", "1"]
    assert (drained.value, drained.labels["agent"], drained.labels["kind"]) == (8, "a1", "sink")
    assert samples["rayflume_ChannelSize", "c1", "0"].value == 5
    assert samples["rayflume_up", "r1", "0"].value == 1
    assert samples["rayflume_restarts_total", "r1", "0"].value == 2
    assert all(family.documentation for family in families)


def test_every_name_of_flume_is_in_the_table() -> None:
    assert {name for names in FLUME.values() for name in names} <= set(METRICS)


# -- the listener --------------------------------------------------------------------------------


class Served:
    """A server on a free port and how often its status was asked for."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.asked = 0
        self.server = MetricsServer(Monitoring(port=0), self.status, self.clock)

    def status(self) -> Mapping[str, Json]:
        self.asked += 1
        return STATUS

    def request(self, method: str, path: str) -> tuple[int, str, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, 10)) as client:
            client.request(method, path)
            answer = client.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read()


@pytest.fixture
def served() -> Iterator[Served]:
    found = Served()
    with found.server:
        eventually(lambda: found.server.port > 0)
        yield found


def eventually(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1_000):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to pass in 10 s")


def test_metrics_are_served_as_flume_does(served: Served) -> None:
    code, kind, body = served.request("GET", "/metrics")
    assert (code, kind.lower()) == (200, "application/json;charset=utf-8")
    assert json.loads(body) == flume_document(STATUS)
    code, kind, body = served.request("GET", "/metrics/prometheus")
    assert (code, kind.split(";")[0], body) == (200, "text/plain", prometheus_text(STATUS))
    assert served.request("GET", "/")[:2] == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/metrics/", 404), ("GET", "/status", 404), ("TRACE", "/metrics", 403),
        ("OPTIONS", "/metrics", 403), ("POST", "/metrics", 405), ("DELETE", "/", 405),
    ],
)  # fmt: skip
def test_s14_it_only_reads(served: Served, method: str, path: str, code: int) -> None:
    assert served.request(method, path)[0] == code


def test_who_asks_often_does_not_ask_the_agent_as_often(served: Served) -> None:
    for _ in range(5):
        served.request("GET", "/metrics")
    assert served.asked == 1
    served.clock.advance(1_000)
    served.request("GET", "/metrics/prometheus")
    assert served.asked == 2


def test_s4_who_only_holds_connections_takes_few_descriptors_and_not_for_long(
    monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    monkeypatch.setattr("rayflume.agent.metrics_server.CONNECTIONS_MAX", 4)
    monkeypatch.setattr("rayflume.agent.metrics_server.SILENT_S", 0.3)
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", served.server.port), 10))
            for _ in range(6)
        ]
        for connection in held[:4]:
            connection.sendall(b"GET /metrics HTTP/1.1\r\n")  # and never goes on
        for connection in reversed(held):
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert served.request("GET", "/metrics")[0] == 200


def test_a_port_that_is_taken_is_no_reason_to_stop(served: Served) -> None:
    options = Monitoring(port=served.server.port)
    with MetricsServer(options, served.status, served.clock) as second:
        assert served.request("GET", "/metrics")[0] == 200
    assert second.port == 0


# -- the option ----------------------------------------------------------------------------------

PLAN: dict[str, object] = {
    "agent": "a1",
    "sources": {"r1": {"type": "seq", "channels": ["c1"]}},
    "channels": {"c1": {"type": "memory"}},
    "sinks": {"k1": {"type": "null", "channel": "c1"}},
}


def test_the_plan_keeps_where_metrics_are_served() -> None:
    plan = plan_of({**PLAN, "monitoring": {"port": 5}})
    assert plan.monitoring == Monitoring(port=5)
    assert type(plan).from_json(plan.to_json()) == plan
    assert plan_of(PLAN).monitoring is None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"bind": "0.0.0.0"}, "add dangerously_allow_anonymous: true"),
        ({"prot": 1}, "did you mean 'port'?"),
        ({"port": 70_000}, "at most 65535"),
        (41414, "must be a mapping, for example `{port: 41414}`"),
    ],
)
def test_s1_what_is_wrong_with_monitoring_is_said(given: Json, sentence: str) -> None:
    with pytest.raises(ConfigError, match="monitoring") as caught:
        plan_of({**PLAN, "monitoring": given})
    assert sentence in caught.value.message


def test_a_port_that_is_taken_is_said_before_anything_starts(served: Served) -> None:
    plan = plan_of({**PLAN, "monitoring": {"port": served.server.port}})
    [problem] = check_host(plan)
    assert problem == (
        f"monitoring.port: port {served.server.port} on 127.0.0.1 is in use; stop what listens "
        "there or choose another port"
    )
