"""The sink `file_roll`: names, and what it refuses."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from sinks_support import DELIVERY, T0, context, rows

from rayflume.naming import delivery_of
from rayflume.sinks.file_roll import FileRoll
from rayflume.storage.memory import MemoryStorage, MemoryStore


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, f"{T0}-{DELIVERY}-0"),
        ({"prefix": "web-", "extension": "log"}, f"web-{T0}-{DELIVERY}-0.log"),
        ({"path_manager": "rolltime"}, f"20251122140000-{DELIVERY}-0"),
        (
            {"path_manager": "rolltime", "prefix": "p", "time_zone": "Asia/Tokyo"},
            f"p20251122230000-{DELIVERY}-0",
        ),
    ],
)
def test_names(tmp_path: Path, options: dict[str, Any], name: str) -> None:
    store = MemoryStore()
    sink = FileRoll(directory="x", **options).over(MemoryStorage(store), context(tmp_path))
    writer = sink.begin(DELIVERY)
    writer.write(rows([b"a", b"b"]), 0)
    assert sink.publish(writer.stage()) == []
    assert store.files == {name: b"a\nb\n"}
    assert delivery_of(name) == DELIVERY


def test_files_end_by_rows_and_bytes_too(tmp_path: Path) -> None:
    store = MemoryStore()
    part = FileRoll.model_validate({"directory": "x", "roll": {"rows": 2, "age": "30s"}})
    sink = part.over(MemoryStorage(store), context(tmp_path))
    assert sink.limits().age_ms == 30_000
    writer = sink.begin(DELIVERY)
    writer.write(rows([b"a", b"b", b"c"]), 0)
    assert [file.rows for file in writer.stage().files] == [2, 1]


def test_without_events_there_is_no_file(tmp_path: Path) -> None:
    sink = FileRoll(directory="out").build(context(tmp_path))
    sink.open()
    assert sink.publish(sink.begin(DELIVERY).stage()) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_rayflume"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"directory": "s3://bucket/x"}, "the sink `hdfs` writes to other storages"),
        ({"prefix": "a/b"}, "without `/`"),
        ({"extension": "..\\x"}, "without `/`"),
        ({"extension": "x\n"}, "without `/`"),
        ({"prefix": "_rayflume"}, "without `/`"),
        ({"prefix": "x" * 101}, "100 bytes"),
        ({"path_manager": "other"}, "rolltime"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        FileRoll.model_validate({"directory": "out", **options})


def test_check_says_what_this_host_lacks(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "not a directory" in FileRoll(directory="file/x").check(context(tmp_path))[0]
    assert FileRoll(directory=os.fspath(tmp_path / "new")).check(context(tmp_path)) == []
