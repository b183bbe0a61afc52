"""When each file became visible in a local lake, and what its rows say of when they were sent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from bench.experiments._background import Background
from bench.experiments._feed import Numbers, now_us, number_of

LOOK_S = 0.01


class Observer(Background):
    """Lists a lake every 10 ms in a thread and notes when it saw each part file first."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._seen: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self.gap_us = 0
        """The longest time between two looks: how late a file may have been seen."""
        super().__init__()

    def _run(self) -> None:
        last = now_us()
        try:
            while not self._done.wait(LOOK_S):
                found = self._look(str(self._lake))
                now = now_us()
                self.gap_us, last = max(self.gap_us, now - last), now
                with self._lock:
                    for path in found:
                        self._seen.setdefault(path, now)
        except Exception as error:
            self._failure = error

    def _look(self, folder: str) -> list[str]:
        found: list[str] = []
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return found
        for entry in entries:
            if entry.name.endswith(".parquet"):
                if entry.path not in self._seen:
                    found.append(entry.path)
            elif "=" in entry.name:
                found += self._look(entry.path)
        return found

    def seen(self) -> dict[str, int]:
        """File -> microseconds since 1970 at which it was seen first."""
        if self._failure is not None:
            raise self._failure
        with self._lock:
            return dict(self._seen)

    def rows(self) -> int:
        """Rows of all files seen so far, from their footers."""
        for path in self.seen():
            if path not in self._rows:
                self._rows[path] = pq.read_metadata(path).num_rows
        return sum(self._rows.values())

    def rows_by_time(self) -> list[tuple[int, int]]:
        """(microseconds, rows) of each file, in the order in which they were seen."""
        self.rows()
        return sorted((at, self._rows[path]) for path, at in self.seen().items())

    def wait_rows(self, rows: int, deadline_s: float) -> None:
        """Until so many are visible. Raises TimeoutError."""
        deadline, pause = time.perf_counter() + deadline_s, threading.Event()
        while (there := self.rows()) < rows:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{there} of {rows} rows are in the lake, {deadline_s:.0f} s")
            pause.wait(0.05)

    def clear(self) -> None:
        """Delete all files seen so far and forget them. Their names never come again."""
        for path in self.seen():
            Path(path).unlink()
        with self._lock:
            self._seen.clear()
        self._rows.clear()
        self.gap_us = 0


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from sent to visible: one value a row, in the order of `sent_us`."""

    ms: npt.NDArray[np.float64]
    sent_us: Numbers

    def after(self, sent_us: int) -> Latencies:
        """Only rows that were sent at that time or later."""
        keep = self.sent_us >= sent_us
        return Latencies(self.ms[keep], self.sent_us[keep])

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.ms, share)) if len(self.ms) else float("nan")


def latencies(seen: dict[str, int], numbers: range) -> Latencies:
    """Of all rows in the files. Raises RuntimeError unless each number is there exactly once."""
    ms, sent, seq = [], [], []
    for path, at in seen.items():
        with Path(path).open("rb") as file:
            table = pq.read_table(file, columns=["sent_us", "seq"])
        sent.append(table["sent_us"].to_numpy())
        seq.append(number_of(table["seq"].to_numpy()))
        ms.append((at - sent[-1]) / 1000)
    check_once(seq, numbers)
    order = np.argsort(np.concatenate(sent), kind="stable")
    return Latencies(np.concatenate(ms)[order], np.concatenate(sent)[order])


def check_once(parts: Iterable[Numbers], numbers: range) -> None:
    """Raises RuntimeError unless the parts hold each number exactly once."""
    found = np.concatenate([np.array([], np.int64), *parts])
    unique = np.unique(found)
    if len(found) != len(numbers) or not np.array_equal(unique, np.arange(*_ends(numbers))):
        raise RuntimeError(
            f"{len(numbers)} rows were sent; {len(found)} are in the lake, "
            f"{len(unique)} different ones"
        )


def _ends(numbers: range) -> tuple[int, int]:
    return numbers.start, numbers.stop
