"""CPU of an agent that has nothing to do, and of the Ray beneath it.

    python -m bench.experiments.idle --seconds 30

The target is under 1 % of a core for the agent's own processes: part actors and supervisor. Each is
a Ray actor, and an actor that does nothing uses CPU, too (Ray's main loop wakes up 100 times a
second): as many of those are measured at the same time, and what the agent adds is the difference.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.experiments._agent import Setup, fresh, input_folder, local_ray, running
from bench.experiments._bare_actors import bare_actors
from bench.experiments._processes import descendants, machine
from bench.experiments._standalone import DATA, say, standalone
from bench.table import Table
from bench.usage import cpu_seconds

Row = tuple[str | float | int | None, ...]


@dataclass(frozen=True)
class Options:
    """`settle`: seconds before the measuring begins, in which start-up work ends."""

    seconds: float = 30
    settle: float = 15
    files: int = 100
    data: str = str(DATA)


def run(options: Options) -> list[Table]:
    """An agent with a file source, or an HTTP source, that gets nothing for a while."""
    tables = []
    with local_ray(), fresh(Path(options.data) / "idle") as folder:
        for name, setup in (
            ("taildir", Setup(roll_age="5min", scan_interval="1s")),
            ("http", Setup(sources=0)),
        ):
            place = folder / name
            input_folder(place).mkdir(parents=True)
            for number in range(options.files):
                (input_folder(place) / f"{number}.jsonl").write_text("{}\n")
            with running(place, setup) as agent, bare_actors(len(agent.pids())) as bare:
                say(f"idle: {name}: settling for {options.settle:.0f} s")
                threading.Event().wait(options.settle)
                tables.append(_measured(name, agent.pids(), bare, options))
    return tables


def _measured(name: str, own: dict[str, int], bare: list[int], options: Options) -> Table:
    known = {*own.values(), *bare}
    others = {pid: label for pid, label in descendants().items() if pid not in known}
    begin = time.perf_counter()
    before = cpu_seconds([*known, *others])
    threading.Event().wait(options.seconds)
    after = cpu_seconds([*known, *others])
    seconds = time.perf_counter() - begin
    share = {pid: 100 * (after[pid] - before.get(pid, 0)) / seconds for pid in after}
    rows: list[Row] = [(label, share.get(pid)) for label, pid in own.items()]
    total = sum(share.get(pid, 0.0) for pid in own.values())
    rows.append(("**the agent's own processes**", total))
    nothing = sum(share.get(pid, 0.0) for pid in bare)
    rows.append((f"{len(bare)} Ray actors that do nothing", nothing))
    rows.append(("**what the agent adds**", total - nothing))
    by_name: dict[str, float] = {}
    for pid, label in others.items():
        by_name[label] = by_name.get(label, 0.0) + share.get(pid, 0.0)
    rows += [(f"Ray: {label}", used) for label, used in sorted(by_name.items())]
    rows.append(("**Ray's processes**", sum(by_name.values())))
    say(f"idle: {name}: {total:.2f} % of a core, of which {nothing:.2f} % are bare actors")
    note = f"Over {seconds:.0f} s; {machine()}. The target is 1 %."
    return Table(f"CPU of an idle agent, {name} source", ("process", "% of a core"), rows, note)


if __name__ == "__main__":
    standalone(run, Options, __doc__)
