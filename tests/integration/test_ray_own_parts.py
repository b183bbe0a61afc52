"""Parts of a user's own on a cluster: their module travels to the nodes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_nodes import RayNodes

pytestmark = pytest.mark.ray
MODULE = '''\
from dataclasses import replace

import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.component import Component, option


class Sign(Component):
    """Write where this module lies behind every body."""

    kind = "interceptor"
    mark: str = option("Between the body and the place.")

    def intercept(self, batch: EventBatch) -> EventBatch:
        rows = [f"{row.decode()}{self.mark}{__file__}".encode() for row in batch.body.to_pylist()]
        return replace(batch, body=pa.array(rows, pa.binary()))
'''


def test_the_module_beside_the_configuration_is_on_every_node(
    ray_cluster: RayNodes, tmp_path: Path
) -> None:
    (tmp_path / "signs.py").write_text(MODULE)
    conf = tmp_path / "agent.yaml"
    conf.write_text(f"""\
agent: signed
sources:
  n:
    type: seq
    total_events: 100
    channels: [wal]
    interceptors: [{{type: signs.Sign, mark: " "}}]
channels: {{wal: {{type: file, directory: {tmp_path}/wal}}}}
sinks:
  lake: {{type: parquet, channel: wal, path: {tmp_path}/lake, format: {{type: text}}}}
""")
    options = ["--until-drained", "--address", ray_cluster.address]
    command = [sys.executable, "-m", "rayflume", "run", str(conf), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    files = (tmp_path / "lake").glob("part-*.parquet")
    rows = [row.split(" ") for file in files for row in pq.read_table(file).column(0).to_pylist()]
    assert sorted(int(number) for number, _ in rows) == list(range(100))
    places = {Path(place) for _, place in rows}
    assert tmp_path / "signs.py" not in places, "a copy that Ray brought was imported"
    assert {place.name for place in places} == {"signs.py"}
