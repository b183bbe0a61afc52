from __future__ import annotations

from pathlib import Path

import pytest
from channel_model import Flow
from pydantic import ValidationError

from rayflume.component import lookup
from rayflume.sources.seq import Seq


def counting(directory: Path, **options: object) -> Flow:
    return Flow(lambda context: Seq.model_validate(options).build(context), directory)


def test_bodies_are_decimal_numbers_from_0(tmp_path: Path) -> None:
    flow = counting(tmp_path, total_events=2_500)
    flow.finish()
    assert flow.channel.arrived == [b"%d" % i for i in range(2_500)]
    assert list(flow.channel.rows) == ["host-1/part/seq/0"]


def test_batch_size_and_extents(tmp_path: Path) -> None:
    batch = counting(tmp_path, batch_size=7).poll()
    assert batch is not None
    assert batch.num_rows == 7
    (extent,) = batch.extents
    assert (extent.start, extent.end, extent.rows) == (0, 7, 7)


def test_goes_on_after_a_restart_and_rewinds(tmp_path: Path) -> None:
    flow = counting(tmp_path, total_events=100, batch_size=10)
    for _ in range(3):
        flow.step()
    flow.poll()
    flow.step()
    assert len(flow.channel.arrived) == 30
    flow.poll()
    flow.restart()
    flow.finish()
    assert flow.channel.arrived == [b"%d" % i for i in range(100)]


def test_s6_endless_until_note_end(tmp_path: Path) -> None:
    flow = counting(tmp_path, batch_size=10)
    flow.step()
    assert not flow.source.at_end()
    flow.source.note_end()
    assert flow.source.at_end()
    assert flow.poll() is None
    assert flow.source.describe() == {"next": 10, "accepted": 10, "end": 10}


def test_total_events_of_none_at_all(tmp_path: Path) -> None:
    flow = counting(tmp_path, total_events=0)
    assert flow.poll() is None
    assert flow.source.at_end()


def test_wrong_options_are_errors() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Seq(batch_size=0)
    assert lookup("source", "seq") is Seq
