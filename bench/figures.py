"""The single values of a run of the bench, and what is computed from them: medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from bench.table import Table

FILE, MEMORY, BARE = "rayflume_file", "rayflume_memory", "bare_pyarrow"
"""The variants that ratios are built from."""


@dataclass(frozen=True)
class Value:
    """One run of one contender: what it was given, how long it took, what it used.

    `bytes` is the memory of its processes, `shared_bytes` their shared memory; `apart`: CPU and
    memory of processes that are not its own (the CPU seconds are in `cpu_seconds`, too).
    """

    round: int
    contender: str
    variant: str
    task: str
    rows: int
    input_bytes: int
    seconds: float
    cpu_seconds: float
    bytes: int
    shared_bytes: int
    apart: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """10^6 bytes of input a second."""
        return self.input_bytes / self.seconds / 1e6

    @property
    def cpu_per_gb(self) -> float:
        """CPU seconds per 10^9 bytes of input."""
        return self.cpu_seconds / self.input_bytes * 1e9


@dataclass
class Figures:
    """All values, what was skipped or failed (who -> why), and the tables of the experiments."""

    values: list[Value] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

    def of(self, task: str, variant: str) -> list[Value]:
        return [v for v in self.values if (v.task, v.variant) == (task, variant)]

    def median(self, task: str, variant: str, of: Callable[[Value], float]) -> float | None:
        """Over the rounds; None when there was no such run."""
        found = [of(value) for value in self.of(task, variant)]
        return statistics.median(found) if found else None

    def rate(self, task: str, variant: str) -> float | None:
        return self.median(task, variant, lambda value: value.rate)

    def best(self, task: str, variants: Iterable[str]) -> float | None:
        """The highest of the variants' rates."""
        return max((r for v in variants if (r := self.rate(task, v)) is not None), default=None)

    def cpu(self, task: str, variant: str) -> float | None:
        return self.median(task, variant, lambda value: value.cpu_per_gb)

    def rows(self, task: str, variant: str) -> float | None:
        """Rows a second."""
        return self.median(task, variant, lambda value: value.rows / value.seconds)

    def peak(self, variant: str) -> float | None:
        """MiB, private and shared, the largest of all tasks."""
        sizes = [v.bytes + v.shared_bytes for v in self.values if v.variant == variant]
        return max(sizes) / 2**20 if sizes else None

    def cell(self, title: str, row: str, column: str) -> float | None:
        """A number of an experiment's table: the first table whose title begins with `title` and
        has `column`, its first row that begins with `row`.
        """
        for table in self.tables:
            if table.title.startswith(title) and column in table.columns:
                for cells in table.rows:
                    value = cells[table.columns.index(column)]
                    if str(cells[0]).startswith(row) and isinstance(value, int | float):
                        return value
        return None


def ratio(of: float | None, to: float | None) -> float | None:
    """None when one is not there."""
    return of / to if of is not None and to else None
