"""A lake in the memory of this process, with scripted faults: for tests and for trying things out.

    lake = store("clicks")                     # what `path: memory://clicks` writes to
    lake.faults.fail("publish", after=True)    # the next publish does its work, then says unknown
    lake.lose(handle)                          # the staged bytes vanish, as with a lifecycle rule

Same promises as the other stores, except that the end of the process is the end of the lake.
"""

from __future__ import annotations

import io
import itertools
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from rayflume.clock import Clock, SystemClock
from rayflume.component import Component, Context, component, option
from rayflume.errors import RayflumeError, StagingFailed, StorageUnavailable, TargetTaken
from rayflume.interfaces import Json, LakeReader, Published
from rayflume.naming import delivery_of
from rayflume.storage import _paths

if TYPE_CHECKING:
    import pyarrow as pa

Verb = Literal[
    "check", "stage", "write", "finish", "publish", "discard", "staged", "create", "read", "list",
    "sizes", "open", "remove",
]  # fmt: skip
"""What a fault can hit. `publish` and `remove` are counted per file."""

_stores: dict[str, MemoryStore] = {}
_stores_lock = threading.Lock()


@component
class Memory(Component):
    """Files in the memory of this process, shared by name; gone with it. For tests and trials."""

    path: str = option("Name of the lake: `memory://name`.", example="memory://trial")

    @field_validator("path")
    @classmethod
    def _named(cls, value: str) -> str:
        if not re.fullmatch(r"memory://[A-Za-z0-9_./-]+", value):
            raise ValueError("write memory:// and a name, like memory://trial")
        return value

    def build(self, context: Context) -> MemoryStorage:
        return MemoryStorage(store(self.path.removeprefix("memory://")), context.clock)


@dataclass
class _Fault:
    verb: Verb
    times: int
    after: bool
    error: RayflumeError


class Faults:
    """What shall go wrong next. Thread-safe."""

    def __init__(self) -> None:
        self._script: list[_Fault] = []
        self._lock = threading.Lock()

    def fail(
        self,
        verb: Verb,
        times: int = 1,
        *,
        after: bool = False,
        error: RayflumeError | None = None,
    ) -> None:
        """Let the next `times` calls of `verb` raise `error` (default: StorageUnavailable), before
        they do anything or, with `after`, when all is done.
        """
        chosen = error or StorageUnavailable(f"scripted fault of {verb}")
        with self._lock:
            self._script.append(_Fault(verb, times, after, chosen))

    def clear(self) -> None:
        with self._lock:
            self._script.clear()

    @contextmanager
    def around(self, verb: Verb) -> Iterator[None]:
        """Run one call of `verb` under the script."""
        fault = self._next(verb)
        if fault is not None and not fault.after:
            raise fault.error
        yield
        if fault is not None:
            raise fault.error

    def _next(self, verb: Verb) -> _Fault | None:
        with self._lock:
            for fault in self._script:
                if fault.verb == verb:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._script.remove(fault)
                    return fault
        return None


