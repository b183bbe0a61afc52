"""`rayflume replay` as a process that is killed at every step: each row is in the lake once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.metrics import Metrics
from rayflume.sinks.parquet import ParquetSink

pytestmark = [pytest.mark.integration, pytest.mark.slow]  # eleven processes
ROWS, FILES = 6_000, 12
SINK: dict[str, Any] = {
    "type": "parquet",
    "path": "lake",
    "format": {"type": "json", "schema": {"id": "int64"}},
}
KILLED = 9
STEPS = {
    "a file claimed": ("rayflume.storage.local.LocalStorage.create", 2, "after"),
    "a batch put": ("rayflume.sources.dead_letters.DeadLettersSource.accepted", 2, "after"),
    "rows taken": ("rayflume.sinks._delivery.LakeDelivery.write", 1, "after"),
    "staged": ("rayflume.sinks._delivery.LakeDelivery.stage", 1, "after"),
    "prepared": ("rayflume.sinks.parquet.ParquetSink.publish", 1, "before"),
    "published": ("rayflume.sinks.parquet.ParquetSink.publish", 1, "after"),
    "committed": ("rayflume.channels._journaled.JournaledChannel.commit", 1, "after"),
    "all delivered": ("rayflume.agent.replay.mark_done", 1, "before"),
    "one marked": ("rayflume.storage.local.LocalStorage.create", 1, "after"),
}
"""Step -> a call, which time of it, and on which side of it the process dies."""
KILLER = """\
import importlib, os, sys, threading

name, count, side = sys.argv[1], int(sys.argv[2]), sys.argv[3]
module, *rest = name.rsplit(".", 2 if name.rsplit(".", 2)[1][0].isupper() else 1)
owner = importlib.import_module(module)
for part in rest[:-1]:
    owner = getattr(owner, part)
real, calls, lock = getattr(owner, rest[-1]), 0, threading.Lock()

def dying(*given, **named):
    global calls
    with lock:
        calls += 1
        die = calls == count
    if die and side == "before":
        os._exit(9)
    result = real(*given, **named)
    if die:
        os._exit(9)
    return result

setattr(owner, rest[-1], dying)
from rayflume.cli import main

main(sys.argv[4:])
"""


def write_conf(directory: Path) -> Path:
    conf = {
        "agent": "clicks",
        "sources": {"n": {"type": "seq", "channels": ["wal"], "total_events": 0}},
        "channels": {"wal": {"type": "file", "directory": "wal"}},
        # Small deliveries, so that a replay has several.
        "sinks": {"lake": SINK | {"channel": "wal", "delivery_bytes": 8_000}},
    }
    path = directory / "conf.yaml"
    path.write_text(yaml.safe_dump(conf))
    return path


def fail(directory: Path) -> list[Path]:
    """All rows have a field that a frozen lake has no column for. The files of dead letters."""
    options = {name: SINK[name] for name in SINK if name != "type"} | {"contract": "freeze"}
    part = lookup("sink", "parquet").model_validate(options)
    sink = part.build(Context("clicks", "lake", ManualClock(1), Metrics(), directory))
    assert isinstance(sink, ParquetSink)
    sink.open()
    for number in range(FILES):
        first = number * ROWS // FILES
        bodies = [b'{"id": %d, "new": "v"}' % n for n in range(first, first + ROWS // FILES)]
        extent = Extent("s", first, first + len(bodies), len(bodies))
        writer = sink.begin(f"0123456789abcdef-1-{number}")
        writer.write(EventBatch.from_events(bodies, (), (extent,)), first)
        assert sink.publish(writer.stage()) == []
    sink.close()
    found = sorted((directory / "lake/_rayflume/dead_letters").glob("*.dead"))
    assert len(found) == FILES
    return found


def ids(directory: Path) -> list[int]:
    paths = sorted((directory / "lake").glob("part-*.parquet"))
    return [id_ for path in paths for id_ in pq.ParquetFile(path).read()["id"].to_pylist()]


def test_a_replay_that_dies_at_every_step_delivers_each_row_once(tmp_path: Path) -> None:
    dead = fail(tmp_path)
    command = ["replay", str(tmp_path / "lake"), "--config", str(write_conf(tmp_path))]
    killer = tmp_path / "killer.py"
    killer.write_text(KILLER)
    for step, (call, count, side) in STEPS.items():
        died = subprocess.run(
            [sys.executable, str(killer), call, str(count), side, *command],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert died.returncode == KILLED, f"{step}: {died.stdout}{died.stderr}"
        assert len(ids(tmp_path)) == len(set(ids(tmp_path))), step
    for _ in range(2):
        last = subprocess.run(
            [sys.executable, "-m", "rayflume", *command],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert last.returncode == 0, last.stderr
        assert sorted(ids(tmp_path)) == list(range(ROWS))
    assert "nothing to replay" in last.stdout
    assert sorted((tmp_path / "lake/_rayflume/dead_letters").glob("*.dead")) == dead
