"""From Flume to rayflume: both file sources go on where Flume stood, beside a command.

The position files are written in Flume's documented layout: a JSON array of inode, pos and file,
and an Avro container whose metadata names the file and whose last record is the offset.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import fastavro
import pyarrow.dataset as ds
import yaml

LINES = [f"line {i:04}" for i in range(2_000)]
TEXT = "".join(f"{line}\n" for line in LINES)
READ = 1_200
"""So many of the lines Flume had read."""
OFFSET = {
    "type": "record",
    "name": "TransferStateFileMeta",
    "namespace": "org.apache.flume.serialization",
    "fields": [{"name": "offset", "type": "long"}],
}


def left_by_flume(directory: Path) -> None:
    """A log that was rotated since, one that grows, and a spool file that is half read."""
    place = READ * len("line 0000\n")
    logs, spool = directory / "logs", directory / "spool"
    logs.mkdir()
    entries = []
    for name in ("app.log", "web.log"):
        (logs / name).write_text("".join(f"{name} {line}\n" for line in LINES))
        inode, file = (logs / name).stat().st_ino, str(logs / name)
        entries.append({"inode": inode, "pos": READ * len(f"{name} line 0000\n"), "file": file})
    (directory / "taildir_position.json").write_text(json.dumps(entries))
    (logs / "app.log").rename(logs / "app.log.1")
    (logs / "app.log").write_text("app.log fresh\n")
    (spool / ".flumespool").mkdir(parents=True)
    (spool / "batch").write_text(TEXT)
    out = io.BytesIO()
    records = [{"offset": place // 2}, {"offset": place}]
    fastavro.writer(out, OFFSET, records, metadata={"file": str(spool / "batch")})
    (spool / ".flumespool" / ".flumespool-main.meta").write_bytes(out.getvalue())


def configured(directory: Path) -> Path:
    conf = {
        "agent": "a1",
        "state_dir": "state",
        "sources": {
            "tail": {
                "type": "taildir",
                "filegroups": {"g": str(directory / "logs" / r"(app|web)\.log.*")},
                "position_file": "taildir_position.json",
                "channels": ["wal"],
            },
            "spool": {"type": "spooldir", "spool_dir": "spool", "channels": ["wal"]},
            "ticks": {
                "type": "exec",
                "command": "for i in 1 2 3; do echo tick $i; done",
                "shell": "/bin/sh -c",
                "dangerously_allow_command": True,
                "channels": ["wal"],
            },
        },
        "channels": {"wal": {"type": "file", "directory": "wal"}},
        "sinks": {
            "lake": {"type": "parquet", "channel": "wal", "path": "lake", "format": "text"},
        },
    }
    path = directory / "conf.yaml"
    path.write_text(yaml.safe_dump(conf))
    return path


def run(conf: Path) -> None:
    command = [sys.executable, "-m", "rayflume", "run", str(conf), "--inline", "--until-drained"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=120, env=dict(os.environ), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def rows(directory: Path) -> list[str]:
    table = ds.dataset(directory / "lake", format="parquet").to_table()
    return sorted(str(value) for value in table.column(0).to_pylist())


def test_both_file_sources_go_on_where_flume_stood(tmp_path: Path) -> None:
    left_by_flume(tmp_path)
    conf = configured(tmp_path)
    run(conf)
    ticks = ["tick 1", "tick 2", "tick 3"]
    expected = [
        *(f"{name} {line}" for name in ("app.log", "web.log") for line in LINES[READ:]),
        *LINES[READ:],
        "app.log fresh",
    ]
    assert rows(tmp_path) == sorted([*expected, *ticks])
    assert (tmp_path / "spool" / "batch.COMPLETED").exists()
    with (tmp_path / "logs" / "app.log").open("a") as file:
        file.write("app.log more\n")
    run(conf)
    assert rows(tmp_path) == sorted([*expected, "app.log more", *ticks, *ticks])
