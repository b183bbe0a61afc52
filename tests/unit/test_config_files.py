"""`validate` says how large the files of each sink will be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rayflume.cli import run

CONF = """\
agent: a
sources: {s: {type: seq, channels: [c]}}
channels: {c: {type: file, directory: wal}}
sinks:
  lake: {type: parquet, channel: c, path: lake, format: {type: text}, placement: {replicas: 2}}
  out: {type: "null", channel: c}
"""
START = "a file ends at about 128.0 MiB; all end, and appear, 5min after the first row, "


def test_validate_says_how_large_files_will_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(CONF)
    assert run(["validate", str(conf)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"files of lake: {START}")
    assert last.endswith("; each of its 2 replicas has files of its own")
    assert run(["validate", str(conf), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert list(files) == ["lake"] and files["lake"].startswith(START)


def test_validate_says_it_of_a_flume_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = tmp_path / "f.conf"
    conf.write_text(
        "a1.sources = r\na1.channels = c\na1.sinks = k\na1.sources.r.type = seq\n"
        "a1.sources.r.channels = c\na1.channels.c.type = memory\na1.sinks.k.type = hdfs\n"
        f"a1.sinks.k.channel = c\na1.sinks.k.hdfs.path = {tmp_path}/lake\n"
    )
    assert run(["validate", str(conf)]) == 0
    assert (
        "files of k: a file ends at about 1.0 KiB or 10 rows; all end, and appear, 30s after the "
        "first row" in capsys.readouterr().out
    )
