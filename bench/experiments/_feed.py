"""A clickstream whose lines carry the time they were sent and a number, fast enough to be written
while it is measured: lines are made once, then only 29 digits of each are overwritten.

    python -m bench.experiments._feed --rate 20000000 --seconds 10 FILE [FILE ...]

Appends at an even pace, a chunk every 10 ms, to the files in turn. Prints what it wrote as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rayflume import demo

Numbers: TypeAlias = "npt.NDArray[np.int64]"

_TEMPLATE_ROWS = 20_000
_TIME_AT, _TIME_DIGITS = len('{"sent_us":'), 16
_SEQ_AT, _SEQ_DIGITS = len('{"sent_us":1234567890123456,"seq":'), 13
_SEQ_BASE = 10 ** (_SEQ_DIGITS - 1)
CHUNK_MS = 10


def now_us() -> int:
    """The wall clock of this machine, which all processes of an experiment share."""
    return time.time_ns() // 1000


class Feed:
    """Lines without end. Numbers count from 0; `lines` repeat but for number and time."""

    def __init__(self, first: int = 0) -> None:
        stream = demo.Clickstream(_TEMPLATE_ROWS, hours=0.5, malformed=0, late=0)
        stamp = f'{{"sent_us":{10 ** (_TIME_DIGITS - 1)},"seq":{_SEQ_BASE},'
        lines = [stamp + line[1:] + "\n" for block in stream.lines() for line in block]
        self._bytes = np.frombuffer("".join(lines).encode(), np.uint8).copy()
        self._starts = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
        self._powers = 10 ** np.arange(_SEQ_DIGITS - 1, -1, -1)
        self._place = 0
        self.next = first

    @property
    def line_bytes(self) -> float:
        """Mean size of a line with its newline."""
        return float(self._starts[-1]) / _TEMPLATE_ROWS

    def lines(self, count: int, sent_us: int) -> memoryview:
        """At most `count` lines; fewer at the end of the template. Valid until the next call."""
        count = min(count, _TEMPLATE_ROWS - self._place)
        starts = self._starts[self._place : self._place + count, None]
        time_digits = np.frombuffer(str(sent_us).encode(), np.uint8)
        self._bytes[starts + np.arange(_TIME_AT, _TIME_AT + _TIME_DIGITS)] = time_digits
        numbers = _SEQ_BASE + self.next + np.arange(count)
        digits = (numbers[:, None] // self._powers % 10 + ord("0")).astype(np.uint8)
        self._bytes[starts + np.arange(_SEQ_AT, _SEQ_AT + _SEQ_DIGITS)] = digits
        begin, end = self._starts[self._place], self._starts[self._place + count]
        self._place = (self._place + count) % _TEMPLATE_ROWS
        self.next += count
        return self._bytes[begin:end].data


def write_files(paths: Sequence[Path], size: int, first: int = 0) -> int:
    """About `size` bytes in all, as fast as the disk takes them, split evenly. Returns the rows."""
    feed = Feed(first)
    rows = int(size / feed.line_bytes / len(paths))
    for path in paths:
        left = rows
        with path.open("ab", buffering=0) as file:
            while left:
                before = feed.next
                file.write(feed.lines(left, now_us()))
                left -= feed.next - before
    return rows * len(paths)


def number_of(column: Numbers) -> Numbers:
    """The column `seq` as it is in the lake -> numbers from 0."""
    numbers: Numbers = column - _SEQ_BASE
    return numbers


@dataclass(frozen=True)
class Fed:
    """What a feeding process did. `late_ms`: how far behind its schedule it came at worst."""

    rows: int
    bytes: int
    seconds: float
    cpu_seconds: float
    late_ms: float


@dataclass(frozen=True)
class Pace:
    """Bytes a second, for how many seconds, and the number of the first line."""

    rate: float
    seconds: float
    first: int = 0


class Feeding:
    """A process that appends at an even pace to files, in turn."""

    def __init__(self, paths: Sequence[Path], pace: Pace) -> None:
        command = [sys.executable, "-m", "bench.experiments._feed", *map(str, paths)]
        for name in ("rate", "seconds", "first"):
            command += [f"--{name}", str(getattr(pace, name))]
        self._limit_s = 60 + 3 * pace.seconds
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def done(self) -> Fed:
        """Wait for its end. Raises subprocess.TimeoutExpired, RuntimeError."""
        try:
            output, _ = self._process.communicate(timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if self._process.returncode:
            raise RuntimeError(f"the feed ended with {self._process.returncode}")
        return Fed(**json.loads(output))

    def kill(self) -> None:
        """End it, if it runs; may be called again."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def feed(paths: Sequence[Path], pace: Pace) -> Fed:
    """Append at an even pace; what could not be written in time is made up for. Blocks."""
    lines, pause = Feed(pace.first), threading.Event()
    files = [path.open("ab", buffering=0) for path in paths]
    begin, worst, turn, rows, size = time.perf_counter(), 0.0, 0, 0, 0
    per_second = pace.rate / lines.line_bytes
    try:
        while (elapsed := time.perf_counter() - begin) < pace.seconds:
            due = int(per_second * elapsed) - rows
            worst = max(worst, due / per_second - CHUNK_MS / 1000)
            for _ in range(len(files) if due > 0 else 0):
                before = lines.next
                size += files[turn % len(files)].write(lines.lines(due, now_us())) or 0
                rows += lines.next - before
                due -= lines.next - before
                turn += 1
                if due <= 0:
                    break
            passed = time.perf_counter() - begin - elapsed
            pause.wait(max(0.0, CHUNK_MS / 1000 - passed))
    finally:
        for file in files:
            file.close()
    cpu = os.times()
    return Fed(rows, size, elapsed, cpu.user + cpu.system, 1000 * worst)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--rate", type=float, required=True, help="bytes a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    done = feed(args.paths, Pace(args.rate, args.seconds, args.first))
    print(json.dumps(done.__dict__))


if __name__ == "__main__":
    main()
