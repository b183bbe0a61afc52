"""What `validate` says of the files of a sink: one sentence, from its options alone."""

from __future__ import annotations

from typing import Any

import pytest

from rayflume.component import lookup

NEARLY = "or when the channel is nearly full"


def said(type_name: str, **options: Any) -> str:
    sink: Any = lookup("sink", type_name).model_validate({"path": "lake", **options})
    text: str = sink.expected_files()
    return text


def test_a_parquet_sink_says_size_age_and_the_speed_between_them() -> None:
    found = said("parquet", format="text", roll={"bytes": "60MiB", "age": "1min"})
    assert found == (
        "a file ends at about 60.0 MiB; all end, and appear, 1min after the first row, at 1.0 GiB "
        f"of bodies taken, {NEARLY} (smaller below 1.0 MiB/s)"
    )


def test_partitions_divide_the_speed_among_them() -> None:
    found = said("parquet", format="text", partition_by=["dt=%Y"], roll={"idle": "90s"})
    assert found.startswith("a file for each partition ends at about 128.0 MiB; all end")
    assert "5min after the first row, after 90s without a row, at" in found
    assert found.endswith("(smaller below 436.9 KiB/s a partition)")


def test_flumes_defaults_of_an_hdfs_sink_are_seen_to_make_small_files() -> None:
    found = said("hdfs", path="lake/%Y", roll={"bytes": 1024, "rows": 10, "age": "30s"})
    assert found.startswith("a file for each partition ends at about 1.0 KiB or 10 rows; all end")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("lake", "all end, and appear, with the first that is full, at 1.0 GiB"),
        ("lake/%{host}", "all end, and appear, at 1.0 GiB of bodies taken"),
    ],
)
def test_without_a_time_a_delivery_may_end_with_its_first_full_file(
    path: str, sentence: str
) -> None:
    found = said("hdfs", path=path, roll={"bytes": 1024, "age": 0})
    assert sentence in found and "smaller below" not in found


def test_files_without_a_size_say_so() -> None:
    found = said("parquet", format="text", roll={"bytes": 0, "age": "1h"})
    assert found.startswith("a file has no size of its own; all end, and appear, 1h after")
