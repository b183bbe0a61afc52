"""How a backlog drains: the rate in its first seconds against the whole.

    python -m bench.experiments.backlog --backlogs 0 1 10

The journal is filled before the agent starts. Time begins with the first status in which all sinks
run; rows count when a sink has taken and decoded them. Without a backlog the same is measured of
files that lie ready, so source and channel share the cores with the sinks.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.agent import Part
from bench.experiments._agent import Setup, fresh, input_folder, local_ray, starting
from bench.experiments._feed import Feed, write_files
from bench.experiments._fill import fill
from bench.experiments._processes import machine, used
from bench.experiments._standalone import DATA, say, standalone
from bench.table import Table

Row = tuple[str | float | int | None, ...]
DEADLINE_S = 1_800.0
LOOK_S = 0.1


@dataclass(frozen=True)
class Options:
    """`backlogs`: GB of lines; `input_mb`: of the files that stand for no backlog. `every`: seconds
    between two samples.
    """

    backlogs: tuple[float, ...] = (0.0, 1.0)
    input_mb: float = 500
    every: float = 0.5
    data: str = str(DATA)


@dataclass(frozen=True)
class Drained:
    """`samples`: (seconds since all sinks ran, bytes taken), from 0 to the end."""

    gb: float
    samples: list[tuple[float, float]]
    cpu_per_gb: float

    def rate(self, first_s: float = float("inf")) -> float:
        """Bytes a second up to about `first_s`, or to the end."""
        reached = next((s for s in self.samples if s[0] >= first_s), self.samples[-1])
        return reached[1] / max(reached[0], 1e-9)

    def late_rate(self) -> float:
        """Bytes a second of the second half of the time."""
        end = self.samples[-1]
        middle = next(s for s in self.samples if s[0] >= end[0] / 2)
        return (end[1] - middle[1]) / max(end[0] - middle[0], 1e-9)


def run(options: Options) -> list[Table]:
    """One row a backlog, and the course of the largest."""
    drained = []
    with local_ray():
        for gb in options.backlogs:
            with fresh(Path(options.data) / "backlog" / f"{gb:g}") as folder:
                drained.append(_drained(folder, gb, options))
            say(f"backlog: {gb:g} GB: {drained[-1].rate() / 1e6:.0f} MB/s")
    return [_table(drained), _course(drained[-1])]


def _drained(folder: Path, gb: float, options: Options) -> Drained:
    if gb:
        say(f"backlog: filling {gb:g} GB")
        rows = fill(folder / "wal", int(gb * 1e9))
    else:
        place = input_folder(folder)
        place.mkdir(parents=True)
        rows = write_files([place / "clicks.jsonl"], int(options.input_mb * 1e6))
    with starting(folder, Setup(roll_age="5min")) as agent:
        agent.wait(lambda: all(p.state == "running" for p in agent.parts("sink")), "the sinks", 180)
        begin, line = time.perf_counter(), Feed().line_bytes
        base, cpu = _taken(agent.parts("sink")), None
        samples = [(0.0, 0.0)]
        pause = threading.Event()
        while (taken := _taken(agent.parts("sink"))) < rows:
            now = time.perf_counter() - begin
            if taken > base and now - samples[-1][0] >= options.every:
                samples.append((now, (taken - base) * line))
            if cpu is None and all(part.state == "running" for part in agent.parts()):
                cpu, at = agent.cpu(), taken
            if now > DEADLINE_S:
                raise TimeoutError(f"{taken} of {rows} rows are taken within {DEADLINE_S:.0f} s")
            pause.wait(LOOK_S)
        samples.append((time.perf_counter() - begin, (taken - base) * line))
        cores = used(cpu, agent.cpu()) / ((taken - at) * line / 1e9) if cpu else float("nan")
    return Drained(gb, samples, cores)


def _taken(sinks: list[Part]) -> int:
    return sum(part.metrics.get("EventDrainAttemptCount", 0) for part in sinks)


def _table(drained: list[Drained]) -> Table:
    rows: list[Row] = [
        (
            f"{one.gb:g} GB" if one.gb else "none, files lie ready",
            one.rate(1) / 1e6,
            one.rate(3) / 1e6,
            one.late_rate() / 1e6,
            one.rate() / 1e6,
            one.cpu_per_gb,
        )
        for one in drained
    ]
    note = (
        "MB of lines a second, taken and decoded by two sinks, from the moment both of them run. "
        f"{machine()}."
    )
    columns = (
        "backlog", "first second", "first 3 s", "second half", "whole", "CPU seconds per GB"
    )  # fmt: skip
    return Table("How a backlog drains", columns, rows, note)


def _course(one: Drained) -> Table:
    rows: list[Row] = []
    for before, after in zip(one.samples, one.samples[1:], strict=False):
        if len(rows) < 20:
            rows.append((after[0], (after[1] - before[1]) / max(after[0] - before[0], 1e-9) / 1e6))
    return Table(f"The first samples at {one.gb:g} GB", ("seconds", "MB/s since the last"), rows)


if __name__ == "__main__":
    standalone(run, Options, __doc__)
