"""A lake that is a table, two sinks that publish into it, others who write there, and faults at
every call to its log or catalog.

    world = DeltaWorld(tmp_path, seed)
    world.run(deliveries=3)     # until all is published, by whoever, sometimes twice
    world.judge()               # each row once, each file referenced once, nothing deleted
"""

from __future__ import annotations

import collections
import json
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Schema
from deltalake.table import TableAlterer
from deltalake.transaction import AddAction
from fakes import context
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.types import LongType

from rayflume.batch import EventBatch, Extent
from rayflume.component import lookup
from rayflume.errors import Retry
from rayflume.interfaces import Manifest
from rayflume.sinks.parquet import ParquetSink

JOURNAL = "00aa11bb22cc33dd"
KINDS = ("before", "after", "foreign", "columns", "twin", "outage", "refused", "none")
"""Not landed; landed but lost; others append; others add a column; another publishes the same
delivery; the store is down for a while; a conflict is told though it landed; no fault.
"""


class Faults:
    """Which fault hits the next call, from a seed. `kinds`: those that may come."""

    def __init__(self, seed: int, kinds: Sequence[str] = KINDS) -> None:
        self.random = random.Random(seed)
        self.kinds = kinds
        self.down = 0
        self.on = True
        self.met: collections.Counter[str] = collections.Counter()

    def reading(self) -> None:
        """Before a call that changes nothing."""
        if self.on and self.down > 0:
            self.down -= 1
            raise OSError("503 the catalog is down")

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """What others do in the middle of a call meets no faults."""
        before, self.on = self.on, False
        try:
            yield
        finally:
            self.on = before

    def writing(self, world: TableWorld, call: Callable[[], Any], refused: Exception) -> Any:
        """One call that may land, under a fault."""
        self.reading()
        if not self.on:
            return call()
        kind = self.random.choice(self.kinds)
        self.met[kind] += 1
        if kind == "outage":
            self.down = self.random.randint(1, 30)
        if kind in ("before", "outage"):
            raise OSError("503 before the work")
        with self.quiet():
            if kind == "foreign":
                world.foreign_append()
            elif kind == "columns":
                world.foreign_column()
            elif kind == "twin":
                world.twin()
        found = call()
        if kind == "after":
            raise OSError("the answer was lost")
        if kind == "refused":
            raise refused
        return found


