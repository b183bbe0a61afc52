"""Real logs through `rayflume run` into a local lake, into S3, and over a Ray cluster of three
nodes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from ray_nodes import INPUT, RayNodes
from real_logs import DATA, LOGS, Log, assert_lake, configuration
from servers import S3Server

import rayflume

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the real logs are not on this machine: there is no {DATA}"
)
RUN_SECONDS = 180


def run_agent(conf: Path, *options: str, environ: Mapping[str, str] | None = None) -> str:
    """`rayflume run CONF --until-drained` as a user calls it; its output."""
    command = [str(Path(sys.executable).with_name("rayflume")), "run", str(conf)]
    done = subprocess.run(
        [*command, "--until-drained", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
        env={**os.environ, **(environ or {})},
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def written(conf: Path, value: Mapping[str, object]) -> Path:
    conf.write_text(yaml.safe_dump(value))
    return conf


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest) -> Log:
    found: Log = LOGS[request.param]
    return found


def test_real_log_into_a_local_lake(log: Log, tmp_path: Path) -> None:
    value = configuration(log, [str(DATA / log.file)], tmp_path / "lake")
    run_agent(written(tmp_path / "agent.yaml", value), "--inline")
    assert_lake(tmp_path / "lake", log)


def test_real_log_is_not_read_twice(tmp_path: Path) -> None:
    log = LOGS["nginx"]
    value = configuration(log, [str(DATA / log.file)], tmp_path / "lake")
    conf = written(tmp_path / "agent.yaml", value)
    run_agent(conf, "--inline")
    run_agent(conf, "--inline")
    assert_lake(tmp_path / "lake", log)


@pytest.mark.s3
def test_real_log_into_s3(log: Log, tmp_path: Path, moto_s3: S3Server) -> None:
    bucket = moto_s3.bucket()
    value = configuration(log, [str(DATA / log.file)], f"s3://{bucket}/lake")
    conf = written(tmp_path / "agent.yaml", value)
    run_agent(conf, "--inline", environ=moto_s3.environment)
    download(moto_s3, bucket, tmp_path / "copy")
    assert_lake(tmp_path / "copy" / "lake", log)


def download(server: S3Server, bucket: str, folder: Path) -> None:
    """Copy every object of a bucket into a folder, with another client than rayflume's."""
    with contextlib.closing(server.client()) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for key in [entry["Key"] for page in pages for entry in page.get("Contents", ())]:
            target = folder / key
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())


def on_three_nodes(log: Log, folder: Path, nodes: RayNodes) -> dict[str, object]:
    """A source on every node reads its own folder; the channel is pinned; two sinks are spread."""
    lines = log.lines()
    for n, inputs in enumerate(nodes.inputs):
        part = inputs / log.file
        part.write_bytes(b"\n".join(lines[n::3]) + b"\n")
    return {
        "agent": f"nodes-{Path(log.file).stem}",
        "guarantee": "exactly_once",
        "sources": {
            "logs": {
                "type": "taildir",
                "paths": [f"${{{INPUT}}}/{log.file}"],
                "channels": ["wal"],
                "placement": {"per_node": True},
            }
        },
        "channels": {
            "wal": {
                "type": "file",
                "directory": str(folder / "wal"),
                "placement": {"node": nodes.node_ids[1]},
            }
        },
        "sinks": {
            "lake": {
                "type": "parquet",
                "channel": "wal",
                "path": str(folder / "lake"),
                "placement": {"replicas": 2, "spread": True},
                **log.sink,
            }
        },
        "state_dir": str(folder / "state"),
    }


@pytest.mark.ray
def test_real_log_from_three_nodes(log: Log, tmp_path: Path, ray_cluster: RayNodes) -> None:
    value = on_three_nodes(log, tmp_path, ray_cluster)
    conf = written(tmp_path / "agent.yaml", value)
    environ = {INPUT: str(ray_cluster.inputs[0])}
    run_agent(conf, "--address", ray_cluster.address, environ=environ)
    assert_lake(tmp_path / "lake", log)


@pytest.mark.ray
def test_parts_run_where_the_plan_says(
    tmp_path: Path, ray_cluster: RayNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LOGS["access"]
    value = on_three_nodes(log, tmp_path, ray_cluster) | {"agent": "placed"}
    monkeypatch.setenv(INPUT, str(ray_cluster.inputs[0]))
    running = rayflume.Agent(value).start(ray_cluster.address, until_drained=True)
    nodes: dict[str, set[str]] = {}
    status = running.wait(RUN_SECONDS)
    for part in status.parts:
        nodes.setdefault(part.kind, set()).add(part.node)
    ids = [node[:12] for node in ray_cluster.node_ids]
    assert nodes["source"] == set(ids)
    assert nodes["channel"] == {ids[1]}
    assert len(nodes["sink"]) == 2
    assert {part.rows_in for part in status.parts if part.kind == "source"} == {3333, 3334}
    assert_lake(tmp_path / "lake", log)
