"""One journal, one lake on a real store, and a collector that may die: what the tests of stores
share.

    world = LakeWorld(tmp_path, LocalPlace(tmp_path / "lake"))
    world.put(0, 40)
    world.run()                 # a life: open, recover, deliver all, as agent/runner.py does
    world.judge(range(40))      # every row once, nothing visible that was not prepared, no leftover
"""

from __future__ import annotations

import collections
import io
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
from fakes import context

from rayflume import flow
from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.clock import ManualClock, SystemClock
from rayflume.component import lookup
from rayflume.delivery import Delivery, State
from rayflume.errors import Retry
from rayflume.flow import Lane, Route, Status
from rayflume.interfaces import Manifest, RowRef
from rayflume.journal.reader import decode_rows
from rayflume.metrics import Metrics
from rayflume.naming import STAGING
from rayflume.sinks.parquet import ParquetSink

_lakes = itertools.count()


class Place(Protocol):
    """Where a lake is, and a look at what is really there that does not use rayflume."""

    @property
    def path(self) -> str: ...
    @property
    def storage(self) -> dict[str, object]: ...
    def files(self) -> dict[str, bytes]:
        """Everything readers can see, by path relative to the lake."""
        ...

    def leftovers(self) -> list[str]:
        """Staged bytes that are at the store now."""
        ...


class LocalPlace:
    """A directory."""

    storage: dict[str, object] = {}  # noqa: RUF012 - no options

    def __init__(self, base: Path) -> None:
        self.base = base

    @property
    def path(self) -> str:
        return str(self.base)

    def files(self) -> dict[str, bytes]:
        found = (p for p in self.base.rglob("*") if p.is_file())
        paths = ((p.relative_to(self.base).as_posix(), p) for p in found)
        return {name: p.read_bytes() for name, p in paths if not name.startswith(f"{STAGING}/")}

    def leftovers(self) -> list[str]:
        return sorted(p.name for p in (self.base / STAGING).glob("*"))


class S3Place:
    """A new prefix of a bucket, reached through `endpoint`; looked at with `client`, directly."""

    def __init__(self, client: Any, bucket: str, storage: Mapping[str, object]) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = f"lake-{next(_lakes)}/"
        self.storage = {
            "retries": 0,
            "read_timeout": "1s",
            "call_timeout": "3s",
            **storage,
        }

    @property
    def path(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def files(self) -> dict[str, bytes]:
        found = {}
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
            for entry in page.get("Contents", []):
                body = self.client.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"]
                found[entry["Key"].removeprefix(self.prefix)] = body.read()
        return found

    def leftovers(self) -> list[str]:
        pages = self.client.get_paginator("list_multipart_uploads")
        return sorted(
            f"{upload['Key']} {upload['UploadId']}"
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix)
            for upload in page.get("Uploads", [])
        )


