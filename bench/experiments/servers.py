"""Servers side by side: netcat, syslogtcp, syslogudp and http of rayflume, of Flume 1.11 and of
rsyslog, each with the same senders, which share the cores.

    python -m bench.experiments.servers --turns 1 --programs inline --cases "netcat, memory"

From the first byte sent until the last event has come through: out of the null sink behind a
memory channel, or visible in a file behind a file channel. Each program runs by itself, warm: runs
before grow until one takes half a second and is not much faster than the one before (a JVM needs
some); its rate says how many events are sent. Then come as many turns of all cases.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from bench.experiments import _receiver_flume, _receiver_rayflume, _receiver_rsyslog
from bench.experiments._agent import fresh
from bench.experiments._processes import machine, used
from bench.experiments._receiver_rayflume import ROLL_AGE
from bench.experiments._receivers import INLINE, ON_RAY, Receiver
from bench.experiments._server_cases import CASES, Amounts, Case
from bench.experiments._standalone import DATA, say, standalone
from bench.figures import ratio
from bench.table import Table
from bench.usage import cpu_seconds

TITLE = "Servers"
PROGRAMS: dict[str, Callable[[], Receiver]] = {
    "rayflume": _receiver_rayflume.Rayflume,
    "inline": _receiver_rayflume.RayflumeInline,
    "flume": _receiver_flume.Flume,
    "rsyslog": _receiver_rsyslog.Rsyslog,
}
WARM_S, WARM_MAX_S, STEADY = 0.5, 5.0, 1.25
FIRST_EVENTS, GROWTH = 2_000, 8
EVENTS_MAX = 3_000_000
LOOK_S, LOOK_LAST_S = 0.5, 0.02
STILL_S, DROPPED_S = 60.0, 2.0
"""What has not come through so long after the event before is lost; a datagram sooner."""
SETTLE_S = 120.0

Row = tuple[str | float | int | None, ...]


@dataclass(frozen=True)
class Options:
    """`seconds`: about how long is sent in a run; `rate`: datagrams a second; `cases`: titles, or
    how they begin; `clients`: connections with requests, `rows`: of a large one.
    """

    seconds: float = 1.5
    turns: int = 3
    programs: tuple[str, ...] = tuple(PROGRAMS)
    cases: tuple[str, ...] = ("",)
    rate: int = 20_000
    connections: int = 4
    clients: int = 64
    rows: int = 1_000
    data: str = str(DATA)


@dataclass(frozen=True)
class Measured:
    """One run. `seconds`: from the first byte to the last event that came through."""

    case: str
    program: str
    events: int
    arrived: int
    bytes: int
    seconds: float
    cpu_seconds: float
    sender_seconds: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.arrived / self.seconds

    @property
    def lost(self) -> int:
        return self.events - self.arrived


def run(options: Options) -> list[Table]:
    """All programs that are here; one that is not rayflume may fail."""
    found, notes = _present(options.programs)
    bench = _Bench(options)
    for receiver in found:
        try:
            bench.run(receiver)
        except Exception as error:
            if receiver.name in (ON_RAY, INLINE):
                raise
            notes[receiver.name] = f"failed: {type(error).__name__}: {str(error)[:300]}"
            say(f"servers: {receiver.name} {notes[receiver.name]}")
    told = {one.name: one.note for one in found} | notes
    return [table(bench.measured, told, options)]


def _present(names: Iterable[str]) -> tuple[list[Receiver], dict[str, str]]:
    found, notes = [], {}
    for receiver in (PROGRAMS[name]() for name in names):
        if reason := receiver.missing():
            notes[receiver.name] = f"skipped: {reason}"
            say(f"servers: {receiver.name} is skipped: {reason}")
        else:
            found.append(receiver)
    return found, notes


class _Bench:
    """What was measured so far, and how many events each program takes in a second."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._known: dict[tuple[str, str], int] = {}
        self._amounts = Amounts(
            0, options.seconds, options.rate, options.connections, options.clients, options.rows
        )
        self.measured: list[Measured] = []

    def run(self, receiver: Receiver) -> None:
        """Start it, warm it up, take all turns, stop it."""
        cases = [
            case
            for case in CASES
            if case.is_for(receiver.name, receiver.inlets)
            and case.title.startswith(self._options.cases)
        ]
        with fresh(Path(self._options.data) / "servers") as folder:
            try:
                receiver.start(folder)
                for case in cases:
                    self._warm(receiver, case)
                for _ in range(self._options.turns):
                    for case in cases:
                        self._take(receiver, case)
                _settle(receiver)
            finally:
                receiver.stop()

    def _take(self, receiver: Receiver, case: Case) -> None:
        events = self._events(receiver, case, self._options.seconds)
        done = measure(receiver, case, self._amounts.of(events))
        if receiver.name in (ON_RAY, INLINE) and done.lost and case.reliable:
            raise RuntimeError(f"{case.title}: {done.lost:,} of {done.events:,} events are lost")
        self.measured.append(done)
        self._known[receiver.name, case.title] = int(done.arrived / done.sender_seconds)
        say(
            f"servers: {case.title}: {receiver.name}: {done.rate:,.0f} events/s,"
            f" {done.arrived:,} of {done.events:,} in {done.seconds:.2f} s"
        )

    def _events(self, receiver: Receiver, case: Case, seconds: float) -> int:
        known = self._known.get((receiver.name, case.title), 0)
        return min(EVENTS_MAX, max(FIRST_EVENTS, int(known * seconds)))

    def _warm(self, receiver: Receiver, case: Case) -> None:
        events, begin, before = self._events(receiver, case, WARM_S), time.perf_counter(), 0.0
        while True:
            done = measure(receiver, case, self._amounts.of(events, WARM_S))
            rate = done.arrived / done.sender_seconds
            self._known[receiver.name, case.title] = int(rate)
            enough = done.sender_seconds >= WARM_S or events >= EVENTS_MAX or not case.counted
            if enough and (rate < STEADY * before or time.perf_counter() - begin > WARM_MAX_S):
                return
            before = rate
            events = events if enough else min(EVENTS_MAX, GROWTH * events)


