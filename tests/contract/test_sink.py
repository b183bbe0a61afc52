"""The clauses of Sink and DeliveryWriter, over every type in `rayflume/sinks/`, and over lakes that
are tables of every type in `rayflume/tables/`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rayflume.component import lookup, types_of
from rayflume.testing import Check, Trial, checks
from rayflume.testing._sink import filled, visible

OPTIONS: dict[str, dict[str, object]] = {
    "parquet": {
        "path": "lake",
        "format": {"type": "text"},
        "partition_by": ["kind=%{kind}"],
    },
}
"""What a type cannot do without; types that need nothing are not listed."""


def table_options(kind: str, tmp_path: Path) -> dict[str, object]:
    if kind == "iceberg":
        catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"}
        return {"type": kind, "name": "web.rows", "catalog": catalog}
    return {"type": kind}


@pytest.fixture(params=[*types_of("sink"), *(f"parquet {name}" for name in types_of("table"))])
def trial(request: pytest.FixtureRequest, tmp_path: Path) -> Trial:
    name, _, table = request.param.partition(" ")
    options = dict(OPTIONS.get(name, {}))
    if table:
        options["table"] = table_options(table, tmp_path)
    return Trial(lookup("sink", name), options, tmp_path)


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
