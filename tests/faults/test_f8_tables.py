"""F8: conflicts, lost answers, refusals, stale columns and outages at the commit of a table.

After each seed: every row once, every file referenced once, nothing committed was ever deleted.
RAYFLUME_FAULT_VOLUME=25 runs 200 seeds of each fault alone for Delta (15 minutes) and 25 for
Iceberg; `make test` runs one 25th.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable
from fault_volume import scaled
from lakes import LakeWorld, LocalPlace, to_prepare
from pyiceberg.catalog.sql import SqlCatalog
from table_worlds import KINDS, DeltaWorld, Faults, IcebergWorld

from rayflume import flow

WORLDS = {"delta": DeltaWorld, "iceberg": IcebergWorld}


def run(
    world_type: type, base: Path, seed: int, kinds: tuple[str, ...] = KINDS, deliveries: int = 3
) -> Faults:
    base.mkdir()
    faults = Faults(seed, kinds)
    with pytest.MonkeyPatch.context() as patch:
        world = world_type(base, faults, patch)
        try:
            world.run(deliveries)
            world.judge()
        finally:
            world.close()
    return faults


@pytest.mark.parametrize(("kind", "seeds"), [("delta", 12), ("iceberg", 4)])
def test_f8_every_fault_at_every_commit(kind: str, seeds: int, tmp_path: Path) -> None:
    met = set()
    for seed in range(scaled(seeds)):
        met |= set(run(WORLDS[kind], tmp_path / str(seed), seed).met)
    assert met == set(KINDS)


@pytest.mark.parametrize(("kind", "seeds"), [("delta", 6), ("iceberg", 2)])
def test_f8_deliveries_whose_marks_are_gone(
    kind: str, seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One mark for all, so whatever is published out of order is proven by the history."""
    monkeypatch.setattr("rayflume.tables._marks.SLOT_NUMBERS", 1)
    monkeypatch.setattr("rayflume.tables._marks.RUNS_MAX", 1)
    for seed in range(scaled(seeds)):
        run(WORLDS[kind], tmp_path / str(seed), 500 + seed, deliveries=5)


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
@pytest.mark.parametrize("published", [False, True])
def test_f8_a_sink_that_dies_before_committed_and_its_successor(
    kind: str, published: bool, tmp_path: Path
) -> None:
    """Prepared, then dead: before the table's commit, or between it and the journal's record."""
    catalog = SqlCatalog("default", uri=f"sqlite:///{tmp_path}/catalog.db")
    table: dict[str, object] = {"type": kind}
    if kind == "iceberg":
        uri = f"sqlite:///{tmp_path}/catalog.db"
        table |= {"name": "web.rows", "catalog": {"type": "sql", "uri": uri}}
    world = LakeWorld(tmp_path, LocalPlace(tmp_path / "lake"), table=table)
    for life in range(3):
        world.put(life * 20, life * 20 + 20)
        sink = world.sink()
        sink.open()
        lane = world.lane(sink)
        for delivery in flow.recover(lane):
            flow.finish(lane, delivery)
        delivery = world.fill(lane)
        to_prepare(lane, delivery)
        if published:
            assert delivery.manifest is not None
            assert sink.publish(delivery.manifest) == []
        world.reopen()
    world.run()
    world.judge(range(60))
    if kind == "delta":
        found = DeltaTable(str(tmp_path / "lake"))
        numbers, commits = found.to_pyarrow_table()["n"], found.history()
        assert sum(entry["operation"] == "WRITE" for entry in commits) == 3
    else:
        iceberg = catalog.load_table("web.rows")
        numbers = iceberg.scan().to_arrow()["n"]
        assert len(iceberg.snapshots()) == 3
    assert sorted(numbers.to_pylist()) == list(range(60))
    world.close()
    catalog.close()


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", [kind for kind in KINDS if kind != "none"])
@pytest.mark.parametrize(("kind", "seeds"), [("delta", 8), ("iceberg", 1)])
def test_f8_one_fault_again_and_again(kind: str, seeds: int, fault: str, tmp_path: Path) -> None:
    for seed in range(scaled(seeds)):
        faults = run(WORLDS[kind], tmp_path / str(seed), 7000 + seed, (fault, "none"), 2)
        assert set(faults.met) <= {fault, "none"}