def _settle(receiver: Receiver) -> None:
    """Until all that came in has gone out."""
    deadline = time.perf_counter() + SETTLE_S
    while not receiver.settled():
        if time.perf_counter() > deadline:
            raise TimeoutError(f"events still wait after {SETTLE_S:.0f} s")
        threading.Event().wait(LOOK_S)


def measure(receiver: Receiver, case: Case, amounts: Amounts) -> Measured:
    """Send, and wait until all has come through or nothing more comes. Blocks."""
    channel = case.inlet[1]
    before, pids = receiver.arrived(channel), list(receiver.pids())
    port, cpu = receiver.port(case.inlet), cpu_seconds(pids)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(case.send, port, amounts)
        while wait([sending], LOOK_S).not_done:
            receiver.arrived(channel)  # who counts lines of a file keeps up with it
    sent = sending.result()
    still_s = STILL_S if case.reliable else DROPPED_S
    arrived, at = _wait(lambda: receiver.arrived(channel) - before, sent.events, still_s)
    took = used(cpu, cpu_seconds(pids))
    return Measured(
        case.title, receiver.name, sent.events, arrived, sent.bytes, at - sent.began, took,
        sent.seconds,
    )  # fmt: skip


def _wait(arrived: Callable[[], int], events: int, still_s: float) -> tuple[int, float]:
    """How many came through, and when the last of them was seen."""
    count, at = arrived(), time.perf_counter()
    while count < events and time.perf_counter() - at < still_s:
        threading.Event().wait(LOOK_LAST_S)
        if (now := arrived()) != count:
            count, at = now, time.perf_counter()
    return count, at


def table(measured: Sequence[Measured], told: Mapping[str, str], options: Options) -> Table:
    """A row for each case and program: medians of the turns."""
    rows: list[Row] = []
    for case in CASES:
        by_program: dict[str, list[Measured]] = {}
        for one in measured:
            if one.case == case.title:
                by_program.setdefault(one.program, []).append(one)
        rates = {
            name: statistics.median(one.rate for one in by_program[name]) for name in by_program
        }
        for name, runs in by_program.items():
            ratios = [ratio(rates.get(ours), rates[name]) for ours in (ON_RAY, INLINE)]
            rows.append(_row(f"{case.title}: {name}", runs, ratios, case.rows(options.rows)))
    columns = (
        "source, channel: program", "events/s", "lowest", "highest", "requests/s", "MB/s",
        "on Ray : it", "--inline : it", "CPU µs an event", "sent", "lost",
    )  # fmt: skip
    apart = "; ".join(f"{name}: {text}" for name, text in told.items())
    note = (
        f"Medians of {options.turns} turns; lines of 200 bytes over {options.connections}"
        f" connections, netcat with its answers; requests over {options.clients} connections;"
        f" roll.age {ROLL_AGE}; sent: in one run; lost: in all runs; the sender shares the cores."
        f" {apart}. {machine()}."
    )
    return Table(f"{TITLE}: events a second, until the last has come through", columns, rows, note)


def _row(
    title: str, runs: Sequence[Measured], ratios: Sequence[float | None], request_rows: int
) -> Row:
    rate = statistics.median(one.rate for one in runs)
    return (
        title,
        rate,
        min(one.rate for one in runs),
        max(one.rate for one in runs),
        rate / request_rows if request_rows else None,
        statistics.median(one.bytes / one.events * one.rate for one in runs) / 1e6,
        *ratios,
        statistics.median(one.cpu_seconds / max(1, one.arrived) for one in runs) * 1e6,
        round(statistics.median(one.events for one in runs)),
        sum(one.lost for one in runs),
    )


if __name__ == "__main__":
    standalone(run, Options, __doc__)
