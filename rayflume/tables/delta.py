"""A lake as a Delta table, written with delta-rs; no Spark, no catalog.

A delivery is one transaction of adds. In the same transaction it marks the slot that its id falls
into (`_marks`), as an application transaction, and notes what it found there. delta-rs refuses a
commit when another one since the snapshot it was made from has the same application id; so of two
publishers of one delivery only one can land, and the other then reads that it has.

After any error the table is looked at again: whether the mark is there is the only truth. A commit
that was slow and lands later can do no harm, for a log entry is a file that is only ever created if
absent, and the second one meets the first one's mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import (
    CommitFailedError,
    DeltaError,
    DeltaProtocolError,
    SchemaMismatchError,
    TableNotFoundError,
)
from deltalake.transaction import AddAction

from rayflume.component import Component, component
from rayflume.errors import OptionError, StorageUnavailable, TableRefused
from rayflume.naming import parse_delivery
from rayflume.table import Addition, Compacted, TableFile, TablePlace, described, partition_values
from rayflume.tables._columns import check_partitions, check_required, difference, plain, widest
from rayflume.tables._log_table import ATTEMPTS, LogTable
from rayflume.tables._marks import BEFORE, NOTE, READ, Slot, Verdict
from rayflume.tables._stats import delta_stats
from rayflume.tables._stores import delta_options, refuse, secrets_in

_RECENT = 1000
"""Commits that are read before all of the history is."""
_KERBEROS = "let the agent have a ticket cache, named by KRB5CCNAME"
_INSTEAD = {
    "profile": "set AWS_PROFILE for the agent",
    "ca_file": "install the certificate's authority on the host",
    "hadoop_conf": "set HADOOP_CONF_DIR for the agent",
    "kerberos_principal": _KERBEROS,
    "kerberos_keytab": _KERBEROS,
    "kerberos_cache": _KERBEROS,
}


@component
class Delta(Component):
    """The lake is a Delta table: each delivery is one commit, exactly once.

    On a local disk, on S3, and on HDFS, where delta-rs has a client of its own: it finds name
    services and the rest in HADOOP_CONF_DIR, and Kerberos tickets in the system's cache.

    The table is made with the first delivery, or was there before with the same partitions. Each
    name in `partition_by` is a column of texts. Decimals have 38 digits in the table, because
    Delta's columns keep their type, and files may have fewer.

    Replaced files stay until VACUUM; it leaves `_rayflume/` alone. The log keeps at most 512 small
    marks per journal, whatever its age; do not set `delta.setTransactionRetentionDuration`.
    """

    def over(self, place: TablePlace) -> DeltaLake:
        """Contacts nothing. Raises OptionError for a storage that cannot have such a table."""
        if place.storage not in ("local", "s3", "hdfs"):
            raise OptionError(
                f"table: a Delta table cannot be on {place.storage!r}; write to a local directory, "
                "to S3 or to HDFS, or leave `table` out"
            )
        refuse(place.options, _INSTEAD)
        return DeltaLake(place)


class DeltaLake(LogTable[DeltaTable]):
    """A Table. Thread-safe."""

    conflicts = (CommitFailedError, TableNotFoundError)

    def __init__(self, place: TablePlace) -> None:
        super().__init__(place, f"the Delta table {place.location}", secrets_in(place.options))
        self._options = delta_options(place.options) if place.storage == "s3" else None
        self._table: DeltaTable | None = None

    def compact(self, target_bytes: int) -> Compacted:
        """With delta-rs's own optimize. It never disturbs appends, nor is it disturbed by them."""
        with self._lock:
            table = self._newest()
            if table is None:
                raise TableRefused(f"{self._name} does not exist: there is nothing to compact")
            try:
                with self._translated("compact"):
                    done = table.optimize.compact(target_size=target_bytes)
            except self.conflicts as error:
                raise StorageUnavailable(
                    f"{self._name}: others rewrote files while it was compacted; run it again"
                ) from error
            finally:
                self._table = None
        return Compacted(int(done["numFilesRemoved"]), int(done["numFilesAdded"]))

    def close(self) -> None:
        with self._lock:
            self._table = None

    # -- the table's state -----------------------------------------------------------------------

    def _newest(self) -> DeltaTable | None:
        with self._translated("read"):
            try:
                if self._table is None:
                    self._table = DeltaTable(self._place.location, storage_options=self._options)
                else:
                    self._table.update_incremental()
            except TableNotFoundError:
                self._table = None
            except Exception:
                # What it knows may be half updated.
                self._table = None
                raise
        return self._table

    def _has(self, table: DeltaTable, delivery: str) -> bool:
        slot = Slot.of(delivery)
        with self._translated("read"):
            verdict = slot.verdict(table.transaction_version(slot.app_id))
            if verdict is not Verdict.FORGOTTEN:
                return verdict is Verdict.LANDED
            if any(f"part-{delivery}-" in path for path in table.file_uris()):
                return True
        for limit in (_RECENT, None):
            told = slot.told_by(delivery, self._history(table, limit))
            if told is not Verdict.FORGOTTEN:
                return told is Verdict.LANDED
        raise TableRefused(
            f"{self._name} cannot tell any more whether it has the delivery {delivery}: later ones "
            "of its journal took its mark, neither its files nor the history names it, and the "
            "history does not reach back to before they did. Look whether its rows are there; "
            f"then `rayflume journal deliveries DIR --abandon {delivery}` ends it and keeps its "
            "rows in a file"
        )

    def _history(self, table: DeltaTable, limit: int | None) -> list[dict[str, object]]:
        """The newest commits, numbered downwards from the table's version.

        delta-rs also reads those that came since, and then numbers all of them too low.
        """
        for _attempt in range(ATTEMPTS):
            version = table.version()
            with self._translated("read"):
                found = table.history(limit)
            self._newest()
            if table.version() == version:
                return found
        raise StorageUnavailable(f"{self._name}: others commit while its history is read")

    def _check(self, table: DeltaTable) -> None:
        check_partitions(table.metadata().partition_columns, self._place.partitions, self._name)
        have = self._columns(table)
        check_required(have, self._place.partitions, self._name)
        for name in self._place.partitions:
            if have.field(name).type != pa.string():
                raise TableRefused(
                    f"the partition {name!r} of {self._name} is {have.field(name).type}, but the "
                    "sink writes texts: make it a string, or write to another table"
                )

    def _columns(self, table: DeltaTable) -> pa.Schema:
        return plain(pa.schema(table.schema().to_arrow()))

    def _kept(self, columns: pa.Schema) -> pa.Schema:
        return widest(columns)

    def _create(self, columns: pa.Schema) -> DeltaTable | None:
        partitions = [pa.field(name, pa.string()) for name in self._place.partitions]
        schema = Schema.from_arrow(pa.schema([*self._kept(columns), *partitions]))
        with self._translated("create"):
            try:
                DeltaTable.create(
                    self._place.location,
                    schema=schema,
                    partition_by=list(self._place.partitions),
                    storage_options=self._options,
                )
            except (DeltaProtocolError, SchemaMismatchError):
                raise
            except DeltaError:
                # It exists by now, or the answer was lost: only a look tells.
                pass
        return self._newest()

    def _grow(self, table: DeltaTable, columns: pa.Schema) -> bool:
        """Add what the table lacks of the columns in a commit of its own; whether there was any."""
        lacking = difference(self._columns(table), self._kept(columns), self._name)
        if lacking.widened:
            path, kind = lacking.widened[0]
            raise TableRefused(
                f"the column {'.'.join(path)!r} of {self._name} has fewer digits than {kind}, and "
                "Delta's columns keep their type: make a new table with more digits"
            )
        if lacking.fields:
            table.alter.add_columns(list(Schema.from_arrow(pa.schema(lacking.fields)).fields))
        return bool(lacking.fields)

    def _add(self, table: DeltaTable, addition: Addition) -> bool:
        if self._grow(table, addition.columns):
            return False
        self._append(table, addition)
        return True

    def _append(self, table: DeltaTable, addition: Addition) -> None:
        slot = Slot.of(addition.delivery)
        journal, _, _ = parse_delivery(addition.delivery)
        before = table.transaction_version(slot.app_id)
        notes = {
            NOTE: addition.delivery,
            "rayflume.journal": journal,
            READ: str(table.version()),
            BEFORE: "" if before is None else str(before),
        }
        table.create_write_transaction(
            [self._added(file, addition.now_ms) for file in addition.files],
            mode="append",
            schema=table.schema(),
            partition_by=list(self._place.partitions),
            commit_properties=CommitProperties(
                custom_metadata=notes,
                app_transactions=[Transaction(slot.app_id, slot.marked(before))],
            ),
        )

    def _added(self, file: TableFile, now_ms: int) -> AddAction:
        return AddAction(
            path=file.path,
            size=file.size,
            partition_values=partition_values(file.path, self._place.partitions),
            modification_time=now_ms,
            data_change=True,
            stats=delta_stats(file.footer),
        )

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self.conflicts:
            raise
        except (DeltaProtocolError, SchemaMismatchError) as error:
            raise TableRefused(
                f"cannot {doing} {self._name}: {described(error, self._secrets)}"
            ) from error
        except (DeltaError, OSError) as error:
            raise StorageUnavailable(
                f"cannot {doing} {self._name} now: {described(error, self._secrets)}"
            ) from error
