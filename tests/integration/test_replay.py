"""`rayflume replay` as a process that is killed at every step: each row is in the lake once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

pytestmark = [pytest.mark.integration, pytest.mark.slow]  # twelve processes
ROWS = 6_000
KILLED = 9
STEPS = {
    "a file claimed": ("rayflume.storage.local.LocalStorage.create", 2, "after"),
    "a batch put": ("rayflume.sources.dead_letters.DeadLettersSource.accepted", 2, "after"),
    "rows taken": ("rayflume.sinks._delivery.ParquetDelivery.write", 2, "after"),
    "staged": ("rayflume.sinks._delivery.ParquetDelivery.stage", 1, "after"),
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


def write_conf(directory: Path, contract: str) -> Path:
    conf = {
        "agent": "clicks",
        "sources": {
            "web": {
                "type": "spooldir",
                "spool_dir": "in",
                "batch_bytes": 4_000,
                "channels": ["wal"],
            }
        },
        "channels": {"wal": {"type": "file", "directory": "wal"}},
        "sinks": {
            "lake": {
                "type": "parquet",
                "channel": "wal",
                "path": "lake",
                "contract": contract,
                "format": {"type": "json", "schema": {"id": "int64"}},
                # Many small files of dead letters, and in a replay several deliveries.
                "roll": {"rows": 300, "age": "1h"},
                "delivery_bytes": 8_000,
            }
        },
    }
    path = directory / "conf.yaml"
    path.write_text(yaml.safe_dump(conf))
    return path


def rayflume(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rayflume", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def ids(directory: Path) -> list[int]:
    paths = sorted((directory / "lake").glob("part-*.parquet"))
    return [id_ for path in paths for id_ in pq.ParquetFile(path).read()["id"].to_pylist()]


def test_a_replay_that_dies_at_every_step_delivers_each_row_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = [{"id": n, **({"new": f"v{n}"} if n % 2 else {})} for n in range(ROWS)]
    (tmp_path / "in/a").write_text("".join(json.dumps(row) + "\n" for row in rows))
    conf = write_conf(tmp_path, "freeze")
    first = rayflume("run", conf, "--inline", "--until-drained")
    assert first.returncode == 0, first.stderr
    assert sorted(ids(tmp_path)) == list(range(0, ROWS, 2))
    dead = sorted((tmp_path / "lake/_rayflume/dead_letters").glob("*.dead"))
    assert len(dead) > 3
    write_conf(tmp_path, "evolve")
    command = ["replay", str(tmp_path / "lake"), "--config", str(conf)]
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
        last = rayflume(*command)
        assert last.returncode == 0, last.stderr
        assert sorted(ids(tmp_path)) == list(range(ROWS))
    assert "nothing to replay" in last.stdout
    assert sorted((tmp_path / "lake/_rayflume/dead_letters").glob("*.dead")) == dead
