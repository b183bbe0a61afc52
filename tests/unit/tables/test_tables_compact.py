"""`rayflume compact` of a lake that is a table: by the format's own means, and never otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from deltalake import DeltaTable
from fakes import context
from pyiceberg.catalog.sql import SqlCatalog
from table_worlds import publish_from_two

from rayflume.agent import lakes
from rayflume.cli import run
from rayflume.errors import ConfigError
from rayflume.maintenance.plan import CompactOptions
from rayflume.sinks.parquet import Parquet

Captured = pytest.CaptureFixture[str]


def filled(base: Path, kind: str) -> Path:
    """The configuration of a sink into a table of six files in three partitions."""
    table: dict[str, object] = {"type": kind}
    if kind == "iceberg":
        uri = f"sqlite:///{base}/catalog.db"
        table |= {"name": "web.rows", "catalog": {"type": "sql", "uri": uri}}
    options: dict[str, object] = {
        "path": "lake",
        "format": {"type": "json"},
        "partition_by": ["k=%{k}"],
        "table": table,
    }
    sinks = [Parquet.model_validate(options).build(context(base, "lake")) for _ in range(2)]
    for sink in sinks:
        sink.open()
    publish_from_two(sinks, 6)
    for sink in sinks:
        sink.close()
    conf = {
        "agent": "clicks",
        "sources": {"web": {"type": "taildir", "paths": ["in/*.log"], "channels": ["wal"]}},
        "channels": {"wal": {"type": "file", "directory": "wal"}},
        "sinks": {"lake": {"type": "parquet", "channel": "wal", **options}},
    }
    file = base / "clicks.yaml"
    file.write_text(yaml.safe_dump(conf))
    return file


def numbers(base: Path, kind: str) -> list[int]:
    if kind == "delta":
        found = DeltaTable(str(base / "lake")).to_pyarrow_table()
    else:
        with SqlCatalog("default", uri=f"sqlite:///{base}/catalog.db") as catalog:
            found = catalog.load_table("web.rows").scan().to_arrow()
    return sorted(found["n"].to_pylist())


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_the_table_of_a_sink_of_a_configuration(
    kind: str, tmp_path: Path, capsys: Captured
) -> None:
    conf = filled(tmp_path, kind)
    assert run(["compact", "--config", str(conf)]) == 0
    assert capsys.readouterr().out == "the table was compacted: 6 files -> 3\n"
    assert run(["compact", "--config", str(conf), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"files_before": 0, "files_after": 0}]
    assert numbers(tmp_path, kind) == [1, 2, 3, 4, 5, 6]
    assert len(list((tmp_path / "lake").glob("k=*/part-00*.parquet"))) >= 6


def test_a_delta_table_is_known_by_its_path(tmp_path: Path, capsys: Captured) -> None:
    filled(tmp_path, "delta")
    assert run(["compact", str(tmp_path / "lake")]) == 0
    assert "6 files -> 3" in capsys.readouterr().out


def test_an_iceberg_table_needs_its_catalog(tmp_path: Path, capsys: Captured) -> None:
    filled(tmp_path, "iceberg")
    assert run(["compact", str(tmp_path / "lake")]) == 2
    error = capsys.readouterr().err
    assert "is an Iceberg table, and nobody has said of which catalog" in error


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_the_compaction_of_plain_lakes_touches_no_table(
    kind: str, tmp_path: Path, capsys: Captured
) -> None:
    filled(tmp_path, kind)
    place = lakes.LakePlace(str(tmp_path / "lake"))
    with pytest.raises(ConfigError, match="this lake is a table"):
        lakes.compact(place, CompactOptions(min_age_ms=0), lambda one, done, of: None)
    assert run(["compact", str(tmp_path / "lake"), "--dry-run"]) == 2
    assert "there is no dry run of that" in capsys.readouterr().err
    assert numbers(tmp_path, kind) == [1, 2, 3, 4, 5, 6]