class TableWorld(ABC):
    """One table. `kind`: its type."""

    kind: ClassVar[str]

    def __init__(self, base: Path, faults: Faults) -> None:
        self.base = base
        self.lake = base / "lake"
        self.faults = faults
        self.foreigners = 0
        self.manifests: list[Manifest] = []
        self.rows: collections.Counter[int] = collections.Counter()
        self.pending: Manifest | None = None
        self.compactions = 0
        with faults.quiet():
            self.sinks = [self.sink() for _ in range(2)]

    @abstractmethod
    def table_option(self) -> dict[str, object]: ...
    @abstractmethod
    def foreign_append(self) -> None: ...
    @abstractmethod
    def foreign_column(self) -> None: ...
    @abstractmethod
    def read(self) -> tuple[list[str], pa.Table]:
        """The files that the table references, each as often as it does, and all rows."""
        ...

    def sink(self) -> ParquetSink:
        options = {
            "path": str(self.lake),
            "format": {"type": "json"},
            "partition_by": ["k=%{k}"],
            "table": self.table_option(),
        }
        part = lookup("sink", "parquet").model_validate(options)
        sink: ParquetSink = part.build(context(self.base, "lake"))
        sink.open()
        return sink

    def stage(self, number: int, count: int = 4) -> Manifest:
        """A delivery of rows that no other has; every other one brings a new column."""
        first = number * 1000
        ids = range(first, first + count)
        more = {f"c{number}": {"x": number}} if number % 2 else {}
        bodies = [json.dumps({"n": n, **more}).encode() for n in ids]
        headers = [{"k": "ab/"[n % 3]} for n in ids]
        batch = EventBatch.from_events(bodies, headers, (Extent("s", first, first + count, count),))
        writer = self.sinks[number % 2].begin(f"{JOURNAL}-1-{number}")
        writer.write(batch, first)
        manifest = writer.stage()
        self.manifests.append(manifest)
        self.rows.update(ids)
        return manifest

    def twin(self) -> None:
        """Another process publishes what is being published."""
        if self.pending is not None:
            assert self.sinks[1].publish(self.pending) == []

    def compact(self) -> None:
        table = self.sinks[0]._table
        assert table is not None
        with self.faults.quiet():
            table._table.compact(1 << 30)
        self.compactions += 1

    def run(self, deliveries: int) -> None:
        with self.faults.quiet():
            waiting = [self.stage(number) for number in range(1, deliveries + 1)]
        calls = 0
        while waiting:
            calls += 1
            assert calls < 500, "it never gets through"
            self.pending = self.faults.random.choice(waiting)
            try:
                assert self.sinks[0].publish(self.pending) == []
            except Retry:
                if self.faults.random.random() < 0.3:
                    self.sinks.reverse()
                continue
            if self.faults.random.random() < 0.7:  # else it is asked again: Committed was lost
                waiting.remove(self.pending)
            if self.faults.random.random() < 0.2:
                self.compact()

    def judge(self) -> None:
        """Each row once; each file referenced once, unless it was merged; every file is there."""
        with self.faults.quiet():
            files, table = self.read()
            assert collections.Counter(table["n"].to_pylist()) == self.rows
            assert len(files) == len(set(files))
            targets = {f.target for m in self.manifests for f in m.files if not f.dead}
            named = [name for name in files if name in targets]
            assert self.compactions or sorted(named) == sorted(targets)
            assert all((self.lake / target).is_file() for target in targets)
            for manifest in self.manifests:
                assert self.sinks[0].publish(manifest) == []
            assert self.read()[1].num_rows == table.num_rows

    def foreign_file(self) -> Path:
        """A file of other writers, with one row."""
        self.foreigners += 1
        row = -self.foreigners
        self.rows[row] += 1
        path = self.lake / f"k=f/foreign-{self.foreigners}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"n": pa.array([row], pa.int64())}), path)
        return path

    def close(self) -> None:
        with self.faults.quiet():
            for sink in self.sinks:
                sink.close()


