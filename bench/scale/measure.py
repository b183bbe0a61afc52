"""How the cost of one decision grows: CPU time per decision at several sizes, and the exponent.

A Case builds its state (not timed) and says how to decide; what is timed is that alone, as CPU time
of this process, best of several repeats, with Python's cyclic garbage collector held off.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

Decide: TypeAlias = Callable[[], int]
"""Makes a number of decisions and returns how many it made."""

EXPONENT_MAX = 1.2
"""n log n has 1.1 to 1.2 between these sizes, n squared has 2."""
DECISIONS = 2_000
"""So many are timed at once at least: the smaller a state, the more copies of it."""
TRIES = 3


@dataclass(frozen=True)
class Case:
    """One kind of decision. `grows`: what there are n of. `build` makes a state of size n."""

    name: str
    grows: str
    sizes: tuple[int, ...]
    build: Callable[[int], Decide]
    decisions: int = DECISIONS


@dataclass
class Result:
    """Size -> CPU seconds per decision, and decisions that were made on one state."""

    case: Case
    seconds: dict[int, float] = field(default_factory=dict)
    made: dict[int, int] = field(default_factory=dict)

    def exponents(self) -> list[float]:
        """By which power of n the total of n decisions grows, from each size to the next."""
        steps = zip(self.case.sizes, self.case.sizes[1:], strict=False)
        return [1 + math.log(self.seconds[b] / self.seconds[a]) / math.log(b / a) for a, b in steps]

    def grows(self, exponent_max: float = EXPONENT_MAX) -> bool:
        """Whether the total grows faster than that power of n."""
        return any(exponent > exponent_max for exponent in self.exponents())


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _once(case: Case, size: int) -> tuple[float, int]:
    """CPU seconds per decision, and decisions per state."""
    first = case.build(size)
    states = [first]
    with _no_collector():
        begun = time.process_time()
        made = first()
        seconds = time.process_time() - begun
    copies = case.decisions // max(made, 1)
    if copies < 2:
        return seconds / made, made
    states = [case.build(size) for _ in range(copies)]
    with _no_collector():
        begun = time.process_time()
        total = sum(decide() for decide in states)
        seconds = time.process_time() - begun
    return seconds / total, made


def measure(case: Case, repeats: int, exponent_max: float = EXPONENT_MAX) -> Result:
    """The best of `repeats` for each size; a case that seems to grow is measured again first."""
    result = Result(case)
    for _ in range(TRIES):
        for size in case.sizes:
            for _ in range(repeats):
                seconds, made = _once(case, size)
                result.seconds[size] = min(seconds, result.seconds.get(size, seconds))
                result.made[size] = made
        if not result.grows(exponent_max):
            break
    return result


def table(results: Sequence[Result]) -> list[str]:
    """Markdown: one line per case and size."""
    lines = [
        "| decision | n | of | decisions | total ms | each us | exponent |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        exponents = ["", *(f"{exponent:.2f}" for exponent in result.exponents())]
        for size, exponent in zip(result.case.sizes, exponents, strict=True):
            made, each = result.made[size], result.seconds[size]
            lines.append(
                f"| {result.case.name} | {size:,} | {result.case.grows} | {made:,} "
                f"| {made * each * 1e3:.1f} | {each * 1e6:.1f} | {exponent} |"
            )
    return lines
