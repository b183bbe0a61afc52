"""The commands that talk to a Ray cluster, as processes, against the one cluster of the run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_nodes import RayNodes
from servers import free_ports

pytestmark = pytest.mark.ray

WAIT_S = 120


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "rayflume", *map(str, arguments)]


def rayflume(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=WAIT_S)


def write(directory: Path, agent: str, source: str = "") -> Path:
    conf = directory / f"{agent}.yaml"
    conf.write_text(
        f"agent: {agent}\n"
        f"sources: {{n: {{type: seq, channels: [wal]{source}}}}}\n"
        f"channels: {{wal: {{type: file, directory: {directory}/wal}}}}\n"
        "sinks:\n"
        f"  lake: {{type: parquet, channel: wal, path: {directory}/lake, format: {{type: text}}}}\n"
    )
    return conf


def lake_rows(directory: Path) -> list[int]:
    files = (directory / "lake").glob("part-*.parquet")
    return sorted(int(row) for file in files for row in pq.read_table(file).column(0).to_pylist())


@pytest.fixture(autouse=True)
def _clean_path() -> Iterator[None]:
    """A job's `python` is looked up on the path."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    yield
    os.environ["PATH"] = before


def test_start_status_tap_drain(ray_cluster: RayNodes, tmp_path: Path) -> None:
    conf, address = write(tmp_path, "commands"), ray_cluster.address
    [port] = free_ports(1)
    conf.write_text(f"{conf.read_text()}monitoring: {{port: {port}}}\n")
    done = rayflume("start", conf, "--address", address)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("commands is running: 3 parts\n")
    try:
        again = rayflume("start", conf, "--address", address)
        assert again.returncode == 2
        assert "an agent 'commands' runs already" in again.stderr

        done = rayflume("status", "commands", "--json", "--address", address)
        assert done.returncode == 0
        status = json.loads(done.stdout)
        assert set(status) == {"agent", "state", "components"}
        assert (status["agent"], status["state"]) == ("commands", "running")
        for part in status["components"]:
            assert set(part) == {
                "name", "kind", "type", "replica", "pid", "node", "state", "restarts",
                "last_error", "metrics",
            }  # fmt: skip
            assert part["pid"] > 0
            assert any(node.startswith(part["node"]) for node in ray_cluster.node_ids)

        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            counted = json.load(answer)
        assert set(counted) == {"CHANNEL.wal", "SINK.lake", "SOURCE.n"}
        assert int(counted["SOURCE.n"]["EventAcceptedCount"]) > 0

        done = rayflume("tap", "commands", "wal", "-n", "3", "--json", "--address", address)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["body"] for row in rows] == [str(row["position"]) for row in rows]
        assert len(rows) == 3
        done = rayflume("tap", "commands", "wall", "--address", address)
        assert (done.returncode, "did you mean 'wal'?" in done.stderr) == (2, True)
    finally:
        drained = rayflume("drain", "commands", "--address", address)
    assert drained.returncode == 0, drained.stderr
    assert "commands: drained\n" in drained.stdout
    rows_in_lake = lake_rows(tmp_path)
    assert rows_in_lake == list(range(len(rows_in_lake)))
    assert f"{len(rows_in_lake):,}" in drained.stdout
    done = rayflume("status", "commands", "--address", address)
    assert (done.returncode, "no agent 'commands'" in done.stderr) == (2, True)


def test_run_drains_at_a_signal_and_goes_on_later(ray_cluster: RayNodes, tmp_path: Path) -> None:
    conf = write(tmp_path, "foreground")
    running = subprocess.Popen(
        command("run", conf, "--address", ray_cluster.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    for line in running.stdout:
        if re.search(r" in [1-9]", line):
            break
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, err
    assert "draining: no more is read" in err
    assert "foreground: drained\n" in out
    first = lake_rows(tmp_path)
    assert first == list(range(len(first)))
    conf = write(tmp_path, "foreground", f", total_events: {len(first) + 500}")
    done = rayflume("run", conf, "--address", ray_cluster.address, "--until-drained")
    assert done.returncode == 0, done.stderr
    assert lake_rows(tmp_path) == list(range(len(first) + 500))


def test_submit_runs_a_job_to_its_end(ray_cluster: RayNodes, tmp_path: Path) -> None:
    conf = write(tmp_path, "job", ", total_events: 500")
    done = rayflume("submit", conf, "--until-drained", "--address", ray_cluster.dashboard)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"job raysubmit_\w+: succeeded", done.stdout)
    assert lake_rows(tmp_path) == list(range(500))


def test_a_stopped_job_drains_first(ray_cluster: RayNodes, tmp_path: Path) -> None:
    from ray.job_submission import JobStatus, JobSubmissionClient

    conf = write(tmp_path, "stopped-job")
    running = subprocess.Popen(
        command("submit", conf, "--grace", "40s", "--address", ray_cluster.dashboard),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    job, seen = "", ""
    for line in running.stdout:
        seen += line
        job = job or "".join(re.findall(r"^job (raysubmit_\w+) runs", line))
        if re.search(r" in [1-9]", line):
            break
    client = JobSubmissionClient(ray_cluster.dashboard)
    environment = client.get_job_info(job).runtime_env or {}
    assert environment["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "70"}
    client.stop_job(job)
    out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, seen + out + err
    assert "draining: no more is read" in out
    assert f"job {job}: stopped" in out
    assert client.get_job_status(job) == JobStatus.STOPPED
    rows = lake_rows(tmp_path)
    assert rows == list(range(len(rows)))
    assert rows


def test_mistakes_are_sentences_and_2(ray_cluster: RayNodes, tmp_path: Path) -> None:
    conf = write(tmp_path, "x")
    conf.write_text(conf.read_text().replace(f"{tmp_path}/", ""))
    for arguments in (
        ("start", conf, "--address", ray_cluster.address),
        ("submit", conf, "--address", ray_cluster.dashboard),
    ):
        done = rayflume(*arguments)
        assert done.returncode == 2
        assert "channels.wal.directory: 'wal' is a relative path" in done.stderr
    done = rayflume("stop", "nobody", "--address", ray_cluster.address)
    assert done.returncode == 2
    assert "no agent 'nobody' runs on this cluster" in done.stderr
    conf = write(tmp_path, "x")
    done = rayflume("submit", conf, "--address", "http://127.0.0.1:9")
    assert (done.returncode, "no Ray dashboard at" in done.stderr) == (2, True)
