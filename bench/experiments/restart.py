"""From killing a part, or the whole agent, until rows flow again.

    python -m bench.experiments.restart --backlogs 0 1

A process appends lines all the time; then SIGKILL. `running` is the time until the status shows the
killed parts running again under new process ids. `flows` is the time until

- a row that was appended after the kill is visible in the lake, when there is no backlog: this
  holds one roll.age of 1 s, as without a kill, whose median is shown beside it;
- with a backlog, which such a row would have to wait behind: until the first rows come out of the
  new life. Of a sink or the agent that is the next file in the lake, of a channel the next file of
  a delivery that it began (its epoch is in the name), of a source its first rows in the channel.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bench.agent import Running
from bench.experiments._agent import Setup, fresh, input_folder, local_ray, running
from bench.experiments._feed import Feeding, Numbers, Pace, now_us
from bench.experiments._fill import fill
from bench.experiments._lake import LOOK_S, Observer
from bench.experiments._processes import machine
from bench.experiments._standalone import DATA, say, standalone
from bench.table import Table
from rayflume.naming import delivery_of, parse_delivery

Row = tuple[str | float | int | None, ...]
KINDS = ("source", "channel", "sink", "agent")
WARM_S = 4.0
DEADLINE_S = 180.0


@dataclass(frozen=True)
class Options:
    """`backlogs`: GB in the journal when the agent starts; `rate`: bytes a second appended."""

    backlogs: tuple[float, ...] = (0.0, 1.0)
    kinds: tuple[str, ...] = KINDS
    rate: float = 2e6
    data: str = str(DATA)


@dataclass(frozen=True)
class Restarted:
    """Milliseconds. `usual_ms`: from append to visible before the kill (None with a backlog).
    `left`: rows in the channel at the kill.
    """

    kind: str
    gb: float
    left: int
    running_ms: float
    flows_ms: float
    usual_ms: float | None


def run(options: Options) -> list[Table]:
    """One row for each backlog and each kind of part."""
    found = []
    with local_ray():
        for gb in options.backlogs:
            for kind in options.kinds:
                with fresh(Path(options.data) / "restart" / f"{kind}-{gb:g}") as folder:
                    if gb:
                        fill(folder / "wal", int(gb * 1e9))
                    found.append(_restarted(folder, kind, gb, options))
                say(
                    f"restart: {kind}, {gb:g} GB: running {found[-1].running_ms:.0f} ms, "
                    f"flows {found[-1].flows_ms:.0f} ms"
                )
    return [_table(found)]


def _restarted(folder: Path, kind: str, gb: float, options: Options) -> Restarted:
    # One sink: with two, rows would flow on through the other.
    with (
        running(folder, Setup(sinks=1)) as agent,
        Observer(folder / "lake") as observer,
    ):
        path = input_folder(folder) / "clicks.jsonl"
        feeding = Feeding([path], Pace(options.rate, 2 * DEADLINE_S))
        try:
            begin = time.perf_counter()
            agent.wait(lambda: _warm(agent, observer, begin, gb), "rows flow", DEADLINE_S)
            killed = _Kill(agent, observer, kind)
            usual = None if gb else _usual_ms(observer)
            killed.now()
            flows = killed.sent_after if not gb else killed.out_of_new_life
            agent.wait(lambda: killed.note_running() and flows(), "rows flow again", DEADLINE_S)
        finally:
            feeding.kill()
        return Restarted(kind, gb, killed.left, killed.running_ms, killed.flows_ms, usual)


def _warm(agent: Running, observer: Observer, begin: float, gb: float) -> bool:
    flows = bool(observer.seen()) and agent.metric("source", "EventAcceptedCount") > 0
    return flows and (bool(gb) or time.perf_counter() - begin > WARM_S)


def _usual_ms(observer: Observer) -> float:
    seen = observer.seen().items()
    times = [(at - _sent(path)) / 1000 for path, at in seen]
    return float(np.median(np.concatenate(times[len(times) // 2 :])))


def _sent(path: str) -> Numbers:
    with Path(path).open("rb") as file:
        sent: Numbers = pq.read_table(file, columns=["sent_us"])["sent_us"].to_numpy()
    return sent


class _Kill:
    """One kill and what is seen after it."""

    def __init__(self, agent: Running, observer: Observer, kind: str) -> None:
        self._agent = agent
        self._observer = observer
        self._kind = kind
        parts = agent.parts()
        self._labels = [part.label for part in parts if kind in ("agent", part.kind)]
        self._before = agent.pids()
        self.left = sum(part.metrics.get("ChannelSize", 0) for part in parts)
        self._at_us = 0
        self._files: set[str] = set()
        self._epoch = 0
        self.running_ms = 0.0
        self.flows_ms = 0.0

    def now(self) -> None:
        labels = self._labels + (["supervisor"] if self._kind == "agent" else [])
        self._at_us = now_us()
        for label in labels:
            os.kill(self._before[label], signal.SIGKILL)
        files = self._observer.seen()
        # What the observer had not looked at yet was published by the life before.
        looked_us = self._at_us + int(3 * LOOK_S * 1e6)
        self._files = {path for path, at in files.items() if at <= looked_us}
        self._epoch = max(map(_epoch, self._files), default=0)

    def note_running(self) -> bool:
        """Whether all that were killed run again; notes when that was seen first."""
        parts = {part.label: part for part in self._agent.parts()}
        again = all(
            parts[label].state == "running" and parts[label].pid != self._before[label]
            for label in self._labels
        )
        if again and not self.running_ms:
            self.running_ms = (now_us() - self._at_us) / 1000
        return again

    def sent_after(self) -> bool:
        """Whether a row that was appended after the kill is visible."""
        return self._flows(lambda path: bool((_sent(path) > self._at_us).any()))

    def out_of_new_life(self) -> bool:
        """Whether rows come out of what was started anew."""
        if self._kind == "source":
            accepted = self._agent.metric("source", "EventAcceptedCount")
            self.flows_ms = (now_us() - self._at_us) / 1000
            return accepted > 0
        if self._kind == "channel":
            return self._flows(lambda path: _epoch(path) > self._epoch)
        return self._flows(lambda path: True)

    def _flows(self, good: Callable[[str], bool]) -> bool:
        new = {path: at for path, at in self._observer.seen().items() if path not in self._files}
        for path, at in sorted(new.items(), key=lambda entry: entry[1]):
            if at - self._at_us > 3 * LOOK_S * 1e6 and good(path):
                self.flows_ms = (at - self._at_us) / 1000
                return True
            self._files.add(path)
        return False


def _epoch(path: str) -> int:
    delivery = delivery_of(path)
    return parse_delivery(delivery)[1] if delivery else 0


def _table(found: list[Restarted]) -> Table:
    rows: list[Row] = [
        (
            f"{one.kind}" if one.kind != "agent" else "all parts and the supervisor",
            f"{one.gb:g} GB",
            one.left,
            one.running_ms / 1000,
            one.flows_ms / 1000,
            one.usual_ms / 1000 if one.usual_ms is not None else None,
        )
        for one in found
    ]
    note = (
        "Without a backlog: until a row appended after the kill is visible in the lake (roll.age "
        "1 s is in it; `usual` is the median of that without a kill). With one: until rows come "
        f"out of the new life. One sink. {machine()}."
    )
    columns = (
        "killed", "backlog at start", "rows in the channel at the kill", "running again, s",
        "rows flow again, s", "usual, s",
    )  # fmt: skip
    return Table("Restart", columns, rows, note)


if __name__ == "__main__":
    standalone(run, Options, __doc__)
