from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

from rayflume.errors import JournalDamaged, OptionError, SinkParked
from rayflume.sinks._schema_log import SchemaLog
from rayflume.storage.memory import MemoryStorage, MemoryStore

AB = pa.schema([("a", pa.int64()), ("b", pa.struct([("x", pa.string())]))])


def test_racing_sinks_end_with_one_schema_that_has_every_column() -> None:
    store = MemoryStore()
    logs = [SchemaLog(MemoryStorage(store)) for _ in range(6)]
    for log in logs:
        log.open(None)

    def add(log: SchemaLog, number: int) -> None:
        for column in range(5):
            log.agree(pa.schema([(f"c{number}_{column}", pa.int64()), ("same", pa.string())]))

    threads = [threading.Thread(target=add, args=(log, n)) for n, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    fresh = SchemaLog(MemoryStorage(store))
    fresh.open(None)
    version, schema = fresh.current()
    assert schema is not None
    assert version == 30
    assert set(schema.names) == {"same", *(f"c{n}_{c}" for n in range(6) for c in range(5))}
    for number in range(2, version + 1):
        before, after = fresh.version(number - 1), fresh.version(number)
        assert before is not None
        assert after is not None
        assert list(after)[: len(before)] == list(before)


def test_structs_grow_and_types_stay() -> None:
    log = SchemaLog(MemoryStorage(MemoryStore()))
    log.open(AB)
    log.agree(pa.schema([("b", pa.struct([("y", pa.int64())])), ("a", pa.string())]))
    _, schema = log.current()
    assert schema == pa.schema(
        [("a", pa.int64()), ("b", pa.struct([("x", pa.string()), ("y", pa.int64())]))]
    )


def test_what_no_value_was_seen_of_is_no_column() -> None:
    log = SchemaLog(MemoryStorage(MemoryStore()))
    log.agree(pa.schema([("n", pa.null()), ("l", pa.list_(pa.null()))]))
    assert log.current() == (0, None)


def test_a_conflict_inside_a_struct_is_named() -> None:
    storage = MemoryStorage(MemoryStore())
    SchemaLog(storage).open(AB)
    with pytest.raises(OptionError, match=r"'b\.x' is declared as int64, .* it is string"):
        SchemaLog(storage).open(pa.schema([("b", pa.struct([("x", pa.int64())]))]))


def test_s2_a_flood_of_names_parks_the_sink() -> None:
    log = SchemaLog(MemoryStorage(MemoryStore()))
    with pytest.raises(SinkParked, match="more than 2,000 columns"):
        log.agree(pa.schema([(f"c{n}", pa.int64()) for n in range(2001)]))
    assert log.current() == (0, None)


def test_a_damaged_schema_file_is_a_clear_error(tmp_path: Path) -> None:
    storage = MemoryStorage(MemoryStore())
    storage.create("_rayflume/schema/1.json", b"{")
    with pytest.raises(JournalDamaged, match=r"schema/1\.json of the lake cannot be read"):
        SchemaLog(storage).open(None)
