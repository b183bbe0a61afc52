"""The object store: rayflume's memory storage behind a network that is not to be trusted.

A call may fail before or after the work was done, time out and do the work later, be throttled, or
be answered from an old listing; a staged upload may expire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from rayflume.errors import StorageUnavailable
from rayflume.interfaces import Json, LakeReader, Published
from rayflume.storage.memory import MemoryStorage, MemoryStore, MemoryWriter
from simulation.kernel import Kernel

if TYPE_CHECKING:
    from simulation.judge import Judge

T = TypeVar("T")
FATES = ("before", "after", "late", "throttled")
LATE_MS = 90_000
Staged = list[tuple[str, dict[str, Json]]]


class SimStore:
    """One lake, whoever writes to it. `trouble`: share of calls that meet one of FATES."""

    def __init__(self, kernel: Kernel, name: str, judge: Judge) -> None:
        self.kernel = kernel
        self.name = name
        self.judge = judge
        self.store = MemoryStore()
        self.trouble = 0.0
        self.old_lists = False
        self._listed: dict[str, Staged] = {}

    def act(self, verb: str, work: Callable[[], T]) -> T:
        """One call over the network."""
        kernel = self.kernel
        kernel.step()
        kernel.failpoint(f"before store {verb}")
        fate = kernel.random.choice(FATES) if kernel.random.random() < self.trouble else "good"
        kernel.note(f"{self.name} {verb} {'' if fate == 'good' else fate}")
        if fate in ("before", "throttled"):
            raise StorageUnavailable(f"{verb}: simulated {fate}")
        if fate == "late":
            delay = kernel.random.random() * LATE_MS
            kernel.spawn(f"{self.name} late {verb}", lambda: self._late(verb, work), None, delay)
            kernel.sleep(min(delay, 5_000))
            raise StorageUnavailable(f"{verb}: simulated time-out")
        result = self._judged(work)
        kernel.step()
        kernel.failpoint(f"after store {verb}")
        if fate == "after":
            raise StorageUnavailable(f"{verb}: the answer was lost")
        return result

    def _late(self, verb: str, work: Callable[[], object]) -> None:
        self.kernel.note(f"{self.name} {verb}, late")
        try:
            self._judged(work)
        except (StorageUnavailable, KeyError):
            self.kernel.note(f"{self.name} {verb} comes too late")

    def _judged(self, work: Callable[[], T]) -> T:
        before = dict(self.store.files)
        result = work()
        self.judge.changed(self.name, before, self.store.files)
        return result

    def expire(self) -> None:
        """A staged upload vanishes, as by a lifecycle rule."""
        uploads = sorted(self.store.uploads)
        if uploads:
            gone = self.kernel.random.choice(uploads)
            self.kernel.note(f"{self.name} the upload {gone} expires")
            del self.store.uploads[gone]

    def listed(self, journal: str, found: Staged) -> Staged:
        """What a listing answers: now and then what it answered before."""
        old = self._listed.get(journal, [])
        self._listed[journal] = found
        return old if self.old_lists and self.kernel.random.random() < 0.5 else found


class SimStorage:
    """See interfaces.Storage."""

    def __init__(self, sim: SimStore) -> None:
        self._sim = sim
        self._inner = MemoryStorage(sim.store)

    def check(self) -> None:
        self._sim.act("check", self._inner.check)

    def stage(self, target: str, delivery: str) -> SimWriter:
        writer = self._sim.act("stage", lambda: self._inner.stage(target, delivery))
        return SimWriter(self._sim, writer)

    def publish(self, handles: Sequence[Mapping[str, Json]]) -> list[Published]:
        return [self._publish(handle) for handle in handles]

    def _publish(self, handle: Mapping[str, Json]) -> Published:
        return self._sim.act("publish", lambda: self._inner.publish([handle])[0])

    def discard(self, handle: Mapping[str, Json]) -> None:
        self._sim.act("discard", lambda: self._inner.discard(handle))

    def staged(self, journal: str) -> Staged:
        found = self._sim.act("list", lambda: self._inner.staged(journal))
        return self._sim.listed(journal, found)

    def create(self, path: str, data: bytes) -> bool:
        return self._sim.act("create", lambda: self._inner.create(path, data))

    def read(self, path: str) -> bytes:
        return self._sim.act("read", lambda: self._inner.read(path))

    def list(self, prefix: str) -> list[str]:
        return self._sim.act("list", lambda: self._inner.list(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        return self._sim.act("sizes", lambda: self._inner.sizes(prefix))

    def open(self, path: str) -> LakeReader:
        return self._sim.act("open", lambda: self._inner.open(path))

    def remove(self, paths: Sequence[str]) -> None:
        self._sim.act("remove", lambda: self._inner.remove(paths))

    def close(self) -> None:
        """The lake stays."""


class SimWriter:
    """See interfaces.StagedWriter. Bytes go to the store with `finish`."""

    def __init__(self, sim: SimStore, inner: MemoryWriter) -> None:
        self._sim = sim
        self._inner = inner

    def write(self, data: pa.Buffer | bytes | memoryview) -> int:
        return self._inner.write(data)

    def finish(self) -> dict[str, Json]:
        return self._sim.act("finish", self._inner.finish)

    def abort(self) -> None:
        try:
            self._sim.act("abort", self._inner.abort)
        except StorageUnavailable:
            self._sim.kernel.note(f"{self._sim.name} abort failed: left to the collector")
