"""F2: a crash, an error and a delay before and after all that an agent does to a disk or a store.

A failpoint is an operation and the function of rayflume that asks for it: `before sync in
_write_pending`. They are found by a run without faults, so a new call site is a new failpoint.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rayflume
from rayflume.errors import StorageUnavailable
from simulation.kernel import Died
from simulation.schedule import Outcome, run
from simulation.world import World

PACKAGE = str(Path(rayflume.__file__).parent)
TOPOLOGIES = (1, 2)
"""Seeds whose schedules have fan-out, and two sinks."""
NO_FAULTS = range(100)
FAILPOINTS_MIN = 40
DELAY_MS = 40_000
Act = Callable[[World, str], None]


def site(operation: str) -> str:
    """The operation, and the innermost function of rayflume's channels, journal or sinks in it."""
    frame = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE) and "/storage/" not in code.co_filename:
            return f"{operation} in {code.co_name}"
        assert frame.f_back is not None
        frame = frame.f_back
    raise AssertionError("unreachable")


def sites_of(seed: int) -> list[str]:
    """All failpoints that a quiet run of a schedule comes by, in the order it does so."""
    found: dict[str, None] = {}

    def prepare(world: World) -> None:
        world.kernel.failpoint = lambda operation: found.setdefault(site(operation))

    assert run(seed, without=NO_FAULTS, prepare=prepare).problem == ""
    return list(found)


def crash(world: World, operation: str) -> None:
    task = world.kernel.current
    assert task is not None
    if task.process is not None:
        world.kernel.kill(task.process)
        raise Died


def error(world: World, operation: str) -> None:
    if operation.split()[1] == "store":
        raise StorageUnavailable(f"an error {operation}")
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def delay(world: World, operation: str) -> None:
    world.kernel.sleep(DELAY_MS)


ACTS: dict[str, Act] = {"crash": crash, "error": error, "delay": delay}


def run_with(seed: int, where: str, act: Act) -> tuple[Outcome, int]:
    """The schedule with one fault at the first passing of a failpoint; how often it was hit."""
    hits: list[str] = []

    def prepare(world: World) -> None:
        def failpoint(operation: str) -> None:
            if not hits and site(operation) == where:
                hits.append(where)
                act(world, operation)

        world.kernel.failpoint = failpoint

    outcome = run(seed, without=NO_FAULTS, prepare=prepare)
    return outcome, len(hits)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(ACTS))
def test_f2_every_failpoint_is_survived(name: str) -> None:
    hit: set[str] = set()
    for seed in TOPOLOGIES:
        for where in sites_of(seed):
            outcome, hits = run_with(seed, where, ACTS[name])
            assert outcome.problem == "", f"{name} {where}: {outcome.problem}"
            assert hits == 1, f"{where} was not hit"
            hit.add(where)
    print(f"{name} at {len(hit)} failpoints:", *sorted(hit), sep="\n  ")
    assert len(hit) >= FAILPOINTS_MIN, sorted(hit)
