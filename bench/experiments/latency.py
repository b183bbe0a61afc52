"""From the append of a line to its row being visible in the lake, at shares of the peak rate.

    python -m bench.experiments.latency --seconds 20

A process appends lines that carry the time of their `write` at an even pace to a file that taildir
follows; the lake is listed every 10 ms, and a row is visible when the listing shows its file. One
clock serves both. The peak is the rate at which sinks take rows while more is offered than they
keep up with: so the writer's share of the two cores is in it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench.agent import Running
from bench.experiments._agent import Setup, fresh, input_folder, local_ray, running
from bench.experiments._feed import Fed, Feed, Feeding, Pace, write_files
from bench.experiments._lake import Latencies, Observer, latencies
from bench.experiments._processes import machine, used
from bench.experiments._standalone import DATA, say, standalone
from bench.table import Table

Row = tuple[str | float | int | None, ...]
OFFERED_AT_PEAK, REACHED, TRIES = 1.3, 0.95, 3
WARM_S = 3.0
"""Rows sent before are counted, but not in the percentiles: a new file has to be found first."""
DRAIN_S = 180.0


@dataclass(frozen=True)
class Options:
    """`peak`: bytes a second; 0: measured first. `ready_mb`: size of the files that lie ready."""

    seconds: float = 20
    shares: tuple[float, ...] = (0.1, 0.5, 0.9)
    peak: float = 0
    ready_mb: float = 200
    roll_age: str = "1s"
    data: str = str(DATA)


@dataclass(frozen=True)
class Load:
    """One stretch of even load and what came of it. `rate`: bytes a second that sinks took."""

    name: str
    fed: Fed
    visible: Latencies
    rate: float
    agent_cpu: float
    gap_us: int


class Bench:
    """One agent, its lake and its observer; loads are put on it one after the other."""

    def __init__(self, folder: Path, agent: Running, observer: Observer, sources: int = 1) -> None:
        self._folder = folder
        self._agent = agent
        self._observer = observer
        self._sources = sources
        self._turn = 0
        self._first = 0

    def _paths(self) -> list[Path]:
        self._turn += 1
        name = f"{self._turn}.jsonl"
        return [input_folder(self._folder, n) / name for n in range(self._sources)]

    def ready(self, size: int) -> float:
        """Bytes a second of files that lie ready, from their appearing to the last row decoded."""
        paths = self._paths()
        outside = [self._folder / f"ready-{n}.jsonl" for n in range(len(paths))]
        rows = write_files(outside, size, self._first)
        all_of = self._taken() + rows
        begin = time.perf_counter()
        for path, target in zip(outside, paths, strict=True):
            path.rename(target)
        self._agent.wait(lambda: self._taken() >= all_of, "all rows are taken", DRAIN_S)
        seconds = time.perf_counter() - begin
        self._observer.wait_rows(rows, DRAIN_S)
        latencies(self._observer.seen(), range(self._first, self._first + rows))
        self._end(paths, rows)
        return rows * Feed().line_bytes / seconds

    def _taken(self) -> int:
        return self._agent.metric("sink", "EventDrainAttemptCount")

    def peak(self, size: int, seconds: float) -> Load:
        """More than the flow keeps up with: first as much as it took of `size` bytes that lay
        ready, and some more.
        """
        self.ready(size // 10)
        offered = self.ready(size)
        say(f"{offered / 1e6:.0f} MB/s of files that lie ready")
        for _ in range(TRIES):
            offered *= OFFERED_AT_PEAK
            load = self.even("more than the peak", offered, seconds)
            if load.rate < REACHED * load.fed.bytes / load.fed.seconds:
                break
        say(f"the peak is {load.rate / 1e6:.0f} MB/s beside the writer")
        return load

    def even(self, name: str, rate: float, seconds: float) -> Load:
        """An even load, from its first line to the last row visible. Raises TimeoutError,
        RuntimeError when rows are lost or doubled.
        """
        paths = self._paths()
        begin, cpu = time.perf_counter(), self._agent.cpu()
        feeding = Feeding(paths, Pace(rate, seconds, self._first))
        try:
            self._agent.wait(lambda: time.perf_counter() - begin > WARM_S, "warm", 2 * WARM_S)
            warm, warm_rows = time.perf_counter(), self._taken()
            fed = feeding.done()
            taken = (self._taken() - warm_rows) / (time.perf_counter() - warm)
        finally:
            feeding.kill()
        self._observer.wait_rows(fed.rows, DRAIN_S)
        share = used(cpu, self._agent.cpu()) / (time.perf_counter() - begin)
        found = latencies(self._observer.seen(), range(self._first, self._first + fed.rows))
        found = found.after(int(found.sent_us[0]) + int(WARM_S * 1e6))
        rate = taken * fed.bytes / fed.rows
        load = Load(name, fed, found, rate, share, self._observer.gap_us)
        self._end(paths, fed.rows)
        return load

    def _end(self, paths: list[Path], rows: int) -> None:
        self._observer.clear()
        for path in paths:
            path.unlink()
        self._first += rows


def run(options: Options) -> list[Table]:
    """Latency at each share of the peak."""
    setup = Setup(roll_age=options.roll_age)
    with (
        local_ray(),
        fresh(Path(options.data) / "latency") as folder,
        running(folder, setup) as agent,
        Observer(folder / "lake") as observer,
    ):
        bench = Bench(folder, agent, observer)
        loads, peak = [], options.peak
        if not peak:
            loads.append(bench.peak(int(options.ready_mb * 1e6), max(8.0, options.seconds / 2)))
            peak = loads[0].rate
        for share in options.shares:
            loads.append(bench.even(f"{share:.0%} of the peak", share * peak, options.seconds))
            say(f"latency: {loads[-1].name}: p99 {loads[-1].visible.percentile(99):.0f} ms")
    return [table(loads, peak, options)]


def table(loads: list[Load], peak: float, options: Options) -> Table:
    rows: list[Row] = [
        (
            load.name,
            load.fed.bytes / load.fed.seconds / 1e6,
            load.rate / 1e6,
            load.fed.rows,
            load.visible.percentile(50),
            load.visible.percentile(99),
            load.visible.percentile(100),
            100 * load.agent_cpu,
            100 * load.fed.cpu_seconds / load.fed.seconds,
            load.fed.late_ms,
        )
        for load in loads
    ]
    gap = max(load.gap_us for load in loads) / 1000
    note = (
        f"roll.age {options.roll_age}; peak {peak / 1e6:.0f} MB/s; every row counted once; the "
        f"lake was listed at least every {gap:.0f} ms; the first {WARM_S:.0f} s are not in the "
        f"percentiles; {machine()}. The target is p99 under 2,000 ms at 50 %."
    )
    return Table(
        "From append to visible in the lake",
        (
            "load", "MB/s offered", "MB/s taken", "rows", "p50 ms", "p99 ms", "max ms",
            "agent, % of a core", "writer, % of a core", "writer late, ms",
        ),
        rows,
        note,
    )  # fmt: skip


if __name__ == "__main__":
    standalone(run, Options, __doc__)
