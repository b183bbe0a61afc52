"""Threads as a thing that is handed in, as the clock is, so that a simulation can run a whole agent
in one thread and decide which part goes on when.

Only what parts wait with is here. A lock that is held over no wait needs no seam.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Event(Protocol):
    """A flag to wait for. Seconds."""

    def set(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class Condition(Protocol):
    """A lock with a queue of those who wait for a change beneath it. Seconds."""

    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def acquire(self) -> bool: ...
    def release(self) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def notify_all(self) -> None: ...


class Thread(Protocol):
    """A thread that runs already."""

    def join(self, timeout: float | None = None) -> None: ...
    def is_current(self) -> bool: ...


class Work(Protocol[T_co]):
    """A call that another thread makes."""

    def done(self) -> bool: ...
    def wait(self, timeout: float) -> bool:
        """Whether it is done after so many seconds."""
        ...

    def result(self) -> T_co:
        """What the call returned, or raise what it raised. Blocks until it is done."""
        ...


class Pool(Protocol):
    """Threads that make calls in the order they were handed in."""

    def submit(self, call: Callable[[], T]) -> Work[T]: ...
    def shutdown(self) -> None:
        """Blocks until all calls are done."""
        ...


class Threads(Protocol):
    """Where a part gets its threads from, and what they wait with."""

    def event(self) -> Event: ...
    def condition(self) -> Condition: ...
    def start(self, name: str, call: Callable[[], None]) -> Thread: ...
    def pool(self, name: str, size: int = 1) -> Pool: ...


class SystemThreads:
    """The threads of this process."""

    def event(self) -> Event:
        return threading.Event()

    def condition(self) -> Condition:
        return threading.Condition(threading.Lock())

    def start(self, name: str, call: Callable[[], None]) -> Thread:
        return _SystemThread(name, call)

    def pool(self, name: str, size: int = 1) -> Pool:
        return _SystemPool(name, size)


class _SystemThread:
    def __init__(self, name: str, call: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=call, name=f"rayflume-{name}", daemon=True)
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def is_current(self) -> bool:
        return self._thread is threading.current_thread()


class _SystemPool:
    def __init__(self, name: str, size: int) -> None:
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=f"rayflume-{name}")

    def submit(self, call: Callable[[], T]) -> Work[T]:
        return _SystemWork(self._executor.submit(call))

    def shutdown(self) -> None:
        self._executor.shutdown(wait=True)


class _SystemWork(Generic[T]):
    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def done(self) -> bool:
        return self._future.done()

    def wait(self, timeout: float) -> bool:
        return bool(wait([self._future], timeout=timeout).done)

    def result(self) -> T:
        return self._future.result()
