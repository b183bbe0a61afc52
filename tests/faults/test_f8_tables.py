"""F8: conflicts, lost answers, refusals, stale columns and outages at the commit of a table.

After each seed: every row once, every file referenced once, nothing committed was ever deleted.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_volume import scaled
from table_worlds import KINDS, DeltaWorld, Faults, IcebergWorld

WORLDS = {"delta": DeltaWorld, "iceberg": IcebergWorld}


def run(world_type: type, base: Path, seed: int, kinds: tuple[str, ...] = KINDS) -> Faults:
    base.mkdir()
    faults = Faults(seed, kinds)
    with pytest.MonkeyPatch.context() as patch:
        world = world_type(base, faults, patch)
        try:
            world.run(deliveries=3)
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


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", [kind for kind in KINDS if kind != "none"])
@pytest.mark.parametrize(("kind", "seeds"), [("delta", 200), ("iceberg", 20)])
def test_f8_one_fault_again_and_again(kind: str, seeds: int, fault: str, tmp_path: Path) -> None:
    for seed in range(seeds):
        faults = run(WORLDS[kind], tmp_path / str(seed), 7000 + seed, (fault, "none"))
        assert set(faults.met) <= {fault, "none"}
