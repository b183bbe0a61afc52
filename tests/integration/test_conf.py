"""Every sample in conf/ is valid as it is and does what its comments say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from servers import S3Server, free_ports

from rayflume import demo, demo_lake
from rayflume.naming import DEAD_LETTERS

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SAMPLES = sorted(CONF.glob("*.yaml"))
FAKE = {
    "ARCHIVE_LAKE": "s3://lake/archive",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


def rayflume(*arguments: object, environ: Mapping[str, str] | None = None) -> str:
    """The installed command; its output. Fails with it unless the exit code is 0."""
    command = [str(Path(sys.executable).with_name("rayflume")), *map(str, arguments)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        env={**os.environ, **(environ or {})},
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/, so that what the samples write beside it lies in the test's folder.

    Only the port is another one, for 8765 may be taken on this machine.
    """
    folder = tmp_path / "conf"
    folder.mkdir()
    for path in SAMPLES:
        text = path.read_text().replace("port: 8765", f"port: {free_ports(1)[0]}")
        (folder / path.name).write_text(text)
    return folder


def test_there_are_samples() -> None:
    assert [path.stem for path in SAMPLES] == ["access_log", "archive", "clickstream"]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_is_valid_and_keeps_its_promise(path: Path) -> None:
    shown = json.loads(rayflume("validate", path, "--no-host", "--json", environ=FAKE))
    assert shown["agent"] == path.stem
    assert {one["level"] for one in shown["guarantees"]} == {"exactly_once"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_names_the_environment_it_needs(path: Path) -> None:
    text = path.read_text()
    if "${" in text:
        assert "${ARCHIVE_LAKE}" in text and "#   ARCHIVE_LAKE" in text
    else:
        assert "No environment variable is needed." in text


def test_clickstream_runs(conf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    made = demo.write(folder / "clicks", demo.Clickstream(rows=20_000))
    assert made.malformed > 0
    rayflume("run", conf / "clickstream.yaml", "--inline", "--until-drained")
    counted = demo_lake.count(folder)
    assert counted.whole
    assert (counted.lines, counted.dead) == (made.rows, made.malformed)
    lake = ds.dataset(folder / "lake" / "clicks", partitioning="hive")
    assert {"dt", "hour", "host", "user_id", "ts"} <= set(lake.schema.names)
    assert len(demo_lake.first_rows(folder / "lake" / "clicks")) == 5
    assert list((folder / "lake" / "clicks" / DEAD_LETTERS).iterdir())


def test_access_log_runs(conf: Path, tmp_path: Path) -> None:
    logs = tmp_path / "demo" / "access"
    logs.mkdir(parents=True)
    line = '10.0.0.{} - - [17/May/2015:1{}:05:03 +0000] "GET /{} HTTP/1.1" 200 5 "-" "curl"\n'
    (logs / "access.log").write_text("".join(line.format(n, n % 2, n) for n in range(100)))
    (logs / "access.log.1").write_text("".join(line.format(n, n % 2, n) for n in range(100, 150)))
    rayflume("run", conf / "access_log.yaml", "--inline", "--until-drained")
    lake = ds.dataset(tmp_path / "demo" / "lake" / "access", partitioning="hive")
    table = lake.to_table(columns=["path", "hour"])
    assert sorted(table.column("path").to_pylist()) == sorted(f"/{n}" for n in range(150))
    assert set(table.column("hour").to_pylist()) == {10, 11}


@pytest.mark.s3
def test_archive_runs(conf: Path, tmp_path: Path, moto_s3: S3Server) -> None:
    spool = tmp_path / "demo" / "spool"
    spool.mkdir(parents=True)
    for name in ("one.log", "two.log"):
        (spool / name).write_text("".join(f"{name} {n}\n" for n in range(1_000)))
    bucket = moto_s3.bucket()
    environ = {**moto_s3.environment, "ARCHIVE_LAKE": f"s3://{bucket}/archive"}
    rayflume("run", conf / "archive.yaml", "--inline", "--until-drained", environ=environ)
    client = moto_s3.client()
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]]
    (data,) = [key for key in keys if key.endswith(".parquet")]
    assert data.startswith("archive/taken=20")
    copy = tmp_path / "copy.parquet"
    client.download_file(bucket, data, str(copy))
    client.close()
    rows = pq.read_table(copy).to_pylist()
    expected = {(name, f"{name} {n}") for name in ("one.log", "two.log") for n in range(1_000)}
    assert len(rows) == 2_000
    assert {(row["basename"], row["line"]) for row in rows} == expected
    assert sorted(p.name for p in spool.glob("*.log*")) == [
        "one.log.COMPLETED",
        "two.log.COMPLETED",
    ]
