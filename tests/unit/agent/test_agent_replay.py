"""Which dead letters a replay takes on, and that every row comes once, whoever asks how often."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from servers import S3Server

from rayflume.agent.figures import AgentFigures
from rayflume.agent.marking import marks
from rayflume.agent.replay import choose, prepare
from rayflume.batch import EventBatch, Extent
from rayflume.cli import run
from rayflume.cli.replay import all_committed
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.config import load
from rayflume.errors import ConfigError
from rayflume.interfaces import Json, Storage
from rayflume.lake import storage_for
from rayflume.metrics import Metrics
from rayflume.sinks.parquet import ParquetSink

JOURNAL = "0123456789abcdef"
SCHEMA = {"id": "int64"}
Captured = pytest.CaptureFixture[str]


def write_conf(directory: Path, **sink: object) -> Path:
    options = {"type": "parquet", "channel": "wal", "path": "lake", "contract": "freeze"}
    conf = {
        "agent": "clicks",
        "sources": {"n": {"type": "seq", "channels": ["wal"], "total_events": 0}},
        "channels": {"wal": {"type": "file", "directory": "wal"}},
        "sinks": {
            "lake": {**options, "format": {"type": "json", "schema": SCHEMA}, **sink},
            "log": {"type": "logger", "channel": "wal"},
        },
    }
    path = directory / "conf.yaml"
    path.write_text(yaml.safe_dump(conf))
    return path


def fail(
    directory: Path, number: int, bodies: list[bytes], place: dict[str, Any] | None = None
) -> None:
    """One delivery of rows that the frozen lake does not take."""
    form = {"type": "json", "schema": SCHEMA}
    part = lookup("sink", "parquet").model_validate(
        {"format": form, "contract": "freeze", **(place or {"path": "lake"})}
    )
    sink = part.build(Context("clicks", "lake", ManualClock(1), Metrics(), directory))
    assert isinstance(sink, ParquetSink)
    sink.open()
    writer = sink.begin(f"{JOURNAL}-1-{number}")
    headers = [{"host": f"h{i}", "é": "ü"} if i % 2 else {} for i in range(len(bodies))]
    extent = Extent("s", 0, len(bodies), len(bodies))
    writer.write(EventBatch.from_events(bodies, headers, (extent,)), 0)
    assert sink.publish(writer.stage()) == []
    sink.close()


def opened(place: dict[str, Any], directory: Path) -> Storage:
    context = Context("clicks", "lake", ManualClock(1), Metrics(), directory)
    return storage_for(place["path"], place.get("storage", {}), context)


def new_fields(first: int, last: int) -> list[bytes]:
    return [json.dumps({"id": n, "new": f"v{n}"}).encode() for n in range(first, last)]


def lake_rows(directory: Path) -> list[dict[str, Any]]:
    paths = sorted((directory / "lake").glob("part-*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def dead_files(directory: Path) -> list[Path]:
    return sorted((directory / "lake/_rayflume/dead_letters").glob("*.dead"))


def replay(directory: Path, *more: str, lake: str = "lake") -> int:
    conf = str(directory / "conf.yaml")
    return run(["replay", str(directory / lake), "--config", conf, *more])


def test_rows_come_back_once_with_their_bytes_and_headers(tmp_path: Path) -> None:
    fail(tmp_path, 1, new_fields(0, 30))
    fail(tmp_path, 2, new_fields(30, 40))
    write_conf(tmp_path, contract="evolve", header_columns=["host", "é"])
    for _ in range(2):
        assert replay(tmp_path) == 0
        rows = sorted(lake_rows(tmp_path), key=lambda row: row["id"])
        assert [row["id"] for row in rows] == list(range(40))
        assert [row["new"] for row in rows] == [f"v{n}" for n in range(40)]
        assert [row["host"] for row in rows] == [
            f"h{n}" if n % 2 else None for n in [*range(30), *range(10)]
        ]
        assert all(row["é"] == ("ü" if row["host"] else None) for row in rows)
    assert len(dead_files(tmp_path)) == 2


def test_what_fails_again_waits_for_the_next_replay(tmp_path: Path, capsys: Captured) -> None:
    fail(tmp_path, 1, [b"no json \xff", *new_fields(0, 5)])
    write_conf(tmp_path)
    for times in (2, 3):
        assert replay(tmp_path) == 0
        assert len(dead_files(tmp_path)) == times
        assert "6 rows went to the dead letters again" in capsys.readouterr().out
    write_conf(tmp_path, contract="evolve")
    assert replay(tmp_path) == 0
    out = capsys.readouterr().out
    assert "5 rows are in the lake now" in out and "1 rows went to the dead letters again" in out
    assert sorted(row["id"] for row in lake_rows(tmp_path)) == list(range(5))
    [last] = pq.ParquetFile(dead_files(tmp_path)[-1]).read().to_pylist()
    assert last["body"] == b"no json \xff" and last["reason"] == "the row is not valid UTF-8"
    # The chain leads back to where the row came from.
    assert last["stream"].startswith("dead_letters/_rayflume/dead_letters/")


def test_one_file_alone(tmp_path: Path) -> None:
    fail(tmp_path, 1, new_fields(0, 3))
    fail(tmp_path, 2, new_fields(3, 5))
    write_conf(tmp_path, contract="evolve")
    second = dead_files(tmp_path)[1]
    assert replay(tmp_path, lake=str(second.relative_to(tmp_path))) == 0
    assert [row["id"] for row in lake_rows(tmp_path)] == [3, 4]
    assert replay(tmp_path, lake="lake/_rayflume/dead_letters") == 0
    assert sorted(row["id"] for row in lake_rows(tmp_path)) == [0, 1, 2, 3, 4]
    assert replay(tmp_path, lake="lake/_rayflume/dead_letters/other.dead") == 2


def test_nothing_to_replay_says_so(tmp_path: Path, capsys: Captured) -> None:
    write_conf(tmp_path)
    (tmp_path / "lake").mkdir()
    assert replay(tmp_path) == 0
    assert "nothing to replay" in capsys.readouterr().out


def test_a_file_that_another_journal_replays_is_left_alone(
    tmp_path: Path, capsys: Captured
) -> None:
    """Two hosts, or a state directory that was lost: no row may come twice."""
    fail(tmp_path, 1, new_fields(0, 3))
    conf = write_conf(tmp_path, contract="evolve")
    plan = load(conf, None)
    begun = prepare(plan, choose(plan, str(tmp_path / "lake"), None))
    assert len(begun.files) == 1 and not begun.elsewhere
    shutil.move(tmp_path / "state", tmp_path / "elsewhere")
    assert replay(tmp_path) == 0
    shown = capsys.readouterr()
    assert "is left to the replay whose journal is in" in shown.err
    assert "nothing to replay" in shown.out and lake_rows(tmp_path) == []
    shutil.rmtree(tmp_path / "state")
    shutil.move(tmp_path / "elsewhere", tmp_path / "state")
    assert replay(tmp_path) == 0
    assert [row["id"] for row in lake_rows(tmp_path)] == [0, 1, 2]
    # A journal that is lost after the end is no reason to replay again either.
    shutil.rmtree(tmp_path / "state")
    assert replay(tmp_path) == 0
    assert len(lake_rows(tmp_path)) == 3


def test_a_resumed_replay_leaves_what_it_wrote_itself_for_the_next(tmp_path: Path) -> None:
    """Killed with a dead-letter file of its own published: this is not read in the same replay."""
    fail(tmp_path, 1, new_fields(0, 3))
    conf = write_conf(tmp_path)
    plan = load(conf, None)
    chosen = choose(plan, str(tmp_path / "lake"), None)
    begun = prepare(plan, chosen)
    own = tmp_path / f"lake/_rayflume/dead_letters/{begun.journal}-1-1-0.dead"
    shutil.copy(dead_files(tmp_path)[0], own)
    fail(tmp_path, 2, new_fields(3, 5))
    again = prepare(plan, chosen)
    assert again.resumed == 1
    assert sorted(again.files) == [f"_rayflume/dead_letters/{JOURNAL}-1-{n}-0.dead" for n in (1, 2)]
    assert replay(tmp_path) == 0
    assert f"_rayflume/dead_letters/{own.name}" in prepare(plan, chosen).files


def test_a_file_that_cannot_be_read_stops_the_replay_by_name(
    tmp_path: Path, capsys: Captured
) -> None:
    fail(tmp_path, 1, new_fields(0, 3))
    write_conf(tmp_path, contract="evolve")
    good = dead_files(tmp_path)[0]
    bad = good.with_name(f"{JOURNAL}-1-0-0.dead")
    bad.write_bytes(b"no parquet")
    assert replay(tmp_path) == 1
    assert f"{bad.name} is no dead-letter file of rayflume" in capsys.readouterr().err
    bad.unlink()
    assert replay(tmp_path) == 0
    assert [row["id"] for row in lake_rows(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("lake", "sink", "message"),
    [
        ("other", None, "no sink writes to .*other: name one with --sink \\(lake\\)"),
        ("lake", "lak", "there is no sink 'lak'; did you mean 'lake'"),
        ("lake", "log", "the sink 'log' writes no lake"),
    ],
)
def test_the_sink_must_be_plain(tmp_path: Path, lake: str, sink: str | None, message: str) -> None:
    plan = load(write_conf(tmp_path), None)
    with pytest.raises(ConfigError, match=message):
        choose(plan, str(tmp_path / lake), sink)


def test_lakes_are_compared_in_one_form(tmp_path: Path) -> None:
    plan = load(write_conf(tmp_path, path="s3a://bucket/clicks/"), None)
    for named in (
        "s3://bucket/clicks",
        "s3://bucket/clicks/",
        "s3a://bucket/clicks/_rayflume/dead_letters",
        "s3://bucket/clicks/_rayflume/dead_letters/a.dead",
    ):
        chosen = choose(plan, named, None)
        assert (chosen.lake, chosen.sink.name) == ("s3://bucket/clicks", "lake")
    assert chosen.file == "_rayflume/dead_letters/a.dead"


@pytest.mark.parametrize("store", ["memory", pytest.param("s3", marks=pytest.mark.s3)])
def test_any_store_does(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place: dict[str, Any] = {"path": f"memory://{tmp_path.name}"}
    if store == "s3":
        server: S3Server = request.getfixturevalue("moto_s3")
        place = {"path": f"s3://{server.bucket()}/lake", "storage": server.options}
    fail(tmp_path, 1, new_fields(0, 3), place)
    fail(tmp_path, 2, new_fields(3, 5), place)
    conf = write_conf(tmp_path, contract="evolve", **place)
    for _ in range(2):
        assert run(["replay", place["path"], "--config", str(conf)]) == 0
        storage = opened(place, tmp_path)
        files = [path for path in storage.list("") if path.endswith(".parquet")]
        tables = [pq.read_table(pa.BufferReader(storage.read(path))) for path in files]
        storage.close()
        assert sorted(n for table in tables for n in table["id"].to_pylist()) == list(range(5))


@pytest.mark.parametrize(
    ("state", "left", "done"),
    [("drained", 0, True), ("drained", 1, False), ("stopped", 0, False), ("failed", 0, False)],
)
def test_files_are_done_only_when_every_row_is_committed(state: str, left: int, done: bool) -> None:
    """Ctrl-C empties the journal, too, but the rest of a file was never read."""
    status: dict[str, Json] = {"components": [{"kind": "source", "detail": {"files_left": left}}]}
    assert all_committed(AgentFigures("a", state, 0, (), status)) is done


@pytest.mark.parametrize(
    "options",
    [
        {"type": "hdfs", "path": "out/%Y-%m-%d/%{host}"},
        {"type": "hdfs", "path": "out", "file_prefix": "%H"},
        {"type": "file_roll", "directory": "out"},
    ],
)
def test_the_lake_of_a_sink_of_plain_files_is_its_base(
    tmp_path: Path, options: dict[str, object]
) -> None:
    file = tmp_path / "agent.yaml"
    parts = {
        "agent": "a",
        "sources": {"s": {"type": "seq", "channels": ["c"]}},
        "channels": {"c": {"type": "memory"}},
        "sinks": {"out": {**options, "channel": "c"}},
    }
    file.write_text(yaml.safe_dump(parts))
    named = tmp_path / "out/_rayflume/dead_letters"
    chosen = choose(load(file, None), str(named), None)
    assert (chosen.lake, chosen.sink.name) == (str((tmp_path / "out").resolve()), "out")


def test_a_replay_marks_nothing_and_waits_for_no_marker(tmp_path: Path) -> None:
    """Its rows are old, and its journal would keep their partitions open for ever."""
    fail(tmp_path, 1, [json.dumps({"id": 1, "ts": 0, "new": 1}).encode()])
    timed = {"type": "json", "schema": {"id": "int64", "ts": "timestamp_s"}}
    marked = {"event_time": "ts", "partition_by": ["dt=%Y-%m-%d"], "complete": {}}
    write_conf(tmp_path, contract="evolve", format=timed, **marked)
    plan = load(tmp_path / "conf.yaml")
    found = prepare(plan, choose(plan, str(tmp_path / "lake"), None))
    assert not any(marks(part) for part in found.plan.parts())
    assert replay(tmp_path) == 0
    assert len(list((tmp_path / "lake/dt=1970-01-01").glob("*.parquet"))) == 1
    assert prepare(plan, choose(plan, str(tmp_path / "lake"), None)).files == []
    [journal] = (tmp_path).glob("**/replay/lake")
    assert b'"partitions"' not in b"".join(
        f.read_bytes() for f in journal.rglob("*") if f.is_file()
    )
