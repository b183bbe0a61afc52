"""A table whose log tells which deliveries it has: how one lands in it exactly once.

Look whether it is there, commit it on top of what was looked at, and after any error look again:
the log is the only truth. A conflict means that others were faster, so the look is due again, too;
after ATTEMPTS of them the lane waits, with jitter, and asks anew. The formats say how to look and
how to commit.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import ClassVar, Generic, TypeVar

import pyarrow as pa

from rayflume.errors import PublishUnknown, StorageUnavailable
from rayflume.table import Addition, TablePlace, described
from rayflume.tables._columns import difference

ATTEMPTS = 5
"""Commits that are tried at once before the lane waits, with jitter, and asks again."""

State = TypeVar("State")
"""What the library of the format knows of one version of a table; never false."""


class LogTable(ABC, Generic[State]):
    """A Table but for `compact` and `close`. Thread-safe.

    `name`: the table in sentences. `secrets`: what must not be shown of an error, by its name.
    """

    conflicts: ClassVar[tuple[type[Exception], ...]]
    """What the library raises when a commit is refused because others were faster."""

    def __init__(self, place: TablePlace, name: str, secrets: Mapping[str, str]) -> None:
        self._place = place
        self._name = name
        self._secrets = secrets
        self._lock = threading.RLock()

    def open(self, columns: pa.Schema) -> pa.Schema:
        """The table's columns without those of its partitions (B1)."""
        with self._lock:
            table = self._newest()
            if table is None:
                return pa.schema([])
            self._check(table)
            have = self._columns(table)
            difference(have, self._kept(columns), self._name)
            return pa.schema([f for f in have if f.name not in self._place.partitions])

    def committed(self, delivery: str) -> bool:
        """Whether a delivery is in the table (B2)."""
        with self._lock:
            table = self._newest()
            return table is not None and self._has(table, delivery)

    def commit(self, addition: Addition) -> None:
        """Add a delivery (B3). Raises PublishUnknown after ATTEMPTS conflicts or lost answers."""
        again: tuple[type[Exception], ...] = (*self.conflicts, StorageUnavailable)
        with self._lock:
            last: Exception | None = None
            for _attempt in range(ATTEMPTS):
                table = self._newest() or self._create(addition.columns)
                if table is None:
                    continue
                self._check(table)
                if self._has(table, addition.delivery):
                    return
                try:
                    with self._translated("commit to"):
                        if self._add(table, addition):
                            return
                except again as error:
                    last = error
            raise PublishUnknown(
                f"{self._name}: the delivery {addition.delivery} is not in it yet "
                f"({described(last, self._secrets) if last else 'others made it meanwhile'})"
            ) from last

    # -- what differs by format ------------------------------------------------------------------

    @abstractmethod
    def _newest(self) -> State | None:
        """The newest version; None when there is no table. Raises StorageUnavailable."""

    @abstractmethod
    def _create(self, columns: pa.Schema) -> State | None:
        """The new table, or that of who was faster."""

    @abstractmethod
    def _check(self, table: State) -> None:
        """Raises TableRefused where the table has other partitions, or needs what a sink lacks."""

    @abstractmethod
    def _columns(self, table: State) -> pa.Schema:
        """All columns of the table, as Arrow has them."""

    @abstractmethod
    def _kept(self, columns: pa.Schema) -> pa.Schema:
        """The columns with the types in which the format keeps them."""

    @abstractmethod
    def _has(self, table: State, delivery: str) -> bool:
        """Whether a delivery is in the table. TableRefused when the table cannot tell any more."""

    @abstractmethod
    def _add(self, table: State, addition: Addition) -> bool:
        """Commit a delivery on top of `table`; False when that first had to become a newer version,
        which others may have come before: look again.
        """

    @abstractmethod
    def _translated(self, doing: str) -> AbstractContextManager[None]:
        """The library's errors as those that say who acts; `conflicts` stay what they are."""
