"""A source whose required channels stand at different places, as after a death between two puts."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from fakes import context, journaled, numbers, request, take_all

from rayflume import flow
from rayflume.agent.runner import SourceRunner
from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.component import lookup
from rayflume.journal.disk import LocalDisk

ROWS, BATCH = 200, 20


def put_first(channel: JournaledChannel, stream: str, rows: int) -> None:
    channel.put(request(numbers(0, rows), [Extent(stream, 0, rows, rows)]))


def test_channels_that_stand_apart_meet_after_one_refusal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else each of them sends the source back for every batch, for as long as there is input."""
    around = context(tmp_path, "count")
    source = lookup("source", "seq").model_validate({"total_events": ROWS, "batch_size": BATCH})
    counter = source.build(around)
    ahead, behind = (journaled(LocalDisk(tmp_path / name), around) for name in "ab")
    put_first(ahead, f"{counter.prefix}seq/0", 25)
    put_first(behind, f"{counter.prefix}seq/0", 10)
    replicating = lookup("selector", "replicating")().build(around)
    route = flow.Route("count", [], replicating, {"a": ahead, "b": behind}, around.metrics)
    runner = SourceRunner(counter, route, around)
    runner.drain()
    with caplog.at_level(logging.INFO, "rayflume.agent.runner"):
        runner.start()
        for _ in range(600):
            if runner.health.state not in ("starting", "running", "draining"):
                break
            threading.Event().wait(0.05)
    assert runner.health.state == "drained"
    refusals = [record for record in caplog.records if "goes back" in record.getMessage()]
    assert len(refusals) == 1, [record.getMessage() for record in refusals]
    for channel in (ahead, behind):
        assert take_all(channel) == numbers(0, ROWS)
        channel.close()
