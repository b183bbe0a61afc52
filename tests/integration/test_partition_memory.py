"""A sink with 1,000 open partitions stays within 512 MB, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import partition_memory
import pytest

PARTITIONS = 1000
MEMORY_MAX = 512 * 10**6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "batches"),
    [
        pytest.param({}, 24, id="as it comes"),
        pytest.param({"roll": {"bytes": "64KiB", "age": 0}}, 12, id="many full files"),
    ],
)
def test_a_thousand_partitions_take_at_most_512_mb(
    options: dict[str, object], batches: int, tmp_path: Path
) -> None:
    """Enough rows that what is open would take the budget several times over, two deliveries, the
    second while the first is staged.
    """
    script = Path(partition_memory.__file__)
    arguments = [str(tmp_path), str(PARTITIONS), str(batches), json.dumps(options)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(f"\n{PARTITIONS} partitions, {options or 'as it comes'}: {told}")
    assert told["rows"] == 2 * batches * partition_memory.BATCH_ROWS
    assert told["partitions"] == PARTITIONS
    assert told["peak"] <= MEMORY_MAX