class LakeWorld:
    """A journal and a lake. `lane` is a new life of the sink; `errors` what it had to wait for."""

    def __init__(self, directory: Path, place: Place, **sink: object) -> None:
        self.directory = directory
        self.place = place
        self.clock = ManualClock(SystemClock().now_ms())
        self.options = {
            "path": place.path,
            "storage": place.storage,
            "format": {"type": "json", "schema": {"n": "int64"}},
            **sink,
        }
        self.prepared: dict[str, Manifest] = {}
        self.errors: list[str] = []
        self.pause = threading.Event()
        self._lives = itertools.count()
        self.sinks: list[ParquetSink] = []
        self.holders: list[str] = []
        self.channel = self._open_channel()

    def _open_channel(self) -> JournaledChannel:
        options = {"directory": "wal", "minimum_required_space": 0}
        around = context(self.directory, "wal", self.clock)
        channel: JournaledChannel = lookup("channel", "file")(**options).build(around)
        channel.open()
        prepare = channel.prepare

        def noted(manifest: Manifest, holder: str) -> None:
            prepare(manifest, holder)
            self.prepared[manifest.delivery] = manifest

        channel.prepare = noted  # type: ignore[method-assign]
        return channel

    def reopen(self) -> None:
        """As after the death of everything: nothing in memory is left."""
        self.channel.close()
        self.channel = self._open_channel()

    def put(self, start: int, stop: int, field: str = "", size: int = 1) -> None:
        """Rows `[start, stop)`; with `field`, a text of that size in a column that the lake may
        not know yet.
        """
        selector = lookup("selector", "replicating")().build(context(self.directory, "route"))
        route = Route("web", [], selector, {"wal": self.channel}, Metrics())
        more = b',"%s":"%s' % (field.encode(), b"x" * size) if field else b""
        end = b'%d"}' if field else b"}"
        bodies = [
            b'{"n":%d%s' % (n, more) + (end % n if field else end) for n in range(start, stop)
        ]
        extents = (Extent("s", start, stop, stop - start),)
        flow.ingest(EventBatch.from_events(bodies, (), extents), route)

    def sink(self) -> ParquetSink:
        around = context(self.directory, "lake", self.clock)
        sink: ParquetSink = lookup("sink", "parquet").model_validate(self.options).build(around)
        self.sinks.append(sink)
        return sink

    def lane(self, sink: ParquetSink) -> Lane:
        holder = f"lake/0/life{next(self._lives)}"
        self.holders.append(holder)
        return Lane("lake", holder, self.channel, sink, self._read, self.clock, Metrics())

    def _read(self, ref: RowRef) -> EventBatch:
        [record] = self.channel.fetch([ref])
        return decode_rows(record, ref)

    def fill(self, lane: Lane) -> Delivery:
        """Take until nothing waits, and close the delivery."""
        self.channel.drain(True)
        try:
            while not lane.closing:
                flow.drain(lane, 0)
        finally:
            self.channel.drain(False)
        return lane.closing[0]

    def run(self, sink: ParquetSink | None = None, seconds: float = 30.0) -> ParquetSink:
        """One life of the collector until nothing waits, however often the store fails. Returns
        its sink (building one for S3 costs half a second of a core, so it may be used again).
        """
        patience = Patience(seconds, self)
        sink = sink or self.sink()
        patience.call(sink.open)
        lane = self.lane(sink)
        for delivery in patience.call(lambda: list(flow.recover(lane))):
            patience.call(lambda delivery=delivery: flow.finish(lane, delivery))  # type: ignore[misc]
        self.deliver(lane, patience)
        return sink

    def deliver(self, lane: Lane, patience: Patience) -> None:
        """Deliver all that waits."""
        self.channel.drain(True)
        try:
            while patience.call(lambda: flow.drain(lane, 0)) is not Status.DRAINED:
                for delivery in list(lane.closing):
                    patience.call(lambda delivery=delivery: flow.finish(lane, delivery))  # type: ignore[misc]
                    lane.closing.remove(delivery)
        finally:
            self.channel.drain(False)

    def collect(self, sink: ParquetSink | None = None) -> None:
        """What the next start does first: recover and collect."""
        self.reopen()
        self.run(sink)

    def rows(self) -> collections.Counter[int]:
        """All rows that are visible in the lake. Raises for a file that is not whole."""
        seen: collections.Counter[int] = collections.Counter()
        for path, data in self.place.files().items():
            if path.endswith(".parquet"):
                seen.update(pq.read_table(io.BytesIO(data))["n"].to_pylist())
        return seen

    def judge(self, expected: Iterable[int]) -> None:
        """Every row once, nothing visible that no Prepared record names, nothing staged left."""
        assert self.rows() == collections.Counter(expected)
        named = {file.target for m in self.prepared.values() for file in m.files}
        visible = {p for p in self.place.files() if p.endswith((".parquet", ".dead"))}
        assert visible == named
        left = self.place.leftovers()
        assert left == [], f"staged bytes are left: {left}"
        state = self.channel.state()
        assert (state.waiting, state.leased, state.prepared) == (0, 0, 0)

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()
        self.channel.close()


class Patience:
    """Calls again after Retry, as the runner does, until its time is over."""

    def __init__(self, seconds: float, world: LakeWorld) -> None:
        self._world = world
        self._clock = SystemClock()
        self._until = self._clock.monotonic_ms() + seconds * 1000

    def call(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except Retry as error:
                self._world.errors.append(error.message)
                if self._clock.monotonic_ms() > self._until:
                    raise
                self._world.pause.wait(0.05)


def to_stage(lane: Lane, delivery: Delivery) -> None:
    """The first step of flow.finish alone."""
    assert delivery.writer is not None
    delivery.manifest = delivery.writer.stage()
    delivery.to(State.STAGED)


def to_prepare(lane: Lane, delivery: Delivery) -> None:
    """The steps of flow.finish up to the point of no return."""
    to_stage(lane, delivery)
    assert delivery.manifest is not None
    lane.channel.prepare(delivery.manifest, lane.holder)
    delivery.to(State.PREPARED)
