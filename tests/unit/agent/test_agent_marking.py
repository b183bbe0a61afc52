"""A whole agent in this process marks the partitions that are complete."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from rayflume.agent import marking, signs
from rayflume.agent.inline import InlineAgent
from rayflume.agent.marking import expected_sources, marks
from rayflume.agent.parts import MarkingSink, Place, build_part
from rayflume.agent.runner import ServerRunner
from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock, SystemClock
from rayflume.component import Context, lookup
from rayflume.config import AgentPlan, component_of, plan_of
from rayflume.errors import ChannelClosed, Retry
from rayflume.flow import Route
from rayflume.interfaces import Channel, Json, PutOutcome, PutReply, PutRequest
from rayflume.metrics import Metrics

WAIT_S = 20
CLOCK = SystemClock()
COMPLETE: dict[str, object] = {"after": "10min"}
TAIL: dict[str, object] = {"type": "taildir", "channels": ["wal"], "scan_interval": "50ms"}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marking, "EVERY_MS", 20)
    monkeypatch.setattr(signs, "EVERY_MS", 20)


def plan(directory: Path, **sources: dict[str, object]) -> AgentPlan:
    web = {**TAIL, "paths": ["in/*.log"]}
    lake = {
        "type": "parquet",
        "channel": "wal",
        "path": "lake",
        "format": {"type": "json", "schema": {"id": "int64", "ts": "timestamp_s"}},
        "event_time": "ts",
        "partition_by": ["dt=%Y-%m-%d", "hour=%H"],
        "complete": COMPLETE,
        "roll": {"age": "50ms"},
    }
    return plan_of(
        {
            "agent": "clicks",
            "sources": sources or {"web": web},
            "channels": {"wal": {"type": "file", "directory": "wal"}},
            "sinks": {"lake": lake},
        },
        directory,
    )


def write(directory: Path, file: str, *hours: float) -> None:
    """Rows of these hours of 2025-11-22, UTC."""
    folder = directory / "in"
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps({"id": i, "ts": int(1_763_769_600 + h * 3600)}) for i, h in enumerate(hours)
    ]
    with (folder / file).open("a") as out:
        out.write("".join(f"{line}\n" for line in lines))


def await_true(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(WAIT_S * 50):
        if true():
            return
        pause.wait(0.02)
    raise AssertionError("it does not come to pass")


def sink_of(agent: InlineAgent) -> dict[str, Any]:
    components = agent.status()["components"]
    assert isinstance(components, list)
    return next(p for p in components if isinstance(p, dict) and p["name"] == "lake")


def rows(agent: InlineAgent) -> int:
    return int(sink_of(agent)["metrics"].get("EventDrainSuccessCount", 0))


def markers(directory: Path) -> dict[str, Json]:
    base = directory / "lake"
    found = sorted(base.rglob("_SUCCESS*"))
    return {str(path.relative_to(base)): json.loads(path.read_text()) for path in found}


def stop(agent: InlineAgent) -> None:
    agent.stop()
    assert agent.join(WAIT_S)


def test_a_partition_is_marked_once_the_watermark_has_passed_it(tmp_path: Path) -> None:
    write(tmp_path, "a.log", 6.1, 6.5, 6.9, 7.1)
    agent = InlineAgent(plan(tmp_path)).start()
    await_true(lambda: rows(agent) == 4)
    await_true(lambda: bool(sink_of(agent)["detail"].get("watermark")))
    assert markers(tmp_path) == {}, "7:06 has not passed 7:00 by ten minutes"
    write(tmp_path, "a.log", 7.2)
    await_true(lambda: bool(markers(tmp_path)))
    await_true(lambda: sink_of(agent)["detail"]["oldest_open_partition"] == "dt=2025-11-22/hour=07")
    detail = sink_of(agent)["detail"]
    assert detail["watermark"] == "2025-11-22T07:12:00.000+00:00"
    [(name, content)] = markers(tmp_path).items()
    assert isinstance(content, dict)
    assert name == "dt=2025-11-22/hour=06/_SUCCESS"
    assert (content["rows"], content["partition"]) == (3, "dt=2025-11-22/hour=06")
    assert content["watermark"] == detail["watermark"]
    files = list((tmp_path / "lake" / "dt=2025-11-22" / "hour=06").glob("*.parquet"))
    assert len(files) == content["files"]
    assert sink_of(agent)["metrics"]["PartitionCompletedCount"] == 1
    stop(agent)
    assert len(pq.ParquetDataset(tmp_path / "lake").read()) == 5, "readers pass the marker over"


def test_a_later_row_lands_and_is_told_of(tmp_path: Path) -> None:
    write(tmp_path, "a.log", 6.1, 7.2)
    agent = InlineAgent(plan(tmp_path)).start()
    await_true(lambda: len(markers(tmp_path)) == 1)
    write(tmp_path, "a.log", 6.3, 6.4)
    await_true(lambda: len(markers(tmp_path)) == 2)
    stop(agent)
    first, late = markers(tmp_path).items()
    assert isinstance(first[1], dict)
    assert isinstance(late[1], dict)
    assert late[0].startswith("dt=2025-11-22/hour=06/_SUCCESS.late-")
    assert (first[1]["rows"], late[1]["rows"]) == (1, 2)
    assert len(pq.ParquetDataset(tmp_path / "lake").read()) == 4


def test_a_file_that_lags_holds_it_and_a_restart_does_not_let_go(tmp_path: Path) -> None:
    write(tmp_path, "a.log", 6.1)
    write(tmp_path, "b.log", 6.2)
    agent = InlineAgent(plan(tmp_path)).start()
    await_true(lambda: rows(agent) == 2)
    write(tmp_path, "a.log", 9.0)
    await_true(lambda: rows(agent) == 3)
    stop(agent)
    agent = InlineAgent(plan(tmp_path)).start()
    await_true(lambda: sink_of(agent)["detail"].get("watermark") == "2025-11-22T06:12:00.000+00:00")
    assert markers(tmp_path) == {}
    assert sink_of(agent)["detail"]["held_by"][0].endswith("/web")
    write(tmp_path, "b.log", 6.7, 8.5)
    await_true(lambda: bool(markers(tmp_path)))
    stop(agent)
    content = markers(tmp_path)["dt=2025-11-22/hour=06/_SUCCESS"]
    assert isinstance(content, dict)
    assert content["rows"] == 3


def test_a_source_that_never_sent_holds_it(tmp_path: Path) -> None:
    write(tmp_path, "a.log", 6.1, 9.0)
    sources: dict[str, dict[str, object]] = {
        name: {**TAIL, "paths": [f"{folder}/*.log"]}
        for name, folder in (("web", "in"), ("app", "other"))
    }
    agent = InlineAgent(plan(tmp_path, **sources)).start()
    await_true(lambda: rows(agent) == 2)
    await_true(lambda: any(h.endswith("app") for h in sink_of(agent)["detail"].get("held_by", [])))
    stop(agent)
    assert markers(tmp_path) == {}


def test_what_is_expected_where(tmp_path: Path) -> None:
    tail: dict[str, object] = {"type": "taildir", "paths": ["/var/log/*.log"], "channels": ["wal"]}
    each: dict[str, object] = {"placement": {"per_node": True}}
    made = plan(tmp_path, web=tail | each, app={**tail, "id": "mobile"})
    assert expected_sources(made, "wal", 3) == {"web": 3, "mobile": 1}
    assert [marks(part) for part in made.parts()] == [False, False, False, True]


def test_the_first_replica_marks_for_all_journals_of_its_channel(tmp_path: Path) -> None:
    made = plan(tmp_path)
    built = component_of(made.channels["wal"]).build(
        Place(made, made.channels["wal"]).context(CLOCK)
    )
    journals: dict[str, Channel] = dict.fromkeys(["wal/1", "wal#0", "wal#1", "wal#2"], built)
    place = Place(made, made.sinks["lake"], 0, "", True, 3)
    first = build_part(place, journals, CLOCK)
    assert isinstance(first, MarkingSink)
    assert len(first._markers._marking.channels) == 3
    second = build_part(replace(place, replica=1), {"wal/1": built}, CLOCK)
    assert not isinstance(second, MarkingSink)
    for part in (first, second):
        part.stop()


def test_a_source_tells_only_where_it_is_wanted_and_not_what_was_refused(tmp_path: Path) -> None:
    clock, told = ManualClock(), list[str]()
    channel = SimpleNamespace(idle=told.append)
    route = Route("h/web", [], None, {"wal": channel}, Metrics())  # type: ignore[arg-type]
    of_web = signs.Signs(route, clock)
    of_web.nothing_to_read()
    assert told == []
    of_web.wanted = True
    for _ in range(3):
        of_web.nothing_to_read()
    assert told == ["h/web"]
    clock.advance(signs.EVERY_MS)
    of_web.refused()
    of_web.nothing_to_read()
    clock.advance(signs.REFUSED_MS - 1)
    of_web.nothing_to_read()
    assert told == ["h/web"]
    clock.advance(1)
    of_web.nothing_to_read()
    assert told == ["h/web", "h/web"]


def test_a_channel_that_does_not_answer_hears_it_next_time() -> None:
    def closed(source: str) -> None:
        raise ChannelClosed("not now")

    told: list[str] = []
    channels = {"gone": SimpleNamespace(idle=closed), "wal": SimpleNamespace(idle=told.append)}
    of_web = signs.Signs(Route("h/web", [], None, channels, Metrics()), ManualClock())  # type: ignore[arg-type]
    of_web.wanted = True
    of_web.nothing_to_read()
    assert told == ["h/web"]


class _Asking:
    """A channel beside which the server is asked for a sign while rows are put."""

    def __init__(self, outcome: PutOutcome) -> None:
        self.outcome, self.told = outcome, list[str]()
        self.during: Callable[[], None] = lambda: None

    def put(self, request: PutRequest) -> PutReply:
        self.during()
        return PutReply(self.outcome, 2**30)

    def credit(self) -> int:
        return 2**30

    def idle(self, source: str) -> None:
        self.told.append(source)


@pytest.mark.parametrize("outcome", PutOutcome)
def test_a_server_with_rows_in_hand_does_not_say_that_it_has_none(outcome: PutOutcome) -> None:
    """They wait for the first of its channels; to the second it would seem to be idle."""
    channel, clock = _Asking(outcome), ManualClock()
    channels: dict[str, Channel] = {"wal": channel}  # type: ignore[dict-item]
    context = Context("a", "web", clock, Metrics())
    selector = lookup("selector", "replicating")().build(context)
    route = Route("h/web", [], selector, channels, Metrics())
    server = ServerRunner(SimpleNamespace(), route, context)
    server.signs.wanted = True
    channel.during = server.signs.nothing_to_read
    with suppress(Retry):
        server._ingest(EventBatch.from_events([b"x"], extents=(Extent("h/web/1/0", 0, 1, 1),)))
    assert channel.told == []
    server.signs.nothing_to_read()
    assert channel.told == (["h/web"] if outcome is PutOutcome.STORED else [])
    clock.advance(signs.REFUSED_MS)
    server.signs.nothing_to_read()
    assert channel.told[-1:] == ["h/web"]


def test_rows_that_come_while_one_channel_is_told_are_seen_before_the_next() -> None:
    told: list[str] = []
    slow, wal = SimpleNamespace(), SimpleNamespace(idle=told.append)
    channels: dict[str, Channel] = {"slow": slow, "wal": wal}
    of_web = signs.Signs(Route("h/web", [], None, channels, Metrics()), ManualClock())  # type: ignore[arg-type]
    of_web.wanted = True
    with ExitStack() as rows:
        slow.idle = lambda source: rows.enter_context(of_web.in_hand())
        of_web.nothing_to_read()
    assert told == []