@dataclass
class MemoryStore:
    """The bytes of one named lake, and its faults. Tests may look at all of it."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Path -> bytes of every visible file."""
    owners: dict[str, str] = field(default_factory=dict)
    """Path -> delivery id of every published file."""
    times: dict[str, int] = field(default_factory=dict)
    """Path -> epoch milliseconds at which a file became visible."""
    uploads: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Upload id -> (target, bytes) of what is staged."""
    faults: Faults = field(default_factory=Faults)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def lose(self, handle: Mapping[str, Json]) -> None:
        """Let the staged bytes of a handle vanish."""
        with self.lock:
            del self.uploads[_paths.text_in(handle, "upload")]


def store(name: str) -> MemoryStore:
    """The lake behind `memory://name`, new and empty at first use."""
    with _stores_lock:
        return _stores.setdefault(name, MemoryStore())


class MemoryStorage:
    """Storage over a MemoryStore. Thread-safe. Never blocks."""

    def __init__(self, store: MemoryStore, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()

    def check(self) -> None:
        with self._store.faults.around("check"):
            pass

    def stage(self, target: str, delivery: str) -> MemoryWriter:
        _paths.target(target, delivery)
        with self._store.faults.around("stage"), self._store.lock:
            upload = f"{delivery}-{next(self._store.numbers)}"
            self._store.uploads[upload] = (target, b"")
        return MemoryWriter(self._store, target, upload)

    def publish(self, handles: Sequence[Mapping[str, Json]]) -> list[Published]:
        outcomes = []
        for handle in handles:
            with self._store.faults.around("publish"):
                outcomes.append(self._publish(handle))
        return outcomes

    def _publish(self, handle: Mapping[str, Json]) -> Published:
        target, delivery = _paths.target_in(handle)
        upload = _paths.text_in(handle, "upload")
        with self._store.lock:
            if target in self._store.files:
                if self._store.owners.get(target) == delivery:
                    self._store.uploads.pop(upload, None)
                    return Published.LANDED
                raise TargetTaken(
                    f"{target} exists and is not of the delivery {delivery}", path=target
                )
            staged = self._store.uploads.pop(upload, None)
            if staged is None:
                return Published.LOST
            self._store.files[target] = staged[1]
            self._store.owners[target] = delivery
            self._store.times[target] = self._clock.now_ms()
            return Published.LANDED

    def discard(self, handle: Mapping[str, Json]) -> None:
        with self._store.faults.around("discard"), self._store.lock:
            self._store.uploads.pop(_paths.text_in(handle, "upload"), None)

    def staged(self, journal: str) -> list[tuple[str, dict[str, Json]]]:
        with self._store.faults.around("staged"), self._store.lock:
            return [
                (delivery, {"upload": upload, "target": target})
                for upload, (target, _) in sorted(self._store.uploads.items())
                if (delivery := delivery_of(target)) and _paths.of_journal(delivery, journal)
            ]

    def staged_size(self, handle: Mapping[str, Json]) -> int:
        """Bytes of an upload, 0 when it is gone."""
        with self._store.lock:
            _, data = self._store.uploads.get(_paths.text_in(handle, "upload"), ("", b""))
        return len(data)

    def create(self, path: str, data: bytes) -> bool:
        _paths.visible(path)
        with self._store.faults.around("create"), self._store.lock:
            made = path not in self._store.files
            if made:
                self._store.files[path] = bytes(data)
                self._store.times[path] = self._clock.now_ms()
        return made

    def read(self, path: str) -> bytes:
        _paths.visible(path)
        with self._store.faults.around("read"), self._store.lock:
            return self._store.files[path]

    def list(self, prefix: str) -> list[str]:
        start = "".join(f"{name}/" for name in _paths.folder(prefix))
        with self._store.faults.around("list"), self._store.lock:
            return sorted(path for path in self._store.files if path.startswith(start))

    def sizes(self, prefix: str) -> dict[str, int]:
        start = "".join(f"{name}/" for name in _paths.folder(prefix))
        with self._store.faults.around("sizes"), self._store.lock:
            found = sorted(self._store.files.items())
            return {path: len(data) for path, data in found if path.startswith(start)}

    def modified(self, prefix: str) -> dict[str, int]:
        """When each file below became visible, by this process's clock."""
        with self._store.lock:
            times = dict(self._store.times)
        return {path: times.get(path, 0) for path in self.sizes(prefix)}

    def open(self, path: str) -> LakeReader:
        _paths.visible(path)
        with self._store.faults.around("open"), self._store.lock:
            return io.BytesIO(self._store.files[path])

    def remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            _paths.visible(path)
        for path in paths:
            with self._store.faults.around("remove"), self._store.lock:
                self._store.files.pop(path, None)
                self._store.owners.pop(path, None)
                self._store.times.pop(path, None)

    def close(self) -> None:
        """The lake stays for the next who opens it by name."""


class MemoryWriter:
    """One staged file; its bytes reach the store with `finish`."""

    def __init__(self, store: MemoryStore, target: str, upload: str) -> None:
        self._store = store
        self._target = target
        self._upload = upload
        self._buffer = bytearray()

    def write(self, data: pa.Buffer | bytes | memoryview) -> int:
        view: memoryview[Any] = memoryview(data).cast("B")
        with self._store.faults.around("write"):
            self._buffer += view
        return len(view)

    def finish(self) -> dict[str, Json]:
        with self._store.faults.around("finish"), self._store.lock:
            if self._upload not in self._store.uploads:
                raise StagingFailed(f"the staged file for {self._target} was given up")
            self._store.uploads[self._upload] = (self._target, bytes(self._buffer))
        return {"target": self._target, "upload": self._upload, "size": len(self._buffer)}

    def abort(self) -> None:
        with self._store.lock:
            self._store.uploads.pop(self._upload, None)
