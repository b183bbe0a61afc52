"""Lake files made by hand, and a storage that dies: what the tests of compaction share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.interfaces import Published, Storage
from rayflume.maintenance.plan import is_data
from rayflume.naming import data_name, delivery_id

JOURNAL = "00000000000000aa"
CHANGES = ("stage", "finish", "publish", "discard", "create", "remove")
"""The calls after which the lake, or what is staged in it, may be another."""


class Killed(BaseException):
    """The process is dead: nothing in it may catch this."""


def table(start: int, stop: int, **more: str) -> pa.Table:
    """Rows `[start, stop)`: a number, a text, and further text columns."""
    numbers = range(start, stop)
    columns: dict[str, Any] = {"n": numbers, "text": [f"row {n}" for n in numbers]}
    return pa.table({**columns, **{name: [value] * len(numbers) for name, value in more.items()}})


def put(
    storage: Storage,
    partition: str,
    number: int,
    rows: pa.Table,
    ranges: Sequence[tuple[int, int]] = (),
    **settings: Any,
) -> str:
    """Publish the file of delivery `number` with these rows, which are journal rows `n` unless
    `ranges` says otherwise. Returns its path.
    """
    delivery = delivery_id(JOURNAL, 1, number)
    path = f"{partition}/{data_name(delivery, 0)}".removeprefix("/")
    numbers = rows["n"].to_pylist() if "n" in rows.schema.names else []
    spans = ranges or ((min(numbers), max(numbers) + 1),)
    metadata = {
        "rayflume.agent": "test",
        "rayflume.delivery": delivery,
        "rayflume.ranges": json.dumps(list(spans)),
        "rayflume.schema_version": str(settings.pop("version", 1)),
    }
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, **settings) as writer:
        writer.write_table(rows, row_group_size=1000)
        writer.add_key_value_metadata(metadata)
    writer_ = storage.stage(path, delivery)
    writer_.write(sink.getvalue())
    assert storage.publish([writer_.finish()]) == [Published.LANDED]
    return path


def fill(storage: Storage, files: int = 6, partition: str = "dt=1", rows: int = 10) -> list[str]:
    """So many files of so many rows in one partition."""
    return [
        put(storage, partition, number, table(number * rows, (number + 1) * rows))
        for number in range(files)
    ]


def data_files(storage: Storage) -> list[str]:
    return [path for path in storage.list("") if is_data(path)]


def rows_of(storage: Storage, path: str) -> pa.Table:
    with closing(storage.open(path)) as file:
        return pq.ParquetFile(file).read()


def seen(storage: Storage, column: str = "n") -> Counter[object]:
    """Every row that a reader of the lake sees."""
    found: Counter[object] = Counter()
    for path in data_files(storage):
        found.update(rows_of(storage, path)[column].to_pylist())
    return found


def once(rows: Iterable[object]) -> Counter[object]:
    return Counter(rows)


class Watched:
    """A storage that calls `at(call)` before and after each call that changes something: a test
    dies in it, looks, or lets another process be faster.
    """

    def __init__(self, inner: Storage, at: Callable[[str], None]) -> None:
        self._inner = inner
        self._at = at
        self._writers: list[Any] = []
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "stage":
            found = self._noting(found)
        return self.around(name, found) if name in CHANGES else found

    def _noting(self, stage: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> _WatchedWriter:
            self._writers.append(stage(*given))
            return _WatchedWriter(self._writers[-1], self)

        return noted

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any) -> Any:
            try:
                self._at(f"before {name}")
                result = call(*given)
                self._at(f"after {name}")
            except Killed:
                self._die()
                raise
            return result

        return watched

    def _die(self) -> None:
        """What the system does for a dead process: close its files."""
        self.dead = True
        for writer in self._writers:
            if (file := getattr(writer, "_file", None)) is not None:
                file.close()


class _WatchedWriter:
    def __init__(self, inner: Any, storage: Watched) -> None:
        self._inner = inner
        self._storage = storage

    def write(self, data: Any) -> int:
        return int(self._inner.write(data))

    def finish(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self._storage.around("finish", self._inner.finish)())

    def abort(self) -> None:
        if not self._storage.dead:
            self._inner.abort()


def watched(inner: Storage, at: Callable[[str], None]) -> Storage:
    return cast("Storage", Watched(inner, at))


class Die:
    """Kills at the call of this number. `calls`: the names of all calls so far."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls: list[str] = []

    def __call__(self, call: str) -> None:
        self.calls.append(call)
        if len(self.calls) > self.number:
            raise Killed(call)


def staged_of(storage: Storage, journal: str) -> list[str]:
    return sorted(delivery for delivery, _ in storage.staged(journal))
