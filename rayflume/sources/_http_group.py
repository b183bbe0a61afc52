"""Many small requests, one put: while a put is in flight, requests collect; the next takes them.

Rules: whenever requests wait, a put is in flight or the loop's next turn begins one. One put at a
time, so the rows of a life are put in the order of its counter. A put that failed may have reached
some of several required channels; then the counter's place is unknown, so its life ends and the
next rows begin a new one. Keyed requests are streams of their own, and no two requests with one key
are ever in one put.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rayflume.batch import EventBatch, Extent, concat
from rayflume.clock import Clock
from rayflume.errors import RayflumeError
from rayflume.interfaces import Ingest, Ingested
from rayflume.sources._http_settings import (
    GROUP_HEADER_CELLS_MAX,
    GROUP_REQUESTS_MAX,
    HOLD_OFF_MS,
    HOLD_OFF_MS_MAX,
    READY_AFTER_MS,
    STALLED_AFTER_MS,
    STOP_WAIT_S,
    Settings,
)
from rayflume.sources._life import Life

_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of one request's rows."""

    STORED = "stored"
    CONFLICT = "conflict"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key as the channel keeps it: a stream of its own, and a digest of the
    request.
    """

    stream: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request whose rows wait for their put."""

    batch: EventBatch
    key: Key | None
    answer: asyncio.Future[Outcome]


def assemble(group: Sequence[Waiting], life: Life) -> tuple[EventBatch, Life]:
    """All rows of a group, in order, and the life as it is once they are stored.

    Neighbours without a key share one extent.
    """
    extents: list[Extent] = []
    unkeyed = 0
    for waiting in group:
        rows = waiting.batch.num_rows
        if waiting.key is None:
            unkeyed += rows
            continue
        if unkeyed:
            extents.append(life.extent(unkeyed))
            life, unkeyed = life.after(unkeyed), 0
        key = waiting.key
        extents.append(Extent(key.stream, 0, rows, rows, key.digest, keyed=True))
    if unkeyed:
        extents.append(life.extent(unkeyed))
        life = life.after(unkeyed)
    rows_of_all = concat([waiting.batch for waiting in group])
    return replace(rows_of_all, extents=tuple(extents)), life


