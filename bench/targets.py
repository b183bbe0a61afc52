"""The numbers to reach: what, how much is wanted, how much was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.figures import BARE, FILE, MEMORY, Figures, ratio
from bench.table import Table

_FLUME = ("flume_taildir_file", "flume_spooldir_file")
_HALF = "50% of the peak"


@dataclass(frozen=True)
class Target:
    """`measured` is None of a run that did not measure it."""

    what: str
    wanted: float
    unit: str
    measured: Callable[[Figures], float | None]
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.wanted if self.at_most else value >= self.wanted

    def row(self, figures: Figures) -> tuple[str, str, float | None, str]:
        value = self.measured(figures)
        wanted = f"{'at most' if self.at_most else 'at least'} {self.wanted:g} {self.unit}"
        if value is None:
            return self.what, wanted, None, "not measured"
        return self.what, wanted, value, "yes" if self.met(value) else "no"


def _against(task: str, variant: str) -> Callable[[Figures], float | None]:
    return lambda f: ratio(f.rate(task, FILE), f.rate(task, variant))


def _cpu(task: str) -> Callable[[Figures], float | None]:
    return lambda f: ratio(f.cpu(task, FILE), f.cpu(task, BARE))


def _flume(figures: Figures) -> float | None:
    return ratio(figures.rate("json", FILE), figures.best("lines", _FLUME))


def _millions(figures: Figures) -> float | None:
    rows = figures.rows("tiny", FILE)
    return rows / 1e6 if rows is not None else None


def _peak(figures: Figures) -> float | None:
    peak = figures.peak(FILE)
    return peak / 1024 if peak is not None else None


def _cell(title: str, row: str, column: str) -> Callable[[Figures], float | None]:
    return lambda f: f.cell(title, row, column)


def _drained(figures: Figures) -> float | None:
    """The largest backlog measured: its first seconds against its whole."""
    rows = [
        str(cells[0])
        for table in figures.tables
        if table.title == "How a backlog drains"
        for cells in table.rows
        if str(cells[0]).endswith(" GB")
    ]
    if not rows:
        return None
    first = figures.cell("How a backlog drains", rows[-1], "first second")
    return ratio(first, figures.cell("How a backlog drains", rows[-1], "whole"))


def _served(case: str, column: str) -> Callable[[Figures], float | None]:
    return _cell("Servers", f"{case}: rayflume on Ray", column)


def _five_times(case: str) -> Target:
    """Flume, with the same source, channel kind and sender, is one process: so may rayflume be."""

    def better(figures: Figures) -> float | None:
        columns = ("on Ray : it", "--inline : it")
        found = [figures.cell("Servers", f"{case}: Flume 1.11", name) for name in columns]
        return max((value for value in found if value is not None), default=None)

    what = f"{case} channel, the better of on Ray and --inline, against Flume"
    return Target(what, 5, _X, better)


_X = "x"
_CLICKS = "clickstream JSON lines to typed, partitioned Parquet, against"
TARGETS = (
    Target(f"{_CLICKS} Spark", 2.5, _X, _against("json", "spark")),
    Target(f"{_CLICKS} two bare pyarrow processes", 1.2, _X, _against("json", BARE)),
    Target(f"{_CLICKS} Flume's file channel into text files", 10, _X, _flume),
    Target("lines to Parquet, against Spark", 1.5, _X, _against("lines", "spark")),
    Target("lines to Parquet, against two bare pyarrow processes", 0.7, _X,
           _against("lines", BARE)),
    Target("access log to typed Parquet, against Spark with the same regular expression", 3, _X,
           _against("access", "spark")),
    Target("tiny events", 3, "million rows/s", _millions),
    Target("HTTP NDJSON into the lake, against files", 0.8, _X,
           _cell("NDJSON into the lake", "HTTP", "of files")),
    Target("append to visible with roll.age 1s, p99 at 50 % of peak", 2000, "ms",
           _cell("From append to visible", _HALF, "p99 ms"), at_most=True),
    Target("HTTP request to 200, durable, p99 at 50 % of peak, 64 clients", 50, "ms",
           _cell("From HTTP request to its 200", _HALF, "p99 ms"), at_most=True),
    Target("CPU seconds per GB, clickstream JSON, against bare pyarrow", 1.3, _X, _cpu("json"),
           at_most=True),
    Target("CPU seconds per GB, lines, against bare pyarrow", 1.3, _X, _cpu("lines"),
           at_most=True),
    Target("peak memory of the agent's own processes, all tasks", 1.5, "GiB", _peak,
           at_most=True),
    Target("durable file channel against memory channel, clickstream JSON", 0.85, _X,
           _against("json", MEMORY)),
    Target("first second of a backlog's drain against the whole of it", 0.9, _X, _drained),
    Target("CPU of an idle agent", 1, "% of a core",
           _cell("CPU of an idle agent", "**the agent's own", "% of a core"), at_most=True),
    Target("netcat into a memory channel and null sink", 300_000, "events/s",
           _served("netcat, memory", "events/s")),
    Target("syslogtcp into a memory channel and null sink", 300_000, "events/s",
           _served("syslogtcp, memory", "events/s")),
    Target("netcat into a file channel and Parquet", 150_000, "events/s",
           _served("netcat, file", "events/s")),
    Target("syslogtcp into a file channel and Parquet", 150_000, "events/s",
           _served("syslogtcp, file", "events/s")),
    Target("datagrams of syslogudp dropped at 20,000 a second", 0, "events",
           _served("syslogudp, memory", "lost"), at_most=True),
    Target("http, one event a request, file channel and Parquet", 2_000, "requests/s",
           _served("http, one event a request, file", "requests/s")),
    Target("http, NDJSON, file channel and Parquet", 100, "MB/s",
           _served("http, NDJSON, file", "MB/s")),
    *map(_five_times, (
        "netcat, memory", "syslogtcp, memory", "netcat, file", "syslogtcp, file",
        "http, one event a request, file", "http, JSON lists, file",
    )),
)  # fmt: skip


def table(figures: Figures) -> Table:
    return Table(
        "The numbers to reach",
        ("what", "wanted", "measured", "met"),
        [target.row(figures) for target in TARGETS],
        "rayflume with its durable file channel, whole flow, exactly once.",
    )
