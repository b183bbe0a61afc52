"""What is right and yet hardly meant: rows without the time that the directories of a sink need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from rayflume.cli import run
from rayflume.config import advice, plan_of

TIMED = {"type": "parquet", "path": "lake", "format": {"type": "text"}, "partition_by": ["d=%d"]}
HDFS = {"type": "hdfs", "path": "lake/%Y"}


def advised(source: Mapping[str, object], sink: Mapping[str, object]) -> list[str]:
    return advice(
        plan_of(
            {
                "agent": "a",
                "sources": {"in": {"channels": ["c"], **source}},
                "channels": {"c": {"type": "memory"}},
                "sinks": {"out": {"channel": "c", **sink}},
            }
        )
    )


FILES: dict[str, object] = {"type": "taildir", "paths": ["*.log"]}


def test_files_into_directories_of_days_need_a_time() -> None:
    assert advised(FILES, TIMED) == [
        "sources.in: all rows would be dead letters of sinks.out, whose directories need the "
        "header `timestamp`: add `interceptors: [{type: timestamp}]` here, or name a column as "
        "`event_time`, or set `event_time_missing: ingest_time` there"
    ]
    [text] = advised({"type": "seq", "interceptors": [{"type": "host"}]}, HDFS)
    assert text.endswith("or set `use_local_time_stamp: true` there")


@pytest.mark.parametrize(
    "source",
    [
        {**FILES, "interceptors": [{"type": "host"}, {"type": "timestamp"}]},
        {**FILES, "interceptors": [{"type": "static", "key": "timestamp", "value": "0"}]},
        {**FILES, "headers": {"paths": {"timestamp": "0"}}},
        {"type": "syslogtcp", "port": 0},
        {"type": "http", "port": 0},
    ],
)
def test_rows_that_may_have_a_time_are_left_alone(source: dict[str, object]) -> None:
    assert advised(source, TIMED) == []


@pytest.mark.parametrize(
    "sink",
    [
        TIMED | {"event_time": "ts"},
        TIMED | {"event_time_missing": "ingest_time"},
        TIMED | {"partition_by": ["h=%{host}"]},
        HDFS | {"use_local_time_stamp": True},
        HDFS | {"path": "lake"},
        {"type": "null"},
    ],
)
def test_sinks_that_need_no_header_are_left_alone(sink: dict[str, object]) -> None:
    assert advised(FILES, sink) == []


def test_validate_and_run_tell_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sources = {"in": {**FILES, "channels": ["c"]}}
    value = {"agent": "a", "sources": sources, "channels": {"c": {"type": "memory"}}}
    Path("a.yaml").write_text(json.dumps(value | {"sinks": {"out": TIMED | {"channel": "c"}}}))
    assert run(["validate", "a.yaml"]) == 0
    assert "a.yaml:1: sources.in: all rows would be dead letters" in capsys.readouterr().out
    assert run(["validate", "a.yaml", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["advice"]) == 1
    assert run(["run", "a.yaml", "--inline", "--until-drained"]) == 0
    assert capsys.readouterr().err.startswith("a.yaml:1: sources.in: all rows would be")
