"""CPU and memory of processes, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.experiments._background import Background
from bench.usage import rollup


def used(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Seconds of CPU between two readings, of the processes in the second one."""
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def descendants() -> dict[int, str]:
    """Pid -> name of all processes below this one: those of a local Ray, actors included."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            found[process.pid] = _name(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    script = next((Path(word).stem for word in words if word.endswith(".py")), "")
    title = words[0] if words and words[0].startswith("ray::") else ""
    return title or script or process.name()


@dataclass(frozen=True)
class Memory:
    """Proportional set size of a process in bytes. `file`: mapped files, among them shared
    libraries and what a sink has mapped of the journal, which is the kernel's page cache.
    """

    anon: int = 0
    shmem: int = 0
    file: int = 0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.anon + other.anon, self.shmem + other.shmem, self.file + other.file)

    @property
    def private(self) -> int:
        return self.anon + self.shmem


def memory(pid: int) -> Memory:
    """Of one process; zeros when it is gone."""
    try:
        sizes = rollup(pid)
    except OSError:
        return Memory()
    return Memory(*(sizes[f"Pss_{kind}"] for kind in ("Anon", "Shmem", "File")))


class MemoryWatch(Background):
    """Samples memory in a thread; keeps, per process and for all together, the highest private
    memory and the highest `file`.
    """

    def __init__(self, pids: Callable[[], Mapping[str, int]], every_s: float = 0.25) -> None:
        self.peak: dict[str, Memory] = {}
        self.total = Memory()
        self._pids = pids
        self._every_s = every_s
        super().__init__()

    def _run(self) -> None:
        pids = self._pids()
        while not self._done.wait(self._every_s):
            now = {name: memory(pid) for name, pid in pids.items()}
            for name, one in now.items():
                self.peak[name] = _higher(self.peak.get(name, Memory()), one)
            self.total = _higher(self.total, sum(now.values(), Memory()))


def _higher(known: Memory, now: Memory) -> Memory:
    file = max(known.file, now.file)
    most = max(known, now, key=lambda one: one.private)
    return Memory(most.anon, most.shmem, file)


def machine() -> str:
    """A line about the machine, for the note below a table."""
    total = psutil.virtual_memory().total
    return f"{os.cpu_count()} cores, {total / 2**30:.0f} GiB of memory"
