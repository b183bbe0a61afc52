from __future__ import annotations

from pathlib import Path

import pytest
from channel_model import Flow
from pydantic import ValidationError

from rayflume.sources.stress import Stress


def stressing(directory: Path, **options: object) -> Flow:
    return Flow(lambda context: Stress.model_validate(options).build(context), directory)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"max_total_events": 25}, 25),
        ({"max_successful_events": 25}, 25),
        ({"max_total_events": 30, "max_successful_events": 25}, 25),
        ({"max_total_events": 20, "max_successful_events": 25}, 20),
        ({"max_total_events": 0}, 0),
    ],
)
def test_bounds(tmp_path: Path, options: dict[str, object], rows: int) -> None:
    flow = stressing(tmp_path, size=3, batch_size=10, **options)
    flow.finish()
    assert flow.channel.arrived == [b"\x7f\x7f\x7f"] * rows
    assert flow.source.at_end()


def test_rows_have_flumes_size_and_no_end(tmp_path: Path) -> None:
    flow = stressing(tmp_path)
    for _ in range(3):
        batch = flow.poll()
        assert batch is not None
        batch.body.validate(full=True)
        assert (batch.num_rows, batch.nbytes) == (1000, 500_000)
    assert not flow.source.at_end()


def test_empty_bodies(tmp_path: Path) -> None:
    flow = stressing(tmp_path, size=0, max_total_events=2)
    flow.finish()
    assert flow.channel.arrived == [b"", b""]


def test_a_batch_stays_below_64_mib(tmp_path: Path) -> None:
    batch = stressing(tmp_path, size="16MiB", batch_size=10_000).poll()
    assert batch is not None
    assert batch.num_rows == 4


def test_rate(tmp_path: Path) -> None:
    flow = stressing(tmp_path, size=1, batch_size=1_000, max_events_per_second=100)
    rows = []
    for _ in range(10):
        batch = flow.poll()
        rows.append(batch.num_rows if batch is not None else 0)
        flow.clock.advance(100)
    assert rows == [0] + [10] * 9
    flow.clock.advance(60_000)  # what was not used is lost, but for one second's
    batch = flow.poll()
    assert batch is not None and batch.num_rows == 100
    assert flow.source.idle_ms == 10


def test_goes_on_after_a_restart(tmp_path: Path) -> None:
    flow = stressing(tmp_path, size=1, batch_size=10, max_total_events=35)
    flow.step()
    flow.poll()
    flow.restart()
    flow.finish()
    assert len(flow.channel.arrived) == 35


@pytest.mark.parametrize(
    "options", [{"size": -1}, {"size": "17MiB"}, {"batch_size": 0}, {"max_events_per_second": -1}]
)
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Stress.model_validate(options)
