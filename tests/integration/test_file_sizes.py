"""The gate of file sizes: nine tenths of a lake's bytes in files of 64 MB or more, once it is
compacted.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest
from lake_sizes import data_files, share_of_bytes

from rayflume.agent.lakes import LakePlace, compact
from rayflume.batch import EventBatch, Extent
from rayflume.clock import ManualClock
from rayflume.component import Context
from rayflume.maintenance.plan import CompactOptions
from rayflume.metrics import Metrics
from rayflume.sinks.parquet import Parquet

LARGE = 64_000_000
HOURS, DELIVERIES, ROWS = 2, 9, 12_000
"""Of each delivery a file of about 25 MB in each of the partitions."""

pytestmark = pytest.mark.slow


def batch(start: int) -> EventBatch:
    bodies = [
        json.dumps({"hour": n % HOURS, "n": n, "text": secrets.token_hex(1000)}).encode()
        for n in range(start, start + HOURS * ROWS)
    ]
    return EventBatch.from_events(
        bodies, (), (Extent("s", start, start + len(bodies), len(bodies)),)
    )


def test_nine_tenths_of_the_bytes_are_in_large_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = Context("a", "lake", ManualClock(), Metrics())
    lake = tmp_path / "lake"
    schema = {"hour": "int64", "n": "int64", "text": "string"}
    sink = Parquet(
        path=str(lake),
        format={"type": "json", "schema": schema},
        partition_by=["of=%{hour}"],
        roll={"age": "5min"},
    ).build(context)
    sink.open()
    for number in range(DELIVERIES):
        start = number * HOURS * ROWS
        writer = sink.begin(f"0123456789abcdef-1-{number}")
        writer.write(batch(start), start)
        assert sink.publish(writer.stage()) == []
    before, files = share_of_bytes(lake, LARGE), len(data_files(lake))
    sink.close()
    found = compact(LakePlace(str(lake), {}), CompactOptions(min_age_ms=0), lambda *_: None)
    after = share_of_bytes(lake, LARGE)
    sizes = [size // 1_000_000 for size in data_files(lake).values()]
    with capsys.disabled():
        print(
            f"\nbytes in files of 64 MB or more: {before:.0%} of {files} files before compaction, "
            f"{after:.0%} of {len(sizes)} after it: {sizes} MB"
        )
    assert sum(one.rows for one in found) == DELIVERIES * HOURS * ROWS
    assert before == 0
    assert after >= 0.9
