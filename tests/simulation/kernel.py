"""Tasks that give way at every wait, processes that die or pause between any two steps, and time.

Deterministic: the next task is the one with the earliest time, and every step takes a random time
from the seed. One greenlet per task; all run in one thread, so nothing happens between two steps.
"""

from __future__ import annotations

import heapq
import itertools
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Generic, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")
STEP_MS = 2.0
"""A step takes up to so long."""
WALL_MS = 1_700_000_000_000


class Died(BaseException):
    """The process of this task is dead; nothing it does from here on has an effect."""


class Process:
    """What dies or pauses as a whole. `unreachable`: a kill does not reach it while it pauses."""

    def __init__(self, name: str, host: str) -> None:
        self.name = name
        self.host = host
        self.alive = True
        self.paused_until = 0.0
        self.unreachable = False
        self.tasks: dict[Task, None] = {}
        self.at_end: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return self.name


class Task:
    """One thread of a process."""

    def __init__(self, name: str, process: Process | None, call: Callable[[], None]) -> None:
        self.name = name
        self.process = process
        self.let = greenlet(call)
        self.turn = 0
        self.woken = False
        self.ended = False
        self.waiting: list[Task] = []


class Kernel:
    """The scheduler, the clock and the trace."""

    def __init__(self, seed: int, trace: bool = False) -> None:
        self.random = Random(seed)
        self.now_ms = 0.0
        self.wall_ms = float(WALL_MS)
        self.steps = 0
        self.hash = 0
        self.lines: list[str] | None = [] if trace else None
        self.current: Task | None = None
        self.before_step: Callable[[], None] = lambda: None
        self.failpoint: Callable[[str], None] = lambda site: None
        """Called by a task before and after each thing it does outside of its own memory."""
        self.failure: BaseException | None = None
        self._queue: list[tuple[float, int, Task, int]] = []
        self._order = itertools.count()
        self._hub = getcurrent()

    # -- the trace ------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        """A line of the trace; all lines together are the identity of a schedule."""
        self.hash = zlib.crc32(what.encode(), self.hash)
        if self.lines is not None:
            who = self.current.name if self.current else "world"
            self.lines.append(f"{self.now_ms / 1000:10.3f} s  {who:<28} {what}")

    # -- tasks ----------------------------------------------------------------------------------

    def spawn(
        self,
        name: str,
        call: Callable[[], None],
        process: Process | None = None,
        after_ms: float = 0,
    ) -> Task:
        """Start a task; without a process it can't die."""
        task = Task(name, process, lambda: self._main(task, call))
        if process is not None:
            process.tasks[task] = None
        self._push(task, after_ms + self.random.random() * STEP_MS)
        return task

    def _main(self, task: Task, call: Callable[[], None]) -> None:
        try:
            call()
        except Died:
            pass
        except BaseException as error:
            self.failure = self.failure or error
        finally:
            task.ended = True
            if task.process is not None:
                task.process.tasks.pop(task, None)
            for other in task.waiting:
                self.wake(other)

    def _push(self, task: Task, after_ms: float) -> None:
        entry = (self.now_ms + after_ms, next(self._order), task, task.turn)
        heapq.heappush(self._queue, entry)

    def sleep(self, ms: float) -> None:
        """Give way for a time. Raises Died."""
        task = self._task()
        self._push(task, ms)
        self._switch(task)

    def step(self) -> None:
        """Give way for a moment: anything may happen between before and after."""
        self.sleep(self.random.random() * STEP_MS)

    def park(self, timeout_ms: float | None) -> bool:
        """Give way until `wake`, or for so long; whether it was woken. Raises Died."""
        task = self._task()
        task.woken = False
        if timeout_ms is not None:
            self._push(task, timeout_ms)
        self._switch(task)
        return task.woken

    def wake(self, task: Task) -> None:
        """Let a parked task go on."""
        if not task.ended and not task.woken:
            task.woken = True
            self._push(task, self.random.random() * STEP_MS)

    def _task(self) -> Task:
        task = self.current
        if task is None or (task.process is not None and not task.process.alive):
            raise Died
        return task

    def _switch(self, task: Task) -> None:
        self._hub.switch()
        self._task()

    # -- processes ------------------------------------------------------------------------------

    def kill(self, process: Process) -> None:
        """The process is gone at once; one of its own tasks must give way next."""
        if not process.alive:
            return
        process.alive = False
        for task in list(process.tasks):
            if task is not self.current:
                self._throw(task)
        for end in process.at_end:
            end()

    def _throw(self, task: Task) -> None:
        """Unwind a task, so that its greenlet is not unwound later, at a moment nobody chose."""
        if task.ended:
            return
        task.turn += 1
        if not task.let:
            task.ended = True
            return
        before, self.current = self.current, task
        task.let.parent = getcurrent()
        try:
            task.let.throw(Died)
        finally:
            self.current = before

    def pause(self, process: Process, ms: float, unreachable: bool = False) -> None:
        """The process stands still, and goes on as if nothing had happened."""
        process.paused_until = max(process.paused_until, self.now_ms + ms)
        process.unreachable = unreachable

    def is_paused(self, process: Process) -> bool:
        return process.paused_until > self.now_ms

    # -- the loop -------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool], deadline_ms: float) -> bool:
        """Let tasks go on until `until`; False when nothing or no time was left before."""
        while not until():
            if self.failure is not None:
                raise self.failure
            if not self._queue or self._queue[0][0] > deadline_ms:
                return False
            self._next()
        return True

    def _next(self) -> None:
        at_ms, _, task, turn = heapq.heappop(self._queue)
        process = task.process
        if task.ended or task.turn != turn or (process is not None and not process.alive):
            return
        self._pass(at_ms)
        if process is not None and process.paused_until > at_ms:
            heapq.heappush(self._queue, (process.paused_until, next(self._order), task, turn))
            return
        self.steps += 1
        self.before_step()
        if task.ended or task.turn != turn or (process is not None and not process.alive):
            return
        if process is not None and process.paused_until > self.now_ms:
            heapq.heappush(self._queue, (process.paused_until, next(self._order), task, turn))
            return
        task.turn += 1
        self.current = task
        task.let.parent = self._hub
        try:
            task.let.switch()
        finally:
            self.current = None

    def _pass(self, at_ms: float) -> None:
        passed = max(0.0, at_ms - self.now_ms)
        self.now_ms += passed
        self.wall_ms += passed

    def close(self) -> None:
        """Unwind all tasks that are left."""
        for _, _, task, _ in list(self._queue):
            if task.process is not None:
                self.kill(task.process)
        for _, _, task, _ in list(self._queue):
            self._throw(task)


