"""A lake that a command works on, without an agent: opened by its path, compacted in this process.

The same on Ray is `compact_tasks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from rayflume.clock import Clock, SystemClock
from rayflume.component import Component, Context, lookup
from rayflume.errors import ConfigError
from rayflume.interfaces import Storage
from rayflume.lake import storage_for, storage_type
from rayflume.maintenance.compact import Compacted, Compactor, candidates
from rayflume.maintenance.footers import read_footers
from rayflume.maintenance.inspect import Report, inspect, no_parquet, worth_reading
from rayflume.maintenance.plan import CompactOptions
from rayflume.metrics import Metrics
from rayflume.table import Compacted as TableCompacted
from rayflume.table import TableOptions, compact_table, place_of, table_in

OnDone = Callable[[Compacted, int, int], None]
"""Called after each partition, with how many are done of how many."""


@dataclass(frozen=True)
class LakePlace:
    """Enough to open a lake in any process. `directory`: where relative paths start. `table`: the
    options of the table that a sink says it is; None: it says nothing.
    """

    path: str
    storage: dict[str, object] = field(default_factory=dict)
    directory: Path = field(default_factory=Path.cwd)
    table: Component | None = None

    def open(self) -> Storage:
        """The storage, not yet contacted. Raises ConfigError for wrong options, and for a local
        path that is not there.
        """
        context = self.context()
        if storage_type(self.path) == "local":
            place = context.path(self.path.removeprefix("file://"))
            if not place.is_dir():  # working on it would make it
                raise ConfigError(f"{place} is no directory: name the lake that a sink writes to")
        return storage_for(self.path, self.storage, context)

    def context(self) -> Context:
        return Context("lake", "lake", SystemClock(), Metrics(), self.directory)


def compacted_table(lake: LakePlace, target_bytes: int) -> TableCompacted | None:
    """Compact a lake that is a table, by its own means; None for a plain lake, which stays as it
    is. Blocks.

    Raises ConfigError for an Iceberg table whose catalog nobody named, and as Table does.
    """
    with closing(lake.open()) as storage:
        kind = table_in(storage)
    options = lake.table
    if options is None and kind == "delta":
        options = lookup("table", "delta")()
    if options is None and kind:
        raise ConfigError(
            f"{lake.path} is an Iceberg table, and nobody has said of which catalog: name the "
            "configuration of the sink that writes it, with --config"
        )
    if options is None:
        return None
    place = place_of(lake.path, lake.storage, lake.context())
    return compact_table(cast("TableOptions", options), place, target_bytes)


def compact(
    lake: LakePlace, options: CompactOptions, on_done: OnDone, clock: Clock | None = None
) -> list[Compacted]:
    """Compact one partition after the other in this process. Blocks.

    Raises ConfigError, and as the store does for all that is not of one partition.
    """
    with closing(lake.open()) as storage:
        compactor = begin(storage, options, clock or SystemClock())
        partitions = candidates(storage, options)
        done = []
        for partition in partitions:
            done.append(compactor.partition(partition))
            on_done(done[-1], len(done), len(partitions))
        end(compactor, options)
    return done


def begin(storage: Storage, options: CompactOptions, clock: Clock) -> Compactor:
    """What comes before the first partition: the store is asked if it can be written to, and what
    dead compactors have staged is discarded. Blocks.

    Raises ConfigError for a table: its log names the files, and would go on to do so.
    """
    if table_in(storage):
        raise ConfigError(
            "this lake is a table: its files are merged in commits of its own, without Ray, and "
            "there is no dry run of that"
        )
    compactor = Compactor(storage, options, clock)
    if not options.dry_run:
        storage.check()
        compactor.collect()
    return compactor


def end(compactor: Compactor, options: CompactOptions) -> None:
    """What comes after the last partition: old tombstones are deleted. Blocks."""
    if not options.dry_run:
        compactor.expire()


def report(lake: LakePlace) -> Report:
    """Read the footers of all files of a lake, some at a time in parallel. Blocks."""
    with closing(lake.open()) as storage:
        sizes = storage.sizes("")
        wanted = {path: sizes[path] for path in worth_reading(sizes)}
        found = inspect(read_footers(storage, wanted))
        found.others = no_parquet(sizes)
        return found
