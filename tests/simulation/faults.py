"""What goes wrong in a schedule, and before which step. Drawn from the seed before anything runs,
so that a fault can be left out and the others stay where they are.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from simulation.disk import NAMES
from simulation.judge import committed_in, proven_puts, rows_in

if TYPE_CHECKING:
    from rayflume.journal.intervals import Intervals
    from simulation.world import World

FAULTS_MAX = 10
STEPS = 2_500
"""Faults come before one of so many first steps: then rows are still on their way."""
QUIET = 0.1
"""Share of schedules without any fault."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong before step `step`; `dice` decides on what it hits."""

    step: int
    kind: str
    dice: tuple[float, float, float]

    def __str__(self) -> str:
        return f"step {self.step}: {self.kind} {' '.join(f'{d:.3f}' for d in self.dice)}"


def draw(seed: int) -> list[Fault]:
    """The faults of a schedule, in the order of their steps."""
    random = Random(f"faults {seed}")
    count = 0 if random.random() < QUIET else random.randint(1, FAULTS_MAX)
    kinds = random.choices(list(KINDS), [weight for weight, _ in KINDS.values()], k=count)
    faults = [
        Fault(
            int(STEPS * random.random() ** 1.5) + 20,
            kind,
            (random.random(), random.random(), random.random()),
        )
        for kind in kinds
    ]
    return sorted(faults, key=lambda fault: fault.step)


def apply(fault: Fault, world: World) -> None:
    """Let it go wrong."""
    world.kernel.note(f"FAULT {fault}")
    KINDS[fault.kind][1](world, fault.dice)


def heal(world: World) -> None:
    """From here on all is well; what stands still goes on after its time."""
    world.kernel.note("no more faults")
    world.network.trouble = world.network.replays = 0.0
    for sim in world.stores.values():
        sim.trouble, sim.old_lists = 0.0, False
    for machine in world.machines.values():
        machine.full = False
        machine.fail.clear()


def _kill(world: World, dice: tuple[float, float, float]) -> None:
    found = world.processes()
    world.kernel.kill(found[int(dice[0] * len(found))])


def _pause(world: World, dice: tuple[float, float, float]) -> None:
    found = world.processes()
    process = found[int(dice[0] * len(found))]
    world.kernel.pause(process, 1_000 * 200 ** dice[1], unreachable=dice[2] < 0.6)


def _zombie(world: World, dice: tuple[float, float, float]) -> None:
    """Stands still until it is replaced, and then goes on."""
    lives = [life for key, life in sorted(world.lives.items()) if life.process.alive]
    process = lives[int(dice[0] * len(lives))].process if lives else world.supervisor
    world.kernel.pause(process, 62_000 + 60_000 * dice[1], unreachable=True)


def _power(world: World, dice: tuple[float, float, float]) -> None:
    """A host goes down and comes up again; its disks are what is left of them."""
    host = "near" if dice[0] < 0.7 else "far"
    for process in world.processes():
        if process.host == host:
            world.kernel.kill(process)
    if host == "near":
        for machine in world.machines.values():
            machine.power_failure(world.kernel.random)


def _disk_fails(world: World, dice: tuple[float, float, float]) -> None:
    machine = list(world.machines.values())[int(dice[0] * len(world.machines))]
    operation = NAMES[int(dice[1] * len(NAMES))]
    number = errno.EIO if dice[2] < 0.5 or operation == "read" else errno.ENOSPC
    # What can't be read twice counts as damaged, so a read fails once.
    times = 1 if operation == "read" else 1 + int(dice[2] * 5) % 3
    machine.fail.setdefault(operation, []).extend([number] * times)


def _disk_full(world: World, dice: tuple[float, float, float]) -> None:
    machine = list(world.machines.values())[int(dice[0] * len(world.machines))]
    machine.full = True

    def freed() -> None:
        machine.full = False

    world.kernel.spawn("disk freed", freed, None, dice[1] * 60_000)


def _network(world: World, dice: tuple[float, float, float]) -> None:
    world.network.trouble = dice[0] * 0.3

    def better() -> None:
        world.network.trouble = 0.0

    world.kernel.spawn("network better", better, None, dice[1] * 60_000)


def _store(world: World, dice: tuple[float, float, float]) -> None:
    sim = list(world.stores.values())[int(dice[2] * len(world.stores))]
    sim.trouble = dice[0] * 0.6

    def better() -> None:
        sim.trouble = 0.0

    world.kernel.spawn("store better", better, None, dice[1] * 60_000)


def _expire(world: World, dice: tuple[float, float, float]) -> None:
    """Not with damage in the same schedule: rows gone from both places need an operator."""
    if world.judge.flipped:
        return
    world.judge.expired = True
    list(world.stores.values())[int(dice[0] * len(world.stores))].expire()


def _old_lists(world: World, dice: tuple[float, float, float]) -> None:
    list(world.stores.values())[int(dice[0] * len(world.stores))].old_lists = True


def _clock(world: World, dice: tuple[float, float, float]) -> None:
    """An hour, a day, or to 1970 or 2100; forwards or backwards."""
    jumps = (3_600_000.0, 86_400_000.0, 300_000.0, 2_500_000_000_000.0)
    jump = jumps[int(dice[0] * len(jumps))] * (1 if dice[1] < 0.5 else -1)
    world.kernel.wall_ms = max(0.0, world.kernel.wall_ms + jump)


def _all_in(done: Intervals, start: int, stop: int) -> bool:
    return sum(last - first for first, last in done.clip(start, stop)) == stop - start


def _flip(world: World, dice: tuple[float, float, float]) -> None:
    """A bit of a record that was synced long ago changes on the disk, and its rows are read again,
    for whoever had read them dies.
    """
    machine = list(world.machines.values())[int(dice[0] * len(world.machines))]
    done = committed_in(machine)
    hurt = world.judge.flipped
    puts = [
        put
        for put in proven_puts(machine)
        if not _all_in(done, *put[2].meta["rows"]) and put[:2] not in hurt
    ]
    for key, life in sorted(world.lives.items()):
        if key[0] in world.topology.sinks:
            world.kernel.kill(life.process)
    if puts and not world.judge.expired:
        name, at, head = puts[int(dice[1] * len(puts))]
        hurt.add((name, at))
        world.judge.damaged |= rows_in(machine, name, at, head)
        used = head.body_offset + head.body_length
        machine.flip(name, at + int(dice[2] * used), int(dice[1] * 8))


Apply = Callable[["World", tuple[float, float, float]], None]
KINDS: dict[str, tuple[int, Apply]] = {
    "kill": (6, _kill),
    "pause": (4, _pause),
    "zombie": (3, _zombie),
    "power failure": (3, _power),
    "disk fails": (4, _disk_fails),
    "disk full": (1, _disk_full),
    "network": (4, _network),
    "store": (4, _store),
    "upload expires": (2, _expire),
    "old listings": (1, _old_lists),
    "clock jumps": (1, _clock),
    "bit flips": (1, _flip),
}
"""Kind -> how often, and what it does."""
