"""All contenders side by side, in turn, on the same files: medians and ratios.

    make bench
    python -m bench.run --mb 100 --rounds 1 --tasks json,lines --contenders rayflume,bare_pyarrow

Each round runs every contender, the next round begins with the next of them. What was written is
counted after every run; rows lost or doubled make the exit code 1. Ctrl-C ends all processes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from bench import check, inputs, report
from bench.contenders import Contender, Measured, Stage, Turn
from bench.figures import Figures, Value
from bench.table import Table
from bench.tasks import TASKS, Task
from rayflume.clock import SystemClock

CONTENDERS = {
    "rayflume": "rayflow",
    "bare_pyarrow": "bare_pyarrow",
    "bare_polars": "bare_polars",
    "spark": "spark",
    "flume": "flume",
    "ray_data": "ray_data",
    "dlt": "dlt_",
    "mq_bridge": "mq_bridge_",
}
"""Name -> module of bench.contenders."""
EXPERIMENTS = (
    "idle",
    "latency",
    "http_latency",
    "backlog",
    "memory",
    "scaling",
    "restart",
    "servers",
)
"""Modules of bench.experiments, in the order they run after the contenders. Each has `Options`, a
dataclass whose fields all have defaults, and `run(options) -> list[Table]`; what it measures for
bench.targets is found there by the titles of its tables.
"""
WARM_BYTES = 40_000_000


@dataclass(frozen=True)
class Plan:
    """What to run: `size` in bytes, names of tasks and contenders."""

    size: int
    rounds: int
    tasks: tuple[Task, ...]
    contenders: tuple[str, ...]
    experiments: tuple[str, ...]
    data: Path

    def input(self, task: Task, share: float) -> inputs.Input:
        """The task's input for a contender that gets `share` of it; made unless it is there."""
        size = max(1_000_000, round(self.size * task.share * share))
        return inputs.make(task.kind, size, self.data / "input")

    def warm(self, task: Task, share: float) -> inputs.Input:
        size = max(1_000_000, round(min(WARM_BYTES, self.size * task.share) * share))
        return inputs.make(task.kind, size, self.data / "input")


def say(text: str) -> None:
    print(text, flush=True)


def contender(name: str) -> Contender:
    made: Contender = importlib.import_module(f"bench.contenders.{CONTENDERS[name]}").contender()
    return made


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan, figures = _plan(), Figures()
    found = _present([contender(name) for name in plan.contenders], figures)
    _make_inputs(plan, found)
    try:
        for number in range(plan.rounds):
            begin = number % max(1, len(found))
            for one in [*found[begin:], *found[:begin]]:
                _take_turn(one, number, plan, figures)
        for name in plan.experiments:
            experiment = importlib.import_module(f"bench.experiments.{name}")
            say(f"experiment: {name}")
            figures.tables += _experiment(name, experiment, figures)
    finally:
        shutil.rmtree(plan.data / "runs", ignore_errors=True)
    _report(plan, found, figures)
    return 1 if figures.failed else 0


def _plan() -> Plan:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=800, help="clickstream input in 10^6 bytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--experiments", default=",".join(EXPERIMENTS), help='"" for none')
    parser.add_argument("--data", type=Path, default=Path(__file__).with_name("data"))
    args = parser.parse_args()
    lists = {n: tuple(filter(None, getattr(args, n).split(","))) for n in ("tasks", "contenders")}
    for name, known in (("tasks", TASKS), ("contenders", CONTENDERS)):
        if unknown := set(lists[name]) - set(known):
            parser.error(f"no {name} {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    tasks = tuple(TASKS[name] for name in lists["tasks"])
    experiments = tuple(filter(None, args.experiments.split(",")))
    size, data = args.mb * 10**6, args.data.resolve()
    return Plan(size, args.rounds, tasks, lists["contenders"], experiments, data)


def _present(wanted: Sequence[Contender], figures: Figures) -> list[Contender]:
    found = []
    for one in wanted:
        if reason := one.missing():
            figures.skipped[one.name] = reason
            say(f"{one.name}: skipped, {reason}")
        else:
            found.append(one)
    return found


def _make_inputs(plan: Plan, contenders: Sequence[Contender]) -> None:
    for task in plan.tasks:
        for share in {c.share for c in contenders if task.name in c.tasks}:
            made = plan.input(task, share)
            plan.warm(task, share)
            say(f"{task.kind}: {made.rows:,} rows, {made.bytes / 1e6:,.0f} MB")


def _take_turn(one: Contender, number: int, plan: Plan, figures: Figures) -> None:
    """All tasks of one contender. Its failure ends its turn, not the bench."""
    tasks = [task for task in plan.tasks if task.name in one.tasks]
    if not tasks:
        return
    warm = {task.name: (task, plan.warm(task, one.share)) for task in tasks}
    try:
        say(f"round {number + 1} of {plan.rounds}: {one.name} starts")
        one.start(Stage(plan.data, plan.data / "logs", warm))
        figures.facts.update(one.facts)
        for task in tasks:
            for variant in one.variants:
                value = _run(one, task, variant, number, plan)
                figures.values.append(value)
                _say_value(value)
    except Exception as error:
        figures.failed[f"{one.name}, round {number + 1}"] = f"{type(error).__name__}: {error}"
        traceback.print_exc()
        say(f"{one.name}: FAILED, {type(error).__name__}")
    finally:
        one.stop()


def _run(one: Contender, task: Task, variant: str, number: int, plan: Plan) -> Value:
    data = plan.input(task, one.share)
    folder = plan.data / "runs" / f"{variant}-{task.name}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    turn = Turn(task, variant, data, folder)
    os.sync()  # nobody pays for what the one before has left to write
    try:
        measured = one.run(turn)
        if turn.text.exists():
            rows = check.text(data, turn.text)
        else:
            rows = check.parquet(task, data, turn.lake)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _value(one, turn, number, rows, measured)


def _value(one: Contender, turn: Turn, number: int, rows: int, measured: Measured) -> Value:
    return Value(
        number,
        one.name,
        turn.variant,
        turn.task.name,
        rows,
        turn.data.bytes,
        measured.seconds,
        measured.used.cpu_seconds,
        measured.used.bytes,
        measured.used.shared_bytes,
        _apart(measured),
    )


def _apart(measured: Measured) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, used in measured.apart.items():
        found[f"{name}_bytes"] = used.bytes + used.shared_bytes
        found[f"{name}_cpu_seconds"] = used.cpu_seconds
    return found


def _say_value(value: Value) -> None:
    say(
        f"  {value.task:6} {value.variant:22} {value.rate:7.1f} MB/s"
        f"  {value.rows / value.seconds / 1000:9,.1f} thousand rows/s"
        f"  {value.seconds:6.2f} s  {value.cpu_per_gb:6.1f} CPU s/GB"
        f"  {value.bytes / 2**20:6,.0f} MiB"
    )


def _experiment(name: str, experiment: ModuleType, figures: Figures) -> list[Table]:
    try:
        found: list[Table] = experiment.run(experiment.Options())
    except Exception as error:
        figures.failed[name] = f"{type(error).__name__}: {error}"
        traceback.print_exc()
        return []
    return found


def _report(plan: Plan, contenders: Sequence[Contender], figures: Figures) -> None:
    when = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    about = {
        "when": when.isoformat(timespec="seconds"),
        "megabytes": plan.size // 10**6,
        "rounds": plan.rounds,
        "machine": report.machine({one.name: one.version for one in contenders}),
    }
    for table in report.write(figures, contenders, about):
        say("\n" + table.markdown())


if __name__ == "__main__":
    sys.exit(main())
