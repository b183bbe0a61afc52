"""The one way into a table's log, with a log that is scripted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from fakes import context

from rayflume.errors import PublishUnknown, StorageUnavailable, TableRefused
from rayflume.table import Addition, place_of
from rayflume.tables._log_table import ATTEMPTS, LogTable

DELIVERY = "0123456789abcdef-1-1"
COLUMNS = pa.schema([("n", pa.int64())])
ADDITION = Addition(DELIVERY, COLUMNS, (), 0)
HAVE = pa.schema([("n", pa.int64()), ("dt", pa.string())])


class Conflict(Exception):
    """Others were faster."""


class Scripted(LogTable[list[str]]):
    """A table whose log is a list. `script`: what becomes of each commit, in order: `add` lands,
    `grow` makes a newer version first, an error is raised, and `lost` lands with a lost answer.
    """

    conflicts = (Conflict,)

    def __init__(self, directory: Path, *script: str | Exception, exists: bool = True) -> None:
        place = place_of(str(directory), {}, context(directory), ("dt",))
        super().__init__(place, "the table", {"key": "s3cr3t"})
        self.script = list(script)
        self.log = ["begin"] if exists else []
        self.looks = 0

    def _newest(self) -> list[str] | None:
        self.looks += 1
        return self.log or None

    def _create(self, columns: pa.Schema) -> list[str] | None:
        step = self.script.pop(0)
        self.log += ["begin"] * (step == "create")
        return self.log or None

    def _check(self, table: list[str]) -> None:
        if "strange" in table:
            raise TableRefused("the table has other partitions")

    def _columns(self, table: list[str]) -> pa.Schema:
        return HAVE

    def _kept(self, columns: pa.Schema) -> pa.Schema:
        return columns

    def _has(self, table: list[str], delivery: str) -> bool:
        return delivery in table

    def _add(self, table: list[str], addition: Addition) -> bool:
        step = self.script.pop(0)
        if step == "grow":
            return False
        if isinstance(step, Exception):
            raise step
        self.log.append(addition.delivery)
        if step == "lost":
            raise StorageUnavailable("no answer")
        return True

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    "script",
    [
        ("add",),
        ("grow", "add"),
        (Conflict(), "add"),
        (StorageUnavailable("no answer"), "add"),
        ("lost",),
        (Conflict(), "grow", "lost"),
    ],
)
def test_a_delivery_is_in_the_log_once(tmp_path: Path, script: tuple[str | Exception, ...]) -> None:
    table = Scripted(tmp_path, *script)
    table.commit(ADDITION)
    table.commit(ADDITION)
    assert table.log == ["begin", DELIVERY]
    assert table.script == []
    assert table.committed(DELIVERY)


def test_after_many_conflicts_the_outcome_is_unknown_and_no_secret_is_told(tmp_path: Path) -> None:
    table = Scripted(tmp_path, *[Conflict("refused with s3cr3t")] * ATTEMPTS)
    with pytest.raises(PublishUnknown) as caught:
        table.commit(ADDITION)
    assert "refused with ***" in str(caught.value)
    assert (table.looks, table.script, table.log) == (ATTEMPTS, [], ["begin"])


def test_a_table_that_is_missing_is_made_and_looked_at_like_any(tmp_path: Path) -> None:
    table = Scripted(tmp_path, "others make it", "create", "add", exists=False)
    assert table.open(COLUMNS) == pa.schema([])
    assert not table.committed(DELIVERY)
    table.commit(ADDITION)
    assert table.log == ["begin", DELIVERY]


def test_a_table_that_is_refused_gets_nothing(tmp_path: Path) -> None:
    table = Scripted(tmp_path)
    table.log.append("strange")
    with pytest.raises(TableRefused, match="partitions"):
        table.commit(ADDITION)
    with pytest.raises(TableRefused, match="partitions"):
        table.open(COLUMNS)
    assert table.log == ["begin", "strange"]


def test_open_tells_the_columns_without_the_partitions(tmp_path: Path) -> None:
    assert Scripted(tmp_path).open(COLUMNS) == COLUMNS
