"""The http sink against a real server on loopback: statuses, order, retries, time-outs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from http_target import HttpTarget, serving
from pydantic import ValidationError

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.errors import StorageUnavailable
from rayflume.interfaces import Manifest
from rayflume.metrics import Metrics
from rayflume.sinks._http_rules import Rules, Verdict
from rayflume.sinks._http_sink import HttpSink
from rayflume.sinks.http import Http

GUIDE: dict[str, object] = {
    "default_backoff": True, "default_rollback": True, "default_increment_metrics": False,
    "backoff": {"4XX": False, "200": False, "503": False},
    "rollback": {"4XX": False, "200": False, "404": True},
    "increment_metrics": {"4XX": True, "200": True, "400": False},
}  # fmt: skip
FLUME: dict[str, object] = {"backoff": {}, "rollback": {}, "increment_metrics": {}}


def verdict(options: Mapping[str, object], status: int) -> str:
    made = Http.model_validate({"endpoint": "http://localhost/", **options})
    rules = Rules(
        (made.default_rollback, made.rollback),
        (made.default_backoff, made.backoff),
        (made.default_increment_metrics, made.increment_metrics),
    )
    found = rules.verdict(status)
    names = ("rollback", "backoff", "counts")
    return " ".join(name for name in names if getattr(found, name))


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        (GUIDE, 200, "counts"),
        (GUIDE, 201, "rollback backoff"),
        (GUIDE, 400, ""),
        (GUIDE, 404, "rollback counts"),
        (GUIDE, 410, "counts"),
        (GUIDE, 500, "rollback backoff"),
        (GUIDE, 503, "rollback"),
        ({}, 200, "counts"),
        ({}, 204, "counts"),
        ({}, 302, "rollback backoff"),
        ({}, 400, "rollback backoff"),
        (FLUME, 200, "rollback backoff"),
        ({**FLUME, "default_rollback": False}, 200, "backoff"),
        ({**FLUME, "default_increment_metrics": True}, 500, "rollback backoff counts"),
    ],
)
def test_the_code_wins_over_the_group_and_that_over_the_default(
    options: Mapping[str, object], status: int, expected: str
) -> None:
    assert verdict(options, status) == expected


@contextmanager
def sink(
    target: HttpTarget, metrics: Metrics | None = None, **options: object
) -> Iterator[HttpSink]:
    context = Context("agent", "out", ManualClock(), metrics or Metrics(), Path.cwd())
    made = Http.model_validate({"endpoint": target.url, **options}).build(context)
    made.open()
    try:
        yield made
    finally:
        made.close()


def rows(count: int, first: int = 0) -> EventBatch:
    bodies: list[bytes | None] = [b"%d" % i for i in range(first, first + count)]
    return EventBatch.from_events(bodies, (), (Extent("s", first, first + count, count),))


def deliver(made: HttpSink, number: int, batch: EventBatch, position: int = 0) -> Manifest:
    writer = made.begin(f"d-{number}")
    writer.write(batch, position)
    manifest = writer.stage()
    assert made.publish(manifest) == []
    return manifest


def failing(*statuses: int, on: bytes) -> Callable[[bytes], int]:
    """Answers of one body in turn; 200 afterwards, and to all others."""
    left = list(statuses)
    return lambda body: left.pop(0) if body == on and left else 200


def test_one_post_for_each_event_in_order_on_one_connection() -> None:
    with serving() as target, sink(target, connections=1) as made:
        manifest = deliver(made, 1, rows(200))
    assert target.bodies == [b"%d" % i for i in range(200)]
    assert (target.connections, target.in_hand_max) == (1, 1)
    assert (manifest.rows, manifest.written, manifest.filtered) == (200, 200, 0)
    sent = target.headers[0]
    assert (sent["Content-Type"], sent["Accept"]) == ("text/plain", "text/plain")
    assert "User-Agent" not in sent


def test_several_are_under_way_at_once_on_as_many_connections() -> None:
    with serving() as target, sink(target, connections=4) as made:
        deliver(made, 1, rows(500))
    assert sorted(target.bodies, key=int) == [b"%d" % i for i in range(500)]
    assert target.connections <= 4 and target.in_hand_max <= 4


def test_a_rollback_sends_the_event_again_and_no_other() -> None:
    metrics = Metrics()
    told = HttpTarget(answer=failing(500, 503, on=b"7"))
    with serving(told) as target, sink(target, metrics, connections=1) as made:
        for number in (1, 2):
            with pytest.raises(StorageUnavailable, match="the HTTP server answered 50"):
                deliver(made, number, rows(10))
        manifest = deliver(made, 3, rows(12))
    assert target.bodies == [b"%d" % i for i in (*range(8), 7, *range(7, 12))]
    assert (manifest.rows, manifest.written) == (12, 12)
    assert metrics.snapshot()["EventWriteFail"] == 2


def test_what_was_under_way_beside_a_rollback_is_not_sent_twice() -> None:
    told = HttpTarget(answer=failing(500, on=b"3"))
    with serving(told) as target, sink(target, connections=4) as made:
        with pytest.raises(StorageUnavailable):
            deliver(made, 1, rows(50))
        deliver(made, 2, rows(50))
    assert sorted(target.bodies, key=int) == sorted(
        [*(b"%d" % i for i in range(50)), b"3"], key=int
    )


def test_a_rollback_without_backoff_is_tried_again_at_once() -> None:
    told = HttpTarget(answer=failing(409, 409, on=b"1"))
    with (
        serving(told) as target,
        sink(target, connections=1, backoff={"2XX": False, "409": False}) as made,
    ):
        deliver(made, 1, rows(3))
    assert target.bodies == [b"0", b"1", b"1", b"1", b"2"]


def test_backoff_without_rollback_pauses_and_goes_on_behind_the_event() -> None:
    told = HttpTarget(answer=failing(429, on=b"1"))
    with (
        serving(told) as target,
        sink(target, connections=1, rollback={"2XX": False, "429": False}) as made,
    ):
        with pytest.raises(StorageUnavailable, match="429"):
            deliver(made, 1, rows(3))
        manifest = deliver(made, 2, rows(3))
    assert target.bodies == [b"0", b"1", b"2"]
    assert (manifest.written, manifest.filtered) == (2, 1)


def test_an_event_that_is_given_up_does_not_count_as_delivered() -> None:
    rule = {"2XX": False, "4XX": False}
    with (
        serving(HttpTarget(answer=failing(400, on=b"1"))) as target,
        sink(target, backoff=rule, rollback=rule) as m,
    ):
        manifest = deliver(m, 1, rows(3))
    assert (manifest.rows, manifest.written, manifest.filtered) == (3, 2, 1)


def test_events_without_a_body_are_done_unsent() -> None:
    batch = EventBatch.from_events([b"", b"a", None], (), (Extent("s", 0, 3, 3),))
    with serving() as target, sink(target) as made:
        manifest = deliver(made, 1, batch)
    assert target.bodies == [b"a"]
    assert (manifest.rows, manifest.written, manifest.filtered) == (3, 1, 2)


def test_batches_are_lines() -> None:
    with serving() as target, sink(target, batch_size=4, connections=1) as made:
        deliver(made, 1, rows(10))
    assert target.bodies == [b"0\n1\n2\n3", b"4\n5\n6\n7", b"8\n9"]


def test_s17_redirects_are_not_followed() -> None:
    with serving(HttpTarget(answer=failing(307, on=b"0"))) as target, sink(target) as made:
        with pytest.raises(StorageUnavailable, match="answered 307"):
            deliver(made, 1, rows(1))
        assert target.bodies == [b"0"]


def test_a_server_that_breaks_off_is_asked_again() -> None:
    with serving(HttpTarget(answer=failing(0, on=b"1"))) as target, sink(target) as made:
        with pytest.raises(StorageUnavailable, match="did not answer"):
            deliver(made, 1, rows(2))
        deliver(made, 2, rows(2))
    assert sorted(target.bodies) == [b"0", b"1", b"1"]


def test_a_server_that_is_away_and_comes_back() -> None:
    with serving() as target, sink(target) as made:
        deliver(made, 1, rows(3))
        port = target.port
    back = HttpTarget(port=port)
    with sink(back) as made:
        with pytest.raises(StorageUnavailable, match="did not answer"):
            deliver(made, 2, rows(3, 3), 3)
        with serving(back):
            deliver(made, 3, rows(3, 3), 3)
    assert sorted(back.bodies) == [b"3", b"4", b"5"]


def test_a_server_that_is_too_slow_is_not_waited_for() -> None:
    with serving() as target, sink(target, request_timeout="50ms", connections=1) as made:
        target.gate.clear()
        with pytest.raises(StorageUnavailable, match="did not answer in time"):
            deliver(made, 1, rows(2))
        target.gate.set()
        deliver(made, 2, rows(2))
    assert target.bodies == [b"0", b"0", b"1"]


def test_a_long_answer_is_not_read_to_its_end() -> None:
    with serving(HttpTarget(answer_bytes=2**22)) as target, sink(target, connections=1) as made:
        deliver(made, 1, rows(2))
    assert target.bodies == [b"0", b"1"] and target.connections == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Field required"),
        ({"endpoint": "localhost:80"}, "is no URL"),
        ({"endpoint": "ftp://host/"}, "is no URL"),
        ({"endpoint": "http://host:99999/"}, "is no URL"),
        ({"endpoint": "http://me:secret@host/"}, "remove them"),
        ({"endpoint": "http://host/", "rollback": {"20": True}}, "pattern"),
        ({"endpoint": "http://host/", "rollback": {"40X": True}}, "pattern"),
        ({"endpoint": "http://host/", "connect_timeout": 0}, "greater than 0"),
    ],
)
def test_bad_options(options: Mapping[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Http.model_validate(options)


def test_codes_may_be_numbers_and_groups_in_small_letters() -> None:
    made = Http.model_validate({"endpoint": "http://h/", "rollback": {200: False, "4xx": True}})
    assert made.rollback == {"200": False, "4XX": True}
    assert Verdict(True, False, False).rollback
