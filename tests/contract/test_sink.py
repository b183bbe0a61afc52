"""The clauses of Sink and DeliveryWriter, over every type in `rayflume/sinks/`, over lakes that are
tables of every type in `rayflume/tables/`, and over every kind of file of the sink `hdfs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from http_target import serving

from rayflume.component import lookup, types_of
from rayflume.testing import Check, Trial, checks
from rayflume.testing._sink import filled, visible

OPTIONS: dict[str, dict[str, object]] = {
    "parquet": {
        "path": "lake",
        "format": {"type": "text"},
        "partition_by": ["kind=%{kind}"],
    },
    "hdfs": {"path": "lake/%{kind}"},
    "file_roll": {"directory": "lake"},
}
"""What a type cannot do without; types that need nothing are not listed."""

HDFS_FILES: dict[str, dict[str, object]] = {
    "SequenceFile": {"file_type": "SequenceFile"},
    "packed SequenceFile": {"file_type": "SequenceFile", "codec": "gzip", "write_format": "text"},
    "CompressedStream": {"file_type": "CompressedStream", "codec": "snappy"},
    "Parquet": {"file_type": "Parquet"},
    "avro_event": {"serializer": "avro_event"},
}
SINKS = [
    *types_of("sink"),
    *(f"parquet {name}" for name in types_of("table")),
    *(f"hdfs {name}" for name in HDFS_FILES),
]


def table_options(kind: str, tmp_path: Path) -> dict[str, object]:
    if kind == "iceberg":
        catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"}
        return {"type": kind, "name": "web.rows", "catalog": catalog}
    return {"type": kind}


@pytest.fixture(params=SINKS)
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trial]:
    name, _, further = request.param.partition(" ")
    options = dict(OPTIONS.get(name, {}))
    if further in HDFS_FILES:
        options |= HDFS_FILES[further]
    elif further:
        options["table"] = table_options(further, tmp_path)
    with serving() if name == "http" else nullcontext() as target:
        if target is not None:
            options["endpoint"] = target.url
        yield Trial(lookup("sink", name), options, tmp_path)


@pytest.mark.parametrize("check", checks("sink"), ids=str)
def test_contract(check: Check, trial: Trial) -> None:
    check(trial)


def test_files_are_there_after_publish_with_their_schema(trial: Trial) -> None:
    sink = trial.opened()
    manifest = filled(sink)
    sink.publish(manifest)
    assert visible(trial, manifest) == len(manifest.files)
    assert all(file.schema_version for file in manifest.files)
    trial.close()
