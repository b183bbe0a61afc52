"""Contenders that work in processes of their own, which take orders: see bench.workers.serve."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bench.contenders import Measured, Stage, Turn
from bench.inputs import Input
from bench.settings import ROW_GROUP_BYTES
from bench.tasks import Task
from bench.usage import Usage, tree

ROOT = Path(__file__).parents[2]
DEADLINE_S = 1800.0
END_S = 20.0


class WorkerFailed(Exception):
    """A worker answered with an error, or ended."""


class Worker:
    """One process that does what it is told. `wait` once, till it is ready, before the first order.

    Its session is its own: Ctrl-C reaches the bench alone, which then calls `stop`.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._asked = True

    def tell(self, order: Mapping[str, object]) -> None:
        self._asked = True
        _pipe(self._process.stdin).write(json.dumps(order).encode() + b"\n")
        _pipe(self._process.stdin).flush()

    def wait(self) -> None:
        """Until it has answered. Raises WorkerFailed."""
        answers = _pipe(self._process.stdout)
        if not select.select([answers], [], [], DEADLINE_S)[0]:
            raise WorkerFailed(f"no answer for {DEADLINE_S:.0f} s: {self._tail()}")
        line = answers.readline()
        if not line:
            raise WorkerFailed(f"ended with {self._process.wait()}: {self._tail()}")
        self._asked = False
        if error := json.loads(line).get("error"):
            raise WorkerFailed(error)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """The end of its input ends it, if it has nothing to do; what is left of its processes
        after that is killed.
        """
        left = tree(self.pid)
        try:
            _pipe(self._process.stdin).close()
            if not self._asked:
                self._process.wait(END_S)
        except (OSError, subprocess.TimeoutExpired):
            pass
        kill(left)
        self._process.wait()
        _pipe(self._process.stdout).close()


def kill(pids: Sequence[int]) -> None:
    """End these processes and those that descend from them, at once."""
    for pid in dict.fromkeys([*tree(*pids), *pids]):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise WorkerFailed("no pipe to the worker")
    return pipe


def lacks(*modules: str) -> str:
    """What to install of what is not there; ""."""
    gone = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(gone)} (the extra `bench`)" if gone else ""


@dataclass
class WorkerContender:
    """A Contender of one or more processes of one module below bench.workers; files are shared out
    among them.
    """

    name: str
    variants: Mapping[str, str]
    tasks: tuple[str, ...]
    module: str
    needs: tuple[str, ...] = ()
    processes: int = 1
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    warm_runs: int = 1
    share: float = 1.0
    notes: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)
    _workers: list[Worker] = field(default_factory=list)
    _data: Path = Path()

    def missing(self) -> str:
        return lacks(*self.needs)

    def start(self, stage: Stage) -> None:
        self._data = stage.data
        command = [self.python, "-W", "ignore", "-m", f"bench.workers.{self.module}"]
        for number in range(self.processes):
            log = stage.logs / f"{self.name}-{number}.log"
            self._workers.append(Worker(command, log, self.environment))
        for worker in self._workers:
            worker.wait()
        for task, data in stage.warm.values():
            if task.name in self.tasks:
                for _ in range(self.warm_runs):
                    folder = stage.data / "runs" / "warm"
                    self._order(task, data, folder)
                    shutil.rmtree(folder)

    def run(self, turn: Turn) -> Measured:
        pids = [worker.pid for worker in self._workers]
        usage = Usage({"own": lambda: tree(*pids)}, self._data)
        begin = time.perf_counter()
        self._order(turn.task, turn.data, turn.lake)
        seconds = time.perf_counter() - begin
        return Measured(seconds, usage.stop()["own"])

    def _order(self, task: Task, data: Input, folder: Path) -> None:
        for number, worker in enumerate(self._workers):
            place = folder / f"worker={number}"
            place.mkdir(parents=True, exist_ok=True)
            order = {
                "task": task.name,
                "paths": [str(path) for path in data.files[number :: self.processes]],
                "folder": str(place),
                "group_rows": max(1, ROW_GROUP_BYTES * data.rows // data.bytes),
            }
            worker.tell(order)
        for worker in self._workers:
            worker.wait()

    def stop(self) -> None:
        while self._workers:
            self._workers.pop().stop()