class SimClock:
    """See rayflume.clock.Clock. The wall clock jumps with `Kernel.wall_ms`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def now_ms(self) -> int:
        return int(self._kernel.wall_ms)

    def monotonic_ms(self) -> int:
        return int(self._kernel.now_ms)


# -- threads of a process: see rayflume.threads ---------------------------------------------------


class SimThreads:
    """The threads of one process."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self._kernel = kernel
        self._process = process

    def event(self) -> SimEvent:
        return SimEvent(self._kernel)

    def condition(self) -> SimCondition:
        return SimCondition(self._kernel)

    def start(self, name: str, call: Callable[[], None]) -> SimThread:
        return SimThread(self._kernel, self._kernel.spawn(name, call, self._process))

    def pool(self, name: str, size: int = 1) -> SimPool:
        return SimPool(self._kernel, self._process, name, size)


class SimThread:
    def __init__(self, kernel: Kernel, task: Task) -> None:
        self._kernel = kernel
        self._task = task

    def join(self, timeout: float | None = None) -> None:
        if not self._task.ended and self._kernel.current is not None:
            self._task.waiting.append(self._kernel.current)
            self._kernel.park(None if timeout is None else timeout * 1000)

    def is_current(self) -> bool:
        return self._kernel.current is self._task


class SimEvent:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._set = False
        self._waiting: list[Task] = []

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._kernel.wake(task)

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        task = self._kernel.current
        if self._set or task is None:
            return self._set
        self._waiting.append(task)
        self._kernel.park(None if timeout is None else timeout * 1000)
        if task in self._waiting:
            # Its time was over: it waits for something else by the time this is set.
            self._waiting.remove(task)
        return self._set


class SimCondition:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._owner: Task | None = None
        self._queue: deque[Task] = deque()
        self._waiting: list[Task] = []

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def acquire(self) -> bool:
        while self._owner is not None and not self._owner.ended:
            self._queue.append(self._kernel._task())
            self._kernel.park(None)
        self._owner = self._kernel.current
        return True

    def release(self) -> None:
        self._owner = None
        if self._queue:
            self._kernel.wake(self._queue.popleft())

    def wait(self, timeout: float | None = None) -> bool:
        task = self._kernel._task()
        self._waiting.append(task)
        self.release()
        woken = self._kernel.park(None if timeout is None else timeout * 1000)
        if task in self._waiting:
            self._waiting.remove(task)
        self.acquire()
        return woken

    def notify_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._kernel.wake(task)


class SimWork(Generic[T]):
    def __init__(self, kernel: Kernel, call: Callable[[], T]) -> None:
        self._call = call
        self._done = SimEvent(kernel)
        self._result: list[T] = []
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as error:
            self._error = error
        self._done.set()

    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout: float) -> bool:
        return self._done.wait(timeout)

    def result(self) -> T:
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]


class SimPool:
    def __init__(self, kernel: Kernel, process: Process, name: str, size: int) -> None:
        self._kernel = kernel
        self._process = process
        self._names: Iterator[str] = (f"{name}-{i}" for i in itertools.count())
        self._size = size
        self._running = 0
        self._queue: deque[SimWork[object]] = deque()
        self._idle = SimEvent(kernel)

    def submit(self, call: Callable[[], T]) -> SimWork[T]:
        work = SimWork(self._kernel, call)
        self._queue.append(work)  # type: ignore[arg-type]
        if self._running < self._size:
            self._running += 1
            self._kernel.spawn(next(self._names), self._work, self._process)
        return work

    def _work(self) -> None:
        while self._queue:
            self._queue.popleft().run()
        self._running -= 1
        if not self._running:
            idle, self._idle = self._idle, SimEvent(self._kernel)
            idle.set()

    def shutdown(self) -> None:
        while self._running:
            self._idle.wait()