class Group:
    """Requests that wait, and the one put in flight. All methods run in the event loop's thread."""

    def __init__(self, settings: Settings, clock: Clock, ingest: Ingest) -> None:
        self._settings = settings
        self._clock = clock
        self._worker = _Worker(ingest, f"rayflume-{settings.source}-put")
        self._waiting: deque[Waiting] = deque()
        self._keyed: dict[str, Waiting] = {}
        self.twins_waiting = 0
        self._in_flight_since_ms: int | None = None
        self._failed_ms: int | None = None
        self._hold_off_ms = 0
        self._requests_max = GROUP_REQUESTS_MAX
        self.life = Life.begin(settings.life_prefix)
        self.retired: deque[str] = deque()
        self.last_error = ""

    async def put(self, batch: EventBatch, key: Key | None) -> Outcome:
        """Waits until the rows are durable, or were refused."""
        while key is not None and (twin := self._keyed.get(key.stream)) is not None:
            self.twins_waiting += 1
            try:
                outcome = await asyncio.shield(twin.answer)
            finally:
                self.twins_waiting -= 1
            if twin.key == key:
                return outcome
        waiting = Waiting(batch, key, asyncio.get_running_loop().create_future())
        if key is not None:
            self._keyed[key.stream] = waiting
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            # Those that were read together come in one turn of the loop: the first, put alone,
            # would let the others wait for a whole put.
            asyncio.get_running_loop().call_soon(self._pump)
        return await waiting.answer

    def holds_off(self) -> bool:
        """Whether a put was refused a moment ago, so that the next is not worth a try yet."""
        failed = self._failed_ms
        return failed is not None and self._clock.monotonic_ms() < failed + self._hold_off_ms

    def why_not_ready(self) -> str:
        """Empty when puts make progress; else one sentence."""
        now, since = self._clock.monotonic_ms(), self._in_flight_since_ms
        if self._failed_ms is not None and now < self._failed_ms + READY_AFTER_MS:
            return "the channel refused rows a moment ago"
        if since is not None and now > since + STALLED_AFTER_MS:
            return f"a put has been in flight for {(now - since) // 1000} s"
        return ""

    def requests_waiting(self) -> int:
        return len(self._waiting)

    async def close(self) -> None:
        """Let the put in flight end (for a bounded time); what waits gets no answer."""
        self._waiting.clear()
        await asyncio.to_thread(self._worker.close)
        if self.life.next:
            self.retired.append(self.life.stream)

    def _pump(self) -> None:
        if self._in_flight_since_ms is not None or not self._waiting:
            return
        group = self._next_group()
        self._in_flight_since_ms = self._clock.monotonic_ms()
        loop, life = asyncio.get_running_loop(), self.life

        def done(result: _Result) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(self._done, group, result)

        self._worker.submit(_Work(group, life, done))

    def _next_group(self) -> list[Waiting]:
        """The oldest requests: at least one, at most `batch_bytes` of bodies."""
        group: list[Waiting] = []
        names: set[str] = set()
        taken = 0
        while self._waiting and len(group) < self._requests_max:
            batch = self._waiting[0].batch
            names.update(batch.headers)
            taken += batch.nbytes
            cells = len(names) * (len(group) + 1)
            if group and (taken > self._settings.batch_bytes or cells > GROUP_HEADER_CELLS_MAX):
                break
            group.append(self._waiting.popleft())
        return group

    def _done(self, group: list[Waiting], result: _Result) -> None:
        self._in_flight_since_ms = None
        if isinstance(result, Exception):
            self._failed(group, result)
        else:
            ingested, self.life = result
            self._failed_ms, self._hold_off_ms = None, 0
            self._requests_max = min(2 * self._requests_max, GROUP_REQUESTS_MAX)
            conflicts = set(ingested.conflicts)
            for waiting in group:
                conflict = waiting.key is not None and waiting.key.stream in conflicts
                self._answer(waiting, Outcome.CONFLICT if conflict else Outcome.STORED)
        self._pump()

    def _failed(self, group: list[Waiting], error: Exception) -> None:
        """Answer all that wait; they come back, in smaller groups, to a new life."""
        expected = isinstance(error, RayflumeError)
        if not expected:
            _log.error("a put of the source %s failed", self._settings.source, exc_info=error)
        self.last_error = str(error) if expected else f"{type(error).__name__} in a put"
        if any(waiting.key is None for waiting in group):
            self.retired.append(self.life.stream)
            self.life = Life.begin(self._settings.life_prefix)
        self._failed_ms = self._clock.monotonic_ms()
        self._hold_off_ms = min(max(HOLD_OFF_MS, 2 * self._hold_off_ms), HOLD_OFF_MS_MAX)
        self._requests_max = max(1, len(group) // 2)
        for waiting in group:
            self._answer(waiting, Outcome.REFUSED if expected else Outcome.FAILED)
        while self._waiting:
            self._answer(self._waiting.popleft(), Outcome.REFUSED)

    def _answer(self, waiting: Waiting, outcome: Outcome) -> None:
        if waiting.key is not None:
            del self._keyed[waiting.key.stream]
        if not waiting.answer.done():
            waiting.answer.set_result(outcome)


_Result = tuple[Ingested, Life] | Exception


@dataclass(frozen=True, slots=True)
class _Work:
    group: list[Waiting]
    life: Life
    done: Callable[[_Result], None]


class _Worker:
    """The thread in which `ingest` may block."""

    def __init__(self, ingest: Ingest, name: str) -> None:
        self._ingest = ingest
        self._works: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        # A daemon: a channel that never answers must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: _Work) -> None:
        self._works.put(work)

    def close(self) -> None:
        """Blocks until the work in hand is done, but not for ever."""
        self._works.put(None)
        self._thread.join(STOP_WAIT_S)

    def _run(self) -> None:
        while (work := self._works.get()) is not None:
            work.done(self._result(work))

    def _result(self, work: _Work) -> _Result:
        try:
            batch, life = assemble(work.group, work.life)
            return self._ingest(batch), life
        except Exception as error:
            return error
