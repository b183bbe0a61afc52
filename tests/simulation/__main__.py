"""Run schedules: `python -m simulation --seeds 0:2000`, or one with its trace: `--seed 1234`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Collection, Iterator
from itertools import islice

from rayflume.clock import SystemClock
from simulation import faults
from simulation.measures import MEASURES, switched_off
from simulation.schedule import Outcome, run

FAILURES_SHOWN = 5
TRACE_LINES = 400


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of names is part of a schedule.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]])
    arguments = _parsed()
    with switched_off(arguments.without):
        if arguments.seed is not None:
            return _one(arguments.seed, arguments.full)
        return _many(range(*arguments.seeds), arguments)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=_span, default=(0, 2000), metavar="A:B")
    parser.add_argument("--seed", type=int, help="one schedule, with a trace of its steps")
    parser.add_argument("--full", action="store_true", help="all steps of the trace")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--without", choices=sorted(MEASURES), help="switch off a measure")
    parser.add_argument("--stop", action="store_true", help="end with the first violation")
    return parser.parse_args()


def _span(text: str) -> tuple[int, int]:
    """`A:B`, or only a number of seeds."""
    first, _, last = text.rpartition(":")
    return int(first or 0), int(last)


def _many(seeds: range, arguments: argparse.Namespace) -> int:
    clock, failed, done = SystemClock(), [], 0
    began_ms = shown_ms = clock.monotonic_ms()
    for outcome in _outcomes(seeds, arguments.jobs):
        done += 1
        if outcome.problem:
            failed.append(outcome)
            print(f"seed {outcome.seed}: {outcome.problem}", flush=True)
            if arguments.stop:
                break
        if clock.monotonic_ms() - shown_ms > 5_000:
            shown_ms = clock.monotonic_ms()
            print(f"{done:,} of {len(seeds):,} schedules, {len(failed)} failed", file=sys.stderr)
    seconds = (clock.monotonic_ms() - began_ms) / 1000
    print(f"{done:,} schedules in {seconds:.0f} s: {len(failed)} failed")
    without = f'--without "{arguments.without}" ' if arguments.without else ""
    for outcome in islice(failed, FAILURES_SHOWN):
        print(f"replay: PYTHONPATH=tests python -m simulation {without}--seed {outcome.seed}")
    return 1 if failed else 0


def _outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(run, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=4)


def _one(seed: int, full: bool) -> int:
    """Twice, to see that it is the same; then with as few faults as it takes."""
    first, again = run(seed), run(seed)
    if (first.hash, first.problem) != (again.hash, again.problem):
        print(f"seed {seed} is not deterministic: {first.hash:08x}, then {again.hash:08x}")
        return 1
    without = shrunk(first) if first.problem else ()
    outcome = run(seed, without=without, trace=True)
    lines = outcome.trace if full else outcome.trace[-TRACE_LINES:]
    print(*lines, sep="\n")
    for number, fault in enumerate(faults.draw(seed)):
        if number not in without:
            print(f"fault {number}, {fault}")
    print(f"seed {seed}: {outcome.steps} steps, {outcome.simulated_s:.0f} s, {first.hash:08x}")
    print(outcome.problem or "all held")
    return 1 if outcome.problem else 0


def shrunk(failed: Outcome) -> Collection[int]:
    """Faults that can be left out, and it fails still. One that never came to pass may count too:
    all is healed only once none is left to come.
    """
    never = set(range(len(faults.draw(failed.seed)))) - set(failed.applied)
    without: set[int] = set()
    for numbers in (never, *({number} for number in failed.applied)):
        if run(failed.seed, without=without | numbers).problem:
            without |= numbers
    return without


if __name__ == "__main__":
    sys.exit(main())
