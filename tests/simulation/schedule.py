"""One schedule from its seed to its verdict."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from simulation import faults
from simulation.judge import Violation
from simulation.kernel import Died, Kernel
from simulation.world import TOPOLOGIES, World, seeded_names

SEGMENTS = (4_096, 16_384, 2**20)
QUIET_AFTER_MS = 120_000
"""Faults that have not come by then come no more."""
STEPS_MAX = 60_000
DRAIN_MS = 45 * 60_000
"""Simulated time in which all must be in the lake once nothing goes wrong any more."""


@dataclass(frozen=True)
class Outcome:
    """What became of a schedule. `problem`: "" when all held. `hash` names its trace."""

    seed: int
    problem: str
    hash: int
    steps: int
    simulated_s: float
    applied: tuple[int, ...]
    """Which of its faults came to pass."""
    trace: tuple[str, ...] = ()


def run(
    seed: int,
    *,
    without: Collection[int] = (),
    trace: bool = False,
    prepare: Callable[[World], None] = lambda world: None,
) -> Outcome:
    """Run the schedule of a seed, but for the faults with the numbers in `without`. `prepare` may
    change the world before anything runs.
    """
    kernel = Kernel(seed, trace)
    planned = [(i, f) for i, f in enumerate(faults.draw(seed)) if i not in without]
    applied: list[int] = []
    with _calm(), seeded_names(kernel):
        world = World(kernel, TOPOLOGIES[seed % len(TOPOLOGIES)], kernel.random.choice(SEGMENTS))

        def before_step() -> None:
            while planned and planned[0][1].step <= kernel.steps:
                number, fault = planned.pop(0)
                applied.append(number)
                faults.apply(fault, world)
            if kernel.steps % 64 == 0:
                world.judge.bounds()
            if kernel.steps > STEPS_MAX:
                raise Violation("a busy loop: it takes ever more steps and does not get on")

        kernel.before_step = before_step
        prepare(world)
        problem = ""
        try:
            _live(world, planned)
        except Exception as error:
            kind = "" if isinstance(error, Violation) else f"{type(error).__name__}: "
            problem = f"{kind}{error}" or repr(error)
        finally:
            kernel.before_step = lambda: None
            kernel.close()
    return Outcome(
        seed,
        problem,
        kernel.hash,
        kernel.steps,
        kernel.now_ms / 1000,
        tuple(applied),
        tuple(kernel.lines or ()),
    )


def _live(world: World, planned: list[tuple[int, faults.Fault]]) -> None:
    kernel = world.kernel
    world.inputs.begin()
    kernel.run(
        lambda: (world.inputs.sent and not planned) or kernel.now_ms > QUIET_AFTER_MS,
        QUIET_AFTER_MS * 2,
    )
    planned.clear()
    faults.heal(world)
    if not kernel.run(lambda: world.inputs.sent, kernel.now_ms + DRAIN_MS):
        raise Violation("the clients never get an answer")
    if world.linger_ms:
        kernel.run(lambda: False, kernel.now_ms + world.linger_ms)
    world.asked = "drain"
    if not kernel.run(lambda: world.ended, kernel.now_ms + DRAIN_MS):
        assert world.control is not None
        raise Violation(f"it does not drain: {world.control.status()}")
    world.judge.verdict()


@contextmanager
def _calm() -> Iterator[None]:
    """No garbage collection at a moment nobody chose, no log, no word of what dies half-way."""
    hook = sys.unraisablehook

    def quiet(found: sys.UnraisableHookArgs) -> None:
        if not isinstance(found.exc_value, Died):
            hook(found)

    pa.set_cpu_count(1)
    gc.disable()
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = quiet
    try:
        yield
    finally:
        sys.unraisablehook = hook
        logging.disable(level)
        gc.enable()
