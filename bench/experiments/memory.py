"""Peak memory of the agent's own processes at full rate, with and without a backlog, and what a
stream and an idempotency key cost.

    python -m bench.experiments.memory --backlogs 0 1 4

Proportional set size from the kernel, in three kinds: anonymous and shared memory are the agent's
own. Mapped files are shared libraries (those of an agent that has done nothing yet count) and what
sinks have mapped of the journal, which is page cache: the kernel takes it back when it needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.experiments._agent import Setup, fresh, input_folder, local_ray, running
from bench.experiments._entries import Wanted, entry_bytes
from bench.experiments._feed import write_files
from bench.experiments._fill import fill
from bench.experiments._processes import Memory, MemoryWatch, descendants, machine, memory
from bench.experiments._standalone import DATA, say, standalone
from bench.table import Table

Row = tuple[str | float | int | None, ...]
MIB = 2**20
DRAIN_S = 900.0


@dataclass(frozen=True)
class Options:
    """`backlogs`: GB in the journal before the sinks start. `input_mb`: files that are read
    meanwhile, so that source and channel are busy too. `entries`: streams, or keys, to put.
    """

    backlogs: tuple[float, ...] = (0.0, 1.0, 4.0)
    input_mb: float = 500
    entries: int = 200_000
    data: str = str(DATA)


@dataclass(frozen=True)
class Peak:
    """Of one run: each process, all of them, and the files that were mapped before any work."""

    gb: float
    parts: dict[str, Memory]
    total: Memory
    idle_file: int

    @property
    def counted(self) -> int:
        """Without the page cache of the journal."""
        return self.total.private + min(self.idle_file, self.total.file)


def run(options: Options) -> list[Table]:
    """A table of peaks, one of the largest run by process, one of costs per entry."""
    with local_ray(), fresh(Path(options.data) / "memory") as folder:
        ray = sum((memory(pid) for pid in descendants()), Memory())
        peaks = []
        for gb in options.backlogs:
            with fresh(folder / f"{gb:g}") as place:
                peaks.append(_peak(place, gb, options))
            say(f"memory: backlog of {gb:g} GB: {peaks[-1].counted / MIB:.0f} MiB")
    return [_by_backlog(peaks, ray), _by_process(peaks[-1]), _entries(options.entries)]


def _peak(folder: Path, gb: float, options: Options) -> Peak:
    if gb:
        say(f"memory: filling {gb:g} GB")
    rows = fill(folder / "wal", int(gb * 1e9)) if gb else 0
    lying = folder / "clicks.jsonl"
    rows += write_files([lying], int(options.input_mb * 1e6))
    with running(folder, Setup(roll_age="5min")) as agent:
        pids = agent.pids()
        idle_file = sum((memory(pid) for pid in pids.values()), Memory()).file
        with MemoryWatch(lambda: pids) as watch:
            lying.rename(input_folder(folder) / lying.name)
            agent.wait(
                lambda: agent.metric("sink", "EventDrainAttemptCount") >= rows,
                "all rows are taken",
                DRAIN_S,
            )
            # What is open is ended too: encoding the last row groups is a part of the peak.
            agent.drain()
            agent.wait(lambda: agent.state() == "drained", "all is done", DRAIN_S)
        if any(part.restarts for part in agent.parts()):
            raise RuntimeError("a part was restarted meanwhile")
    return Peak(gb, watch.peak, watch.total, idle_file)


def _by_backlog(peaks: list[Peak], ray: Memory) -> Table:
    rows: list[Row] = [
        (
            f"{peak.gb:g} GB",
            peak.counted / MIB,
            peak.total.anon / MIB,
            peak.total.shmem / MIB,
            peak.total.file / MIB,
            peak.idle_file / MIB,
        )
        for peak in peaks
    ]
    rows.append(("Ray alone, idle", None, ray.anon / MIB, ray.shmem / MIB, ray.file / MIB, None))
    note = (
        "Proportional set size of the part actors and the supervisor together, sampled four times "
        "a second; `counted` is anonymous and shared memory and the files that were mapped before "
        "any work (libraries); the rest of the mapped files is the journal's page cache. "
        f"{machine()}. The target is under 1,536 MiB, flat in backlog."
    )
    columns = (
        "backlog", "counted, MiB", "anonymous", "shared", "mapped files", "of these before work"
    )  # fmt: skip
    return Table("Peak memory at full rate", columns, rows, note)


def _by_process(peak: Peak) -> Table:
    rows: list[Row] = [
        (label, one.anon / MIB, one.shmem / MIB, one.file / MIB)
        for label, one in peak.parts.items()
    ]
    title = f"Peak memory by process, backlog of {peak.gb:g} GB"
    return Table(title, ("process", "anonymous, MiB", "shared", "mapped files"), rows)


def _entries(count: int) -> Table:
    rows: list[Row] = []
    for kind, name in (("streams", "a stream (a file)"), ("keys", "an idempotency key")):
        pss = entry_bytes(Wanted(kind, count, "pss"))
        traced = entry_bytes(Wanted(kind, count, "traced"))
        say(f"memory: {name}: {pss:.0f} bytes")
        rows.append((name, pss, traced))
    note = f"{count:,} put into a channel, in a process without Ray."
    columns = ("entry", "bytes of memory (PSS)", "bytes by Python's allocator")
    return Table("Memory per entry of a channel", columns, rows, note)


if __name__ == "__main__":
    standalone(run, Options, __doc__)
