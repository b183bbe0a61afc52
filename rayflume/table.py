"""A table over a lake, Delta or Iceberg: what the Parquet sink asks of its format.

The files of a delivery are written and published as in a plain lake; readers of the table see none
of them before the table's commit names them all at once. That commit is the last step of
publishing, and it can be asked for again by anyone: the table itself keeps which deliveries it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.component import Component, Context
from rayflume.errors import TableRefused
from rayflume.interfaces import Storage
from rayflume.lake import storage_options, storage_type
from rayflume.naming import NULL_PARTITION

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class TablePlace:
    """Where the files of a table are. `location`: an absolute directory, or the URL of the lake,
    without a closing slash. `options`: those of its storage. `partitions`: names, outermost first.
    """

    storage: str
    location: str
    options: Component
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TableFile:
    """A data file that is visible in the lake. `path` is relative to the lake, `size` in bytes."""

    path: str
    size: int
    footer: pq.FileMetaData


@dataclass(frozen=True, slots=True)
class Addition:
    """What one delivery adds. `columns`: those the table must have, without its partitions.
    `now_ms`: the time, in epoch milliseconds.
    """

    delivery: str
    columns: pa.Schema
    files: Sequence[TableFile]
    now_ms: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did: how many files were replaced, and by how many."""

    removed: int = 0
    added: int = 0


class Table(Protocol):
    """A table in one lake. Thread-safe. All methods block.

    B1  `open` looks whether the table, if there is one, can have the columns and has the
        partitions; it returns the columns that the table has, without those of its partitions.
        TableRefused if not.
    B2  `committed` tells whether a delivery is in the table, also when its files have been
        compacted away since. TableRefused when the table cannot tell any more.
    B3  `commit` adds all files of a delivery in one transaction; a delivery that is in the table
        already, whoever put it there, is success. Columns are added where they lack. Retry:
        the outcome is unknown or others were faster; ask again.
    B4  Nothing is ever deleted: neither after a refusal nor after an unknown outcome.
    B5  `compact` replaces small files in transactions of their own, with the format's means. A
        reader sees each row once at every moment. Retry: others wrote there meanwhile.
    """

    def open(self, columns: pa.Schema) -> pa.Schema: ...
    def committed(self, delivery: str) -> bool: ...
    def commit(self, addition: Addition) -> None: ...
    def compact(self, target_bytes: int) -> Compacted: ...
    def close(self) -> None: ...


class TableOptions(Protocol):
    """The options of a table format: a Component that `over` a place becomes a Table."""

    def over(self, place: TablePlace) -> Table:
        """Contacts nothing yet. Raises OptionError where the place cannot have such a table."""
        ...


def place_of(
    path: str, storage: Mapping[str, object], context: Context, partitions: Sequence[str] = ()
) -> TablePlace:
    """The place of the table in the lake that `path` and `storage` of a sink name.

    Raises OptionError and ConfigError as `lake.storage_options` does.
    """
    options, kind = storage_options(path, storage), storage_type(path)
    location = path.rstrip("/")
    if kind == "local":
        location = str(context.path(path.removeprefix("file://")))
    if kind == "s3":
        location = re.sub("^[^:]+", "s3", location)
    return TablePlace(kind, location, options, tuple(partitions))


def partition_values(path: str, names: Sequence[str]) -> dict[str, str | None]:
    """The values of the table's partition columns, read from the directories of a data file.

    Raises TableRefused for a file that lies elsewhere.
    """
    found = [segment.partition("=") for segment in path.split("/")[:-1]]
    if [name for name, equals, _ in found if equals] != list(names) or len(found) != len(names):
        raise TableRefused(
            f"{path} was written with another `partition_by` than {', '.join(names) or 'none'}: "
            "set back what it was until the delivery is published"
        )
    return {name: None if text == NULL_PARTITION else unquote(text) for name, _, text in found}


def table_in(storage: Storage) -> str:
    """The type of the table whose log is in a lake, "" for a plain lake. Blocks.

    Whoever merges or removes files of a plain lake asks first: in a table that is for its log to
    say. An Iceberg table keeps its log elsewhere if its properties say so, and is not seen then.
    """
    if any(path.endswith(".json") for path in storage.list("_delta_log")):
        return "delta"
    if any(path.endswith(".metadata.json") for path in storage.list("metadata")):
        return "iceberg"
    return ""


def compact_table(table: TableOptions, place: TablePlace, target_bytes: int) -> Compacted:
    """Merge the small files of a table up to files of about `target_bytes`. Blocks.

    The replaced files stay at the store until the table's own retention is over and somebody runs
    the format's clean-up (Delta: VACUUM; Iceberg: expire_snapshots). Raises as Table does.
    """
    opened = table.over(place)
    try:
        return opened.compact(target_bytes)
    finally:
        opened.close()


def described(error: BaseException, secrets: Mapping[str, str] | None = None) -> str:
    """An error of a client library on one line, without colours and without secrets."""
    text = _COLOUR.sub("", str(error))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for secret in (secrets or {}).values():
        if len(secret) > 3:
            text = text.replace(secret, "***")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
