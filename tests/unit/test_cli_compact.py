"""`rayflume compact` and `rayflume lake inspect`: what they say, and with which exit code."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from lake_files import data_files, fill, once, put, seen, table
from servers import S3Server

from rayflume.agent.lakes import LakePlace
from rayflume.cli import run
from rayflume.interfaces import Storage
from rayflume.naming import dead_name, delivery_id

Captured = pytest.CaptureFixture[str]
ALL = ["--min-age", "0"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A lake of six files in one partition and one in another."""
    lake = tmp_path / "lake"
    lake.mkdir()
    with closing(opened(lake)) as storage:
        storage.check()
        fill(storage, 6)
        put(storage, "dt=2", 6, table(60, 70))
    return lake


def opened(lake: Path) -> Storage:
    return LakePlace(str(lake)).open()


def test_compact_and_inspect(directory: Path, capsys: Captured) -> None:
    assert run(["lake", "inspect", str(directory)]) == 0
    text = capsys.readouterr().out
    assert "70 rows in 7 files of 2 partitions" in text and "no gaps, no overlaps" in text
    assert run(["compact", str(directory), *ALL]) == 0
    text = capsys.readouterr().out
    assert "[1/1] dt=1: 6 files" in text and "1 partitions compacted" in text
    with closing(opened(directory)) as storage:
        assert seen(storage) == once(range(70))
        assert len(data_files(storage)) == 2
    assert run(["lake", "inspect", str(directory), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proven"] and found["journals"][0]["deliveries"] == 7
    assert [p["files"] for p in found["partitions"]] == [1, 1]


def test_open_partitions_and_dry_runs_change_nothing(directory: Path, capsys: Captured) -> None:
    def names() -> set[str]:
        return {str(path) for path in directory.rglob("*")}

    before = names()
    assert run(["compact", str(directory)]) == 0
    assert "not closed yet" in capsys.readouterr().out
    assert run(["compact", str(directory), *ALL, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "would be merged" in text and "1 partitions would be compacted" in text
    assert names() == before


def test_json_of_compact(directory: Path, capsys: Captured) -> None:
    assert run(["compact", str(directory), *ALL, "--json"]) == 0
    [done] = json.loads(capsys.readouterr().out)
    assert (done["partition"], done["state"], done["rows"]) == ("dt=1", "merged", 60)
    assert (done["files_before"], done["files_after"], done["problem"]) == (6, 1, None)
    assert done["switch_ms"] < 1000


def test_gaps_and_overlaps_are_exit_code_1(directory: Path, capsys: Captured) -> None:
    with closing(opened(directory)) as storage:
        put(storage, "dt=1", 9, table(65, 80))
        put(storage, "dt=1", 10, table(90, 99))
    assert run(["lake", "inspect", str(directory)]) == 1
    text = capsys.readouterr().out
    assert "gap: rows 80 to 90 of journal" in text
    assert "overlap: rows 65 to 70 of journal" in text
    assert "1 gaps, 1 overlaps" in text


def test_dead_letters_count_as_arrived(directory: Path, capsys: Captured) -> None:
    with closing(opened(directory)) as storage:
        path = put(storage, "", 7, table(70, 80))
        (directory / dead_name(delivery_id("00000000000000aa", 1, 7), 0)).parent.mkdir(parents=True)
        (directory / path).rename(directory / dead_name(delivery_id("00000000000000aa", 1, 7), 0))
    assert run(["lake", "inspect", str(directory)]) == 0
    assert "10 dead letters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "there"),
    [
        ("", "there is nothing else either"),
        ("x/a.csv", "there is 1 other file, x/a.csv"),
        ("_rayflume/schema/1.json", "there is nothing else either"),
    ],
)
def test_an_empty_lake_says_what_is_there_and_what_to_do(
    file: str, there: str, tmp_path: Path, capsys: Captured
) -> None:
    if file:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("{}")
    assert run(["lake", "inspect", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"no Parquet file is in {tmp_path}; {there}"
    assert "at the end of its first delivery" in second and "--config CONF" in second
    assert run(["lake", "inspect", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["others"] == (file == "x/a.csv")


def test_a_lake_of_dead_letters_alone_says_so(tmp_path: Path, capsys: Captured) -> None:
    dead = tmp_path / dead_name(delivery_id("00000000000000aa", 1, 7), 0)
    dead.parent.mkdir(parents=True)
    with closing(opened(tmp_path)) as storage:
        storage.check()
        (tmp_path / put(storage, "", 7, table(0, 10))).rename(dead)
    assert run(["lake", "inspect", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"no row is in {tmp_path}: all 10 are dead letters, in {dead.parent}"
    assert f"`rayflume replay {tmp_path} --config CONF`" in second


def test_damaged_files_are_named_and_exit_code_1(directory: Path, capsys: Captured) -> None:
    (directory / "dt=2" / "broken.parquet").write_bytes(b"PAR1 no more")
    assert run(["lake", "inspect", str(directory)]) == 1
    assert "dt=2/broken.parquet: no whole Parquet file" in capsys.readouterr().err
    with closing(opened(directory)) as storage:
        bad = data_files(storage)[0]
    (directory / bad).write_bytes(b"PAR1 no more")
    assert run(["compact", str(directory), *ALL]) == 1
    assert f"{bad}: no whole Parquet file" in capsys.readouterr().err


def test_the_lake_of_a_sink_of_a_configuration(directory: Path, capsys: Captured) -> None:
    sink = {"type": "parquet", "channel": "wal", "path": "lake", "format": {"type": "text"}}
    conf: dict[str, Any] = {
        "agent": "clicks",
        "sources": {"web": {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"]}},
        "channels": {"wal": {"type": "file", "directory": "wal"}},
        "sinks": {"lake": sink},
    }
    file = directory.parent / "clicks.yaml"
    file.write_text(yaml.safe_dump(conf))
    assert run(["lake", "inspect", "--config", str(file)]) == 0
    conf["sinks"]["other"] = {**sink, "path": "elsewhere"}
    file.write_text(yaml.safe_dump(conf))
    assert run(["lake", "inspect", "--config", str(file)]) == 2
    assert "name the sink with --sink" in capsys.readouterr().err
    assert run(["lake", "inspect", "--config", str(file), "--sink", "lakes"]) == 2
    assert "did you mean 'lake'" in capsys.readouterr().err
    assert run(["compact", "--config", str(file), "--sink", "lake", *ALL]) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["compact"], "name the lake"),
        (["compact", "none/such"], "is no directory"),
        (["compact", ".", "--target", "1"], "less than 1 MiB"),
        (["compact", ".", "--target", "x"], "--target"),
        (["compact", ".", "--keep-tombstones", "1h"], "--keep-tombstones"),
        (["compact", ".", "--storage", "x"], "KEY=VALUE"),
        (["compact", ".", "--storage", "regoin=x"], "no such option of 'local'"),
        (["compact", ".", "--sink", "x"], "--sink goes with --config"),
        (["lake", "inspect", "none/such"], "is no directory"),
        (["lake", "inspect", "ftp://x"], "ftp"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str],
    text: str,
    capsys: Captured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert text in error and "bug" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.s3
def test_a_lake_on_s3(moto_s3: S3Server, capsys: Captured) -> None:
    options = [f"--storage={name}={value}" for name, value in moto_s3.options.items()]
    path = f"s3://{moto_s3.bucket()}/lake"
    with closing(LakePlace(path, dict(moto_s3.options)).open()) as storage:
        fill(storage, 5)
        assert run(["compact", path, *options, *ALL]) == 0
        assert run(["lake", "inspect", path, *options]) == 0
        assert "no gaps, no overlaps" in capsys.readouterr().out
        assert seen(storage) == once(range(50)) and len(data_files(storage)) == 1
