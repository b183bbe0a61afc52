"""From an HTTP request to its 200, which means durable, at shares of the peak; and the throughput
of NDJSON into the lake against that of files.

    python -m bench.experiments.http_latency --seconds 20

64 clients with connections that stay open. The peak: each sends its next request when the one
before is answered. At shares of the peak the loop is open, and latency counts from the moment at
which a request was due (see _load.py: no coordinated omission). The load's own CPU is shown: it
shares the cores with the agent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.agent import Running
from bench.experiments._agent import Setup, fresh, local_ray, running
from bench.experiments._lake import Observer
from bench.experiments._load import Done, Wanted, load
from bench.experiments._processes import machine, used
from bench.experiments._standalone import DATA, say, standalone
from bench.experiments.latency import Bench
from bench.table import Table

Row = tuple[str | float | int | None, ...]
DRAIN_S = 180.0
WARM_S = 2.0


@dataclass(frozen=True)
class Options:
    """`rows`: of a request; `peak`: requests a second, 0: measured first. `large_rows`: of a
    request when only throughput counts; `file_mb`: size of the files it is held against.
    """

    seconds: float = 20
    shares: tuple[float, ...] = (0.1, 0.5, 0.9)
    peak: float = 0
    rows: int = 100
    clients: int = 64
    large_rows: int = 10_000
    large_clients: int = 8
    file_mb: float = 200
    data: str = str(DATA)


@dataclass(frozen=True)
class Measured:
    """A load, what came of it, and the CPU of the agent in cores."""

    name: str
    done: Done
    agent_cpu: float

    @property
    def rate(self) -> float:
        return self.done.answered / self.done.seconds


def run(options: Options) -> list[Table]:
    """Latency at each share of the peak, then throughput of large requests and of files."""
    with local_ray(), fresh(Path(options.data) / "http") as folder:
        with (
            running(folder / "small", Setup(sources=0)) as agent,
            Observer(folder / "small" / "lake") as observer,
        ):
            loads = _latencies(agent, observer, options)
        with (
            running(folder / "large", Setup(sources=0)) as agent,
            Observer(folder / "large" / "lake") as observer,
        ):
            large = _throughput(agent, observer, options)
        files_at = folder / "files"
        with (
            running(files_at, Setup()) as agent,
            Observer(files_at / "lake") as observer,
        ):
            bench = Bench(files_at, agent, observer)
            bench.ready(int(options.file_mb * 1e6 / 10))
            files = bench.ready(int(options.file_mb * 1e6))
            say(f"http: {files / 1e6:.0f} MB/s from files")
    return [_latency_table(loads, options), _throughput_table(large, files, options)]


def _port(agent: Running) -> int:
    [source] = agent.parts("source")
    return int(source.detail["port"])


def _latencies(agent: Running, observer: Observer, options: Options) -> list[Measured]:
    wanted = Wanted(_port(agent), 0, WARM_S, options.rows, options.clients)
    measured = _put(agent, observer, "warm-up", wanted)
    measured = _put(agent, observer, "the peak", _with(wanted, 0, options.seconds / 2))
    peak = options.peak or measured.rate
    say(f"http: the peak is {measured.rate:,.0f} requests a second")
    loads = [measured]
    for share in options.shares:
        even = _with(wanted, share * peak, options.seconds)
        loads.append(_put(agent, observer, f"{share:.0%} of the peak", even))
        say(f"http: {loads[-1].name}: p99 {np.percentile(loads[-1].done.ms, 99):.1f} ms")
    return loads


def _with(wanted: Wanted, rate: float, seconds: float) -> Wanted:
    return Wanted(wanted.port, rate, seconds, wanted.rows, wanted.clients)


def _put(agent: Running, observer: Observer, name: str, wanted: Wanted) -> Measured:
    """A load; every row that was answered with 200 must come into the lake."""
    begin, cpu = time.perf_counter(), agent.cpu()
    done = load(wanted)
    cores = used(cpu, agent.cpu()) / (time.perf_counter() - begin)
    rows = done.answered * wanted.rows
    observer.wait_rows(rows, DRAIN_S)
    if observer.rows() != rows:
        raise RuntimeError(f"{rows} rows were answered with 200, {observer.rows()} are in the lake")
    observer.clear()
    return Measured(name, done, cores)


def _throughput(agent: Running, observer: Observer, options: Options) -> float:
    """Bytes a second of large requests until sinks have taken the last row."""
    wanted = Wanted(_port(agent), 0, WARM_S, options.large_rows, options.large_clients)
    _put(agent, observer, "warm-up", wanted)
    before = agent.metric("sink", "EventDrainAttemptCount")
    done = load(_with(wanted, 0, options.seconds))
    behind = time.perf_counter()
    rows = before + done.answered * wanted.rows
    agent.wait(lambda: agent.metric("sink", "EventDrainAttemptCount") >= rows, "all taken", DRAIN_S)
    rate = done.bytes / (done.seconds + time.perf_counter() - behind)
    say(f"http: {rate / 1e6:.0f} MB/s in large requests; {done.refused} were refused")
    return rate


def _latency_table(loads: list[Measured], options: Options) -> Table:
    rows: list[Row] = []
    for load_of in loads:
        done, ms = load_of.done, np.array(load_of.done.ms)
        middle, late, worst = np.percentile(ms, [50, 99, 100]) if len(ms) else [np.nan] * 3
        rows.append(
            (
                load_of.name,
                load_of.rate,
                done.bytes / done.seconds / 1e6,
                float(middle),
                float(late),
                float(worst),
                done.refused,
                100 * load_of.agent_cpu,
                100 * done.cpu_seconds / done.seconds,
            )
        )
    note = (
        f"{options.clients} clients, {options.rows} rows a request; at shares of the peak latency "
        "counts from when a request was due, whatever became of those before; a request that was "
        f"refused is not in the percentiles. {machine()}. The target is p99 under 50 ms at 50 %."
    )
    columns = (
        "load", "requests/s", "MB/s", "p50 ms", "p99 ms", "max ms", "refused",
        "agent, % of a core", "load, % of a core",
    )  # fmt: skip
    return Table("From HTTP request to its 200, durable", columns, rows, note)


def _throughput_table(large: float, files: float, options: Options) -> Table:
    rows: list[Row] = [
        (f"HTTP, {options.large_rows:,} rows a request", large / 1e6, large / files),
        ("files", files / 1e6, 1.0),
    ]
    note = (
        f"{options.large_clients} clients; the load's process shares the cores. The same sinks, "
        "until the last row is decoded. The target is 0.8 of files."
    )
    return Table("NDJSON into the lake", ("from", "MB/s", "of files"), rows, note)


if __name__ == "__main__":
    standalone(run, Options, __doc__)
