"""Watches an agent from beside: when committed rows advanced, and what its processes use."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from chaos.plant import Part, Plant, name_of, ready
from rayflume.clock import SystemClock

LOOK_S = 0.2


def rss_anon(pid: int) -> int:
    """Bytes of memory a process has for itself: without mapped files and shared pages."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass
class Usage:
    """Of one process, over time: seconds, RssAnon in bytes, descriptors, threads."""

    samples: list[tuple[float, int, int, int]] = field(default_factory=list)

    def take(self, seconds: float, pid: int) -> None:
        """Sample a process; one that is gone gives no sample."""
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            figures = rss_anon(pid), process.num_fds(), process.num_threads()
            self.samples.append((seconds, *figures))


class Watcher(threading.Thread):
    """Asks for the status several times a second."""

    def __init__(self, plant: Plant) -> None:
        super().__init__(name="watcher", daemon=True)
        self._plant = plant
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], int] = {}
        self._advanced: dict[str, int] = {}
        self._stopping = threading.Event()
        self._parts: list[Part] = []
        self._seen_ms = self._before_ms = 0
        self.committed: dict[str, int] = {}
        self.rss: dict[str, int] = {}

    def run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        began_ms = self._clock.monotonic_ms()
        parts = self._plant.parts()
        with self._lock:
            self._parts, self._seen_ms = parts, began_ms
            for part in parts:
                if part["kind"] == "sink" and part["pid"]:
                    # It was not there when we looked before, so it is younger than that look.
                    self._note(part, self._before_ms)
            self._before_ms = began_ms
        for part in parts:
            with contextlib.suppress(OSError):
                name = name_of(part)
                self.rss[name] = max(self.rss.get(name, 0), rss_anon(int(part["pid"])))

    def _note(self, part: Part, now_ms: int) -> None:
        count = int(part["metrics"].get("EventDrainSuccessCount", 0))
        key = name_of(part), int(part["pid"])
        if count > self._counts.get(key, 0):
            name = str(part["name"])
            self._advanced[name] = now_ms
            self.committed[name] = self.committed.get(name, 0) + count - self._counts.get(key, 0)
            self._counts[key] = count

    def advanced_since(self, since_ms: int) -> bool:
        """Whether rows were committed into every lake after that moment."""
        with self._lock:
            lakes = {f"lake-{store}" for store in self._plant.place.stores}
            return all(self._advanced.get(lake, 0) > since_ms for lake in lakes)

    def running(self, since_ms: int) -> bool:
        """Whether all parts ran when they were asked, after that moment."""
        with self._lock:
            return self._seen_ms > since_ms and ready(self._parts)

    def parts(self) -> list[Part]:
        """All parts, as they were seen last."""
        with self._lock:
            return self._parts

    def stop(self) -> None:
        self._stopping.set()


def wait_for(condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.05) -> bool:
    """Wait for a condition; False when it did not come true in time."""
    clock = SystemClock()
    deadline_ms = clock.monotonic_ms() + timeout_s * 1000
    while not condition():
        if clock.monotonic_ms() > deadline_ms:
            return False
        threading.Event().wait(pause_s)
    return True
