"""What processes use while a contender runs: CPU seconds and peak memory, from /proc.

CPU is user and system time of every process seen, also of those that have ended (what one used
since the last count before its end is missed: a tenth of a second). Memory is the proportional
set size: a page that two processes map counts half for each. Left out of it are pages of files
below the bench's data folder, which are the page cache's (a mapped journal, input or output), and
apart from it stands shared memory, where Ray keeps its object store.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOK_S = 2.0
"""For memory and new processes: each look costs milliseconds for every process, which counts
against contenders that have many.
"""
COUNT_S = 0.1
"""For CPU: what a process used is gone with it."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
Pids = Callable[[], Iterable[int]]


@dataclass(frozen=True)
class Used:
    """CPU seconds; the largest `bytes` seen at once, and `shared_bytes` of that moment apart."""

    cpu_seconds: float
    bytes: int
    shared_bytes: int = 0


def cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    """Seconds of CPU that each process has used since it began; one that is gone is left out."""
    found = {}
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        found[pid] = times.user + times.system
    return found


def tree(*roots: int) -> list[int]:
    """The processes and all that descend from them, as far as they live."""
    found = []
    for root in roots:
        try:
            process = psutil.Process(root)
            found += [root, *(child.pid for child in process.children(recursive=True))]
        except psutil.NoSuchProcess:
            continue
    return list(dict.fromkeys(found))


@dataclass
class _Group:
    """The processes of one name: (pid, when it started) -> CPU ticks at first and at last."""

    pids: Pids
    ticks: dict[tuple[int, int], tuple[int, int]]
    bytes: int = 0
    shared: int = 0
    known: tuple[int, ...] = ()

    def count(self, *, first: bool = False) -> None:
        for pid in self.known:
            self._count(pid, first)

    def look(self, *, first: bool, data: str) -> None:
        self.known = tuple(self.pids())
        self.count(first=first)
        private = shared = 0
        for pid in self.known:
            mine, ours = memory(pid, data)
            private, shared = private + mine, shared + ours
        if private > self.bytes:
            self.bytes, self.shared = private, shared

    def _count(self, pid: int, first: bool) -> None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return
        used, key = int(fields[11]) + int(fields[12]), (pid, int(fields[19]))
        begin, _ = self.ticks.get(key, (used if first else 0, 0))
        self.ticks[key] = begin, used

    def used(self) -> Used:
        ticks = sum(last - begin for begin, last in self.ticks.values())
        return Used(ticks * _TICK_S, self.bytes, self.shared)


class Usage:
    """Looks at groups of processes from its making until `stop`.

    `groups`: name -> whose processes; asked anew at every look. `data`: pages of files below it
    are not counted.
    """

    def __init__(self, groups: Mapping[str, Pids], data: Path) -> None:
        self._groups = {name: _Group(pids, {}) for name, pids in groups.items()}
        self._data = str(data.resolve())
        self._end = threading.Event()
        self._look(first=True)
        self._thread = threading.Thread(target=self._watch, name="bench-usage", daemon=True)
        self._thread.start()

    def _look(self, *, first: bool = False) -> None:
        for group in self._groups.values():
            group.look(first=first, data=self._data)

    def _watch(self) -> None:
        counts = round(LOOK_S / COUNT_S)
        for number in itertools.count(1):
            if self._end.wait(COUNT_S):
                return
            if number % counts == 0:
                self._look()
            for group in self._groups.values():
                group.count()

    def stop(self) -> dict[str, Used]:
        """One last look, then what was used. The processes must still live."""
        self._end.set()
        self._thread.join()
        self._look()
        return {name: group.used() for name, group in self._groups.items()}


def memory(pid: int, data: str) -> tuple[int, int]:
    """Proportional set size in bytes: the process's own, and shared memory; (0, 0) if it is gone.

    Pages of files below `data` are in neither.
    """
    folder = Path(f"/proc/{pid}")
    try:
        sizes = rollup(pid)
        mapped = _mapped(folder, data) if data in (folder / "maps").read_text() else 0
    except (OSError, ValueError, IndexError):
        return 0, 0
    shared = sizes["Pss_Shmem"]
    return sizes["Pss"] - shared - mapped, shared


def rollup(pid: int) -> dict[str, int]:
    """Bytes by the kernel's names (smaps_rollup, proc_pid_smaps(5)). Raises OSError: it is gone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    pairs = (line.partition(":") for line in lines)
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in pairs}


def _mapped(folder: Path, data: str) -> int:
    """Bytes of the pages of files below `data`."""
    found, inside = 0, False
    for line in (folder / "smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if "-" in name.split(" ", 1)[0]:
            inside = f" {data}/" in line
        elif inside and name in ("Pss", "Pss_Anon"):
            found += int(rest.split()[0]) * (1024 if name == "Pss" else -1024)
    return found
