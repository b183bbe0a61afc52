"""Compaction as Ray tasks, one for each partition."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from lake_files import data_files, put, seen, table
from ray_nodes import RayNodes

from rayflume.agent.lakes import LakePlace
from rayflume.cli import run

pytestmark = pytest.mark.ray


def test_partitions_are_compacted_as_tasks(
    ray_cluster: RayNodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lake"
    path.mkdir()
    with closing(LakePlace(str(path)).open()) as storage:
        storage.check()
        for part in range(5):
            for n in range(4):
                first = 100 * part + 10 * n
                put(storage, f"dt={part}", 10 * part + n, table(first, first + 10))
        expected = seen(storage)
        bad, good = (put(storage, "dt=9", n, table(10 * n, 10 * n + 10)) for n in (90, 91))
        (path / bad).write_bytes(b"PAR1 no more")
        command = ["compact", str(path), "--address", "auto", "--min-age", "0", "--json"]
        assert run(command) == 1
        out = capsys.readouterr().out
        # Ray tells here, too, of workers that died in tests before this one.
        done = {one["partition"]: one for one in json.loads(out[out.index("[\n") :])}
        assert {name: one["files_after"] for name, one in done.items()} == {
            **{f"dt={part}": 1 for part in range(5)}, "dt=9": 2,
        }  # fmt: skip
        assert bad in done["dt=9"]["problem"]
        storage.remove([bad, good])
        assert seen(storage) == expected and len(data_files(storage)) == 5
