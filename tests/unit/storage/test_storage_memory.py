from __future__ import annotations

from collections.abc import Callable

import pytest

from rayflume.component import Context
from rayflume.errors import StorageDenied, StorageUnavailable
from rayflume.interfaces import Json, Published
from rayflume.lake import storage_for
from rayflume.naming import data_name
from rayflume.storage.memory import Memory, MemoryStorage, MemoryStore, Verb, store

DELIVERY = "00000000000000aa-1-7"
TARGETS = [data_name(DELIVERY, n) for n in range(3)]


def staged(storage: MemoryStorage, n: int = 0) -> dict[str, Json]:
    writer = storage.stage(TARGETS[n], DELIVERY)
    writer.write(b"rows")
    return writer.finish()


@pytest.fixture
def lake() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def storage(lake: MemoryStore) -> MemoryStorage:
    return MemoryStorage(lake)


def test_a_lake_is_shared_by_its_name(context: Context) -> None:
    storage_for("memory://shared", {}, context).create("a", b"1")
    assert storage_for("memory://shared", {}, context).read("a") == b"1"
    assert store("shared").files == {"a": b"1"}
    assert store("of-its-own").files == {}


def test_path_needs_a_name() -> None:
    for wrong in ("memory://", "memory", "memory://a b"):
        with pytest.raises(ValueError, match="write memory:// and a name"):
            Memory(path=wrong)


def test_a_fault_before_does_nothing(lake: MemoryStore, storage: MemoryStorage) -> None:
    handle = staged(storage)
    lake.faults.fail("publish", times=2)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="scripted fault of publish"):
            storage.publish([handle])
    assert lake.files == {}
    assert storage.publish([handle]) == [Published.LANDED]


def test_a_fault_after_has_done_the_work(lake: MemoryStore, storage: MemoryStorage) -> None:
    handles = [staged(storage, n) for n in range(3)]
    lake.faults.fail("publish", after=True)
    with pytest.raises(StorageUnavailable):
        storage.publish(handles)
    assert list(lake.files) == TARGETS[:1]
    assert storage.publish(handles) == [Published.LANDED] * 3
    assert list(lake.files) == TARGETS


def test_every_verb_can_fail_with_any_error(lake: MemoryStore, storage: MemoryStorage) -> None:
    writer = storage.stage(TARGETS[0], DELIVERY)
    calls: dict[Verb, Callable[[], object]] = {
        "check": storage.check,
        "stage": lambda: storage.stage(TARGETS[1], DELIVERY),
        "write": lambda: writer.write(b"x"),
        "finish": writer.finish,
        "discard": lambda: storage.discard({"upload": "none"}),
        "staged": lambda: storage.staged(""),
        "create": lambda: storage.create("a", b""),
        "read": lambda: storage.read("a"),
        "list": lambda: storage.list(""),
    }
    for verb, call in calls.items():
        lake.faults.fail(verb, error=StorageDenied(f"no {verb}"))
        with pytest.raises(StorageDenied, match=f"no {verb}"):
            call()
    lake.faults.fail("list", times=100)
    lake.faults.clear()
    assert storage.list("") == []


def test_an_upload_can_be_lost(lake: MemoryStore, storage: MemoryStorage) -> None:
    handles = [staged(storage, n) for n in range(2)]
    lake.lose(handles[0])
    assert storage.publish(handles) == [Published.LOST, Published.LANDED]


def test_an_aborted_writer_cannot_finish(storage: MemoryStorage) -> None:
    writer = storage.stage(TARGETS[0], DELIVERY)
    writer.abort()
    with pytest.raises(StorageUnavailable, match="given up"):
        writer.finish()
