"""Throughput and latency with 1 to 16 sources that share the same input.

    python -m bench.experiments.scaling --sources 1 2 4 8 16

Each source is a part of its own, in a process of its own. Throughput: files that lie ready, the
same bytes in all, one file a source. Latency: an even load at half of what one source took, the
lines written to the sources' files in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.experiments._agent import Setup, fresh, local_ray, running
from bench.experiments._lake import Observer
from bench.experiments._processes import Memory, machine, memory
from bench.experiments._standalone import DATA, say, standalone
from bench.experiments.latency import Bench, Load
from bench.table import Table

Row = tuple[str | float | int | None, ...]


@dataclass(frozen=True)
class Options:
    """`rate`: bytes a second of the even load; 0: half of what one source takes of ready files."""

    sources: tuple[int, ...] = (1, 2, 4, 8, 16)
    input_mb: float = 300
    seconds: float = 15
    rate: float = 0
    data: str = str(DATA)


@dataclass(frozen=True)
class Scaled:
    """Of one number of sources: bytes a second of ready files, the even load, private memory."""

    sources: int
    ready: float
    load: Load
    memory: int


def run(options: Options) -> list[Table]:
    """One row a number of sources."""
    found: list[Scaled] = []
    rate = options.rate
    with local_ray():
        for count in options.sources:
            with fresh(Path(options.data) / "scaling" / str(count)) as folder:
                found.append(_scaled(folder, count, rate, options))
            rate = rate or found[0].ready / 2
            say(f"scaling: {count} sources: {found[-1].ready / 1e6:.0f} MB/s")
    return [_table(found)]


def _scaled(folder: Path, count: int, rate: float, options: Options) -> Scaled:
    with (
        running(folder, Setup(sources=count)) as agent,
        Observer(folder / "lake") as observer,
    ):
        bench = Bench(folder, agent, observer, count)
        bench.ready(int(options.input_mb * 1e5))
        ready = bench.ready(int(options.input_mb * 1e6))
        load = bench.even(f"{count} sources", rate or ready / 2, options.seconds)
        held = sum((memory(pid) for pid in agent.pids().values()), Memory()).private
    return Scaled(count, ready, load, held)


def _table(found: list[Scaled]) -> Table:
    rows: list[Row] = [
        (
            one.sources,
            one.ready / 1e6,
            one.ready / found[0].ready,
            one.load.fed.bytes / one.load.fed.seconds / 1e6,
            one.load.visible.percentile(50),
            one.load.visible.percentile(99),
            100 * one.load.agent_cpu,
            one.memory / 2**20,
        )
        for one in found
    ]
    note = (
        "roll.age 1s; every row counted once; memory is what is private to the agent's processes "
        f"after the load. {machine()}."
    )
    columns = (
        "sources", "MB/s of ready files", f"of {found[0].sources}", "MB/s, even load", "p50 ms",
        "p99 ms", "agent, % of a core", "memory, MiB",
    )  # fmt: skip
    return Table("More sources", columns, rows, note)


if __name__ == "__main__":
    standalone(run, Options, __doc__)
