"""What a delivery notes for markers of complete partitions, and the options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sinks_support import HOUR, T0, built, deliver, lake_rows, parquet, reader, rows

from rayflume.batch import EventBatch, Extent
from rayflume.sinks.parquet import Parquet, ParquetSink

HOURS: dict[str, Any] = {"event_time": "ts", "partition_by": ["hour=%Y-%m-%d-%H"]}
MARKED = {**HOURS, "complete": {"after": "10min", "future_limit": "1h"}}
AT_14, AT_15 = "hour=2025-11-22-14", "hour=2025-11-22-15"


def body(ts: int | None) -> dict[str, object]:
    return {"id": 1, "ts": ts}


def test_a_manifest_says_when_its_partitions_end(tmp_path: Path) -> None:
    sink = parquet(tmp_path, **MARKED)
    batches = [rows([body(T0), body(T0 + HOUR)]), rows([body(T0 + 7)], at=2)]
    manifest = deliver(sink, batches)
    assert manifest.partitions == {AT_14: T0 + HOUR, AT_15: T0 + 2 * HOUR}
    assert manifest.event_times == {"s": (T0, T0 + HOUR)}
    assert set(lake_rows(tmp_path)) == {AT_14, AT_15}


def test_without_the_option_nothing_is_noted(tmp_path: Path) -> None:
    assert deliver(parquet(tmp_path, **HOURS), [rows([body(T0)])]).partitions == {}


def test_times_far_ahead_do_not_count_and_their_rows_land(tmp_path: Path) -> None:
    sink = parquet(tmp_path, **MARKED)
    manifest = deliver(sink, [rows([body(T0 + HOUR), body(T0 + HOUR + 1), body(T0 - 1)])])
    assert manifest.event_times == {"s": (T0 - 1, T0 + HOUR)}
    assert manifest.partitions.keys() == lake_rows(tmp_path).keys()
    assert deliver(sink, [rows([body(T0 + 9 * HOUR)])], "0123456789abcdef-1-8").event_times == {}


def test_every_stream_counts_however_many_there_are(tmp_path: Path) -> None:
    sink = parquet(tmp_path, **MARKED)
    batches = [rows([body(T0 + i)], stream=f"h/web/{i}") for i in range(200)]
    assert len(deliver(sink, batches).event_times) == 200


def test_requests_with_keys_count_as_their_source(tmp_path: Path) -> None:
    sink = parquet(tmp_path, **MARKED)
    extents = tuple(Extent(f"{i:032x}", 0, 1, 1, bytes(16), keyed=True) for i in range(3))
    batch = rows([body(T0 + 2), body(T0 + 9), body(T0)])
    keyed = replace(batch, extents=extents, source="h/web")
    assert deliver(sink, [keyed]).event_times == {"h/web": (T0, T0 + 9)}


def test_rows_that_get_the_ingest_time_move_nothing(tmp_path: Path) -> None:
    sink = parquet(tmp_path, **MARKED, event_time_missing="ingest_time")
    manifest = deliver(sink, [rows([body(None), body(T0 - HOUR), body(None)])])
    assert manifest.event_times == {"s": (T0 - HOUR, T0 - HOUR)}
    assert manifest.partitions == {"hour=2025-11-22-13": T0, AT_14: T0 + HOUR}


def test_dead_letters_are_in_no_partition(tmp_path: Path) -> None:
    sink = parquet(tmp_path, **MARKED)
    manifest = deliver(sink, [rows([body(T0), b"{", body(None)])])
    assert (manifest.dead, list(manifest.partitions)) == (2, [AT_14])


def test_a_file_that_is_built_anew_is_in_its_partition_still(tmp_path: Path) -> None:
    sink: ParquetSink = parquet(tmp_path, **MARKED)
    batch: EventBatch = rows([body(T0)])
    writer = sink.begin("0123456789abcdef-1-9")
    writer.write(batch, 0)
    manifest = writer.stage()
    again = sink.rebuild(manifest, manifest.files, reader([batch]))
    assert again.partitions == manifest.partitions == {AT_14: T0 + HOUR}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"complete": {}}, "no time escape"),
        ({**MARKED, "partition_by": ["hour=%H"]}, "come again and again"),
        ({**MARKED, "complete": {"file": "done"}}, "file"),
        ({**MARKED, "complete": {"file": "_x/y"}}, "file"),
        ({**MARKED, "complete": {"file": "_done.parquet"}}, "take it for data"),
        ({**MARKED, "complete": {"idle_timeout": "1s"}}, "idle_timeout"),
        ({**MARKED, "complete": {"delay": "1s"}}, "delay"),
    ],
)
def test_options_that_can_not_be_are_refused(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        built(tmp_path, **options)


def test_the_defaults(tmp_path: Path) -> None:
    made = Parquet.model_validate(
        {"path": "lake", "format": {"type": "text"}, "partition_by": ["%Y"], "complete": {}}
    )
    rules = made.marker_rules()
    assert rules is not None
    assert (rules.after_ms, rules.idle_timeout_ms, rules.file) == (600_000, 300_000, "_SUCCESS")