class DeltaWorld(TableWorld):
    kind = "delta"

    def __init__(self, base: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
        world = self

        class Alterer(TableAlterer):
            def add_columns(self, *args: Any, **more: Any) -> None:
                refused = OSError("lost")
                call = super().add_columns
                faults.writing(world, lambda: call(*args, **more), refused)

        class Faulty(DeltaTable):
            def __init__(self, *args: Any, **more: Any) -> None:
                faults.reading()
                super().__init__(*args, **more)

            def update_incremental(self) -> None:
                faults.reading()
                super().update_incremental()

            @property
            def alter(self) -> TableAlterer:
                return Alterer(self)

            def create_write_transaction(self, *args: Any, **more: Any) -> None:
                call = super().create_write_transaction
                faults.writing(world, lambda: call(*args, **more), OSError("lost"))

            @classmethod
            def create(cls, *args: Any, **more: Any) -> DeltaTable:
                return faults.writing(  # type: ignore[no-any-return]
                    world, lambda: DeltaTable.create(*args, **more), OSError("lost")
                )

        monkeypatch.setattr("rayflume.tables.delta.DeltaTable", Faulty)
        super().__init__(base, faults)

    def table_option(self) -> dict[str, object]:
        return {"type": "delta"}

    def _table(self) -> DeltaTable | None:
        return DeltaTable(str(self.lake)) if DeltaTable.is_deltatable(str(self.lake)) else None

    def foreign_append(self) -> None:
        table = self._table()
        if table is not None:
            path = self.foreign_file()
            name = path.relative_to(self.lake).as_posix()
            add = AddAction(name, path.stat().st_size, {"k": "f"}, 1, True, '{"numRecords": 1}')
            table.create_write_transaction([add], "append", table.schema(), ["k"])

    def foreign_column(self) -> None:
        table = self._table()
        if table is not None:
            self.foreigners += 1
            new = pa.schema([(f"foreign{self.foreigners}", pa.int64())])
            table.alter.add_columns(list(Schema.from_arrow(new).fields))

    def read(self) -> tuple[list[str], pa.Table]:
        table = DeltaTable(str(self.lake))
        names = [Path(uri).relative_to(self.lake).as_posix() for uri in table.file_uris()]
        return names, table.to_pyarrow_table()


class IcebergWorld(TableWorld):
    kind = "iceberg"

    def __init__(self, base: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
        world = self

        class Faulty(SqlCatalog):
            def load_table(self, identifier: Any) -> Any:
                faults.reading()
                return super().load_table(identifier)

            def commit_table(self, table: Any, requirements: Any, updates: Any) -> Any:
                def call() -> Any:
                    with faults.quiet():  # it loads the table itself
                        return SqlCatalog.commit_table(self, table, requirements, updates)

                return faults.writing(world, call, CommitFailedException("409 after a retry"))

        uri = f"sqlite:///{base}/catalog.db"
        self.catalog = SqlCatalog("default", uri=uri)
        monkeypatch.setattr(
            "rayflume.tables.iceberg.load_catalog", lambda name, **more: Faulty(name, **more)
        )
        self._uri = uri
        super().__init__(base, faults)

    def table_option(self) -> dict[str, object]:
        return {"type": "iceberg", "name": "web.rows", "catalog": {"type": "sql", "uri": self._uri}}

    def foreign_append(self) -> None:
        if self.catalog.table_exists("web.rows"):
            table = self.catalog.load_table("web.rows")
            table.append(self._foreign_rows())

    def _foreign_rows(self) -> pa.Table:
        self.foreigners += 1
        self.rows[-self.foreigners] += 1
        values = {"n": pa.array([-self.foreigners], pa.int64()), "k": pa.array(["f"])}
        return pa.table(values)

    def foreign_column(self) -> None:
        if self.catalog.table_exists("web.rows"):
            self.foreigners += 1
            with self.catalog.load_table("web.rows").update_schema() as update:
                update.add_column(f"foreign{self.foreigners}", LongType())

    def read(self) -> tuple[list[str], pa.Table]:
        table = self.catalog.load_table("web.rows")
        start = f"file://{self.lake}/"
        files = [task.file.file_path.removeprefix(start) for task in table.scan().plan_files()]
        return files, table.scan().to_arrow()

    def close(self) -> None:
        super().close()
        self.catalog.close()


def publish_from_two(sinks: Sequence[ParquetSink], count: int) -> list[Manifest]:
    """`count` deliveries of one row each, which both sinks publish, each in an order of its own."""
    manifests = []
    for n in range(1, count + 1):
        extents = (Extent("s", n, n + 1, 1),)
        batch = EventBatch.from_events([b'{"n":%d}' % n], [{"k": "ab/"[n % 3]}], extents)
        writer = sinks[n % 2].begin(f"{JOURNAL}-1-{n}")
        writer.write(batch, n)
        manifests.append(writer.stage())
    errors: list[BaseException] = []

    def work(sink: ParquetSink, mine: list[Manifest]) -> None:
        try:
            for manifest in mine:
                again(lambda manifest=manifest: sink.publish(manifest))  # type: ignore[misc]
        except BaseException as error:
            errors.append(error)

    orders = [manifests, manifests[::-1]]
    pairs = zip(sinks, orders, strict=True)
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    return manifests


def again(step: Callable[[], object]) -> None:
    """Asked until nobody else is faster."""
    for _ in range(200):
        try:
            assert not step()
            return
        except Retry:
            continue
    raise AssertionError("it never gets through")
