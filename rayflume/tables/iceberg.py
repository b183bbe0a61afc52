"""A lake as an Iceberg table, written with PyIceberg through any of its catalogs.

A delivery is one commit: the manifest of its files, the columns they need, and in a property of the
table the delivery's mark (`_marks`). The commit requires that the branch stands where it was when
the mark was looked for; so of two publishers of one delivery only one can land. The snapshot names
the delivery, too, and the marks that fell, for those that waited longer than marks are kept.

PyIceberg's own loop of retries is not used: it would commit on top of what another publisher did
meanwhile without a look at the mark, and it deletes the manifests of a commit that it believes
refused, which is wrong when an answer was lost. Here a commit is one request, and what a refused
one wrote stays until `remove_orphan_files`: a manifest and a list, some kilobytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa
from pydantic import SecretStr, field_validator
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    ForbiddenError,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    NotInstalledError,
    OAuthError,
    TableAlreadyExistsError,
    UnauthorizedError,
)
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import TableProperties
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DecimalType, StringType

from rayflume.component import Component, component, option
from rayflume.errors import (
    OptionError,
    RayflumeError,
    StorageDenied,
    StorageUnavailable,
    TableRefused,
)
from rayflume.naming import parse_delivery
from rayflume.table import Addition, Compacted, TablePlace, described, partition_values
from rayflume.tables._columns import check_partitions, check_required, difference, plain
from rayflume.tables._iceberg_files import OneTry, data_file, merge_small_files
from rayflume.tables._log_table import LogTable
from rayflume.tables._marks import FALLEN, NOTE, Runs, Verdict, told_by_snapshots
from rayflume.tables._stores import iceberg_properties, refuse, secrets_in

_MARK = "rayflume.committed."
_INSTEAD = {
    "profile": "set AWS_PROFILE for the agent",
    "ca_file": "install the certificate's authority on the host",
    "server_side_encryption": "set the bucket's default encryption",
    "kms_key_id": "set the bucket's default encryption",
    "requester_pays": "write to a bucket whose owner pays",
}
_BUGS = (TypeError, AttributeError, AssertionError, LookupError, NotImplementedError)


@component
class Iceberg(Component):
    """The lake is an Iceberg table of a catalog: each delivery is one commit, exactly once.

    On a local disk and on S3; not on HDFS, which PyIceberg reaches only through a JVM.

    The table is made with the first delivery, in the lake's path, or was there before with the same
    partitions. Each name in `partition_by` is a column of texts, partitioned by identity. Data
    files do not have that column: its values come from the table's metadata, as Iceberg's
    specification says.

    Replaced files, old snapshots and the manifests of refused commits stay until somebody runs
    `expire_snapshots` and `remove_orphan_files`; they leave `_rayflume/` alone. One property of at
    most 5 KiB per journal tells which deliveries the table has: do not remove it.
    """

    name: str = option("Namespaces and name of the table.", example="web.clicks")
    catalog: dict[str, SecretStr] = option(
        "Properties of the catalog as PyIceberg names them, such as type, uri, warehouse and "
        "credential; none of the values is ever shown. Default: what PyIceberg's own file and "
        "environment variables say of `catalog_name`. Where they say nothing of S3, the lake's "
        "`storage` options hold.",
        factory=dict,
        example={"type": "rest", "uri": "https://catalog.example.org"},
    )
    catalog_name: str = option(
        "Name of the catalog; a SQL catalog keeps its tables under it.", default="default"
    )

    @field_validator("name")
    @classmethod
    def _in_a_namespace(cls, value: str) -> str:
        parts = value.split(".")
        if len(parts) < 2 or not all(parts):
            raise ValueError("write a namespace and a name, like web.clicks")
        return value

    def over(self, place: TablePlace) -> IcebergLake:
        """Contacts nothing. Raises OptionError for a storage that cannot have such a table."""
        if place.storage not in ("local", "s3"):
            raise OptionError(
                f"table: an Iceberg table cannot be on {place.storage!r}; write to a local "
                "directory or to S3, or leave `table` out"
            )
        if set(place.location) & set("#?%"):
            raise OptionError(
                f"path: an Iceberg table cannot be in {place.location}: choose a path without "
                "`#`, `?` and `%`"
            )
        refuse(place.options, _INSTEAD)
        return IcebergLake(self, place)


class IcebergLake(LogTable[IcebergTable]):
    """A Table. Thread-safe."""

    conflicts = (CommitFailedException,)

    def __init__(self, options: Iceberg, place: TablePlace) -> None:
        given = {name: value.get_secret_value() for name, value in options.catalog.items()}
        secrets = {**secrets_in(place.options), **given}
        for harmless in ("type", "warehouse"):
            secrets.pop(harmless, None)
        super().__init__(place, f"the Iceberg table {options.name}", secrets)
        self._table_name = options.name
        self._catalog_name = options.catalog_name
        self._properties = {**iceberg_properties(place.options), **given}
        scheme = "file://" if place.storage == "local" else ""
        self._location = scheme + place.location
        self._catalog: Catalog | None = None

    def compact(self, target_bytes: int) -> Compacted:
        """Rewrite the small files of each partition, one commit per partition.

        PyIceberg has no compaction of its own. This is an overwrite of named files by new ones with
        the same rows in one snapshot; it lands only if nothing else did since it began. Files of
        other writers, and tables with a renamed column, are left to Spark's rewrite_data_files.
        """
        with self._lock:
            table = self._newest()
            if table is None:
                raise TableRefused(f"{self._name} does not exist: there is nothing to compact")
            try:
                with self._translated("compact"):
                    return merge_small_files(table, target_bytes)
            except self.conflicts as error:
                raise StorageUnavailable(
                    f"{self._name}: others committed while it was compacted; run it again"
                ) from error

    def close(self) -> None:
        with self._lock:
            catalog, self._catalog = self._catalog, None
            if catalog is not None:
                catalog.close()

    # -- the table's state -----------------------------------------------------------------------

    def _newest(self) -> IcebergTable | None:
        with self._translated("read"):
            try:
                return self._opened().load_table(self._table_name)
            except NoSuchTableError:
                return None

    def _opened(self) -> Catalog:
        if self._catalog is None:
            self._catalog = load_catalog(self._catalog_name, **self._properties)
        return self._catalog

    def _runs(self, table: IcebergTable, delivery: str) -> tuple[str, Runs]:
        """The property that names the deliveries of a journal, and what it says."""
        name = _MARK + parse_delivery(delivery)[0]
        try:
            return name, Runs.parse(table.properties.get(name, ""))
        except ValueError as error:
            raise TableRefused(
                f"{self._name}: somebody changed its property {name!r} ({error}); restore it from "
                "an older metadata file, for without it rows could be there twice"
            ) from error

    def _has(self, table: IcebergTable, delivery: str) -> bool:
        verdict = self._runs(table, delivery)[1].verdict(delivery)
        if verdict is not Verdict.FORGOTTEN:
            return verdict is Verdict.LANDED
        if any(_note(snapshot, NOTE) == delivery for snapshot in table.snapshots()):
            return True
        told = self._told(table, delivery)
        if told is not Verdict.FORGOTTEN:
            return told is Verdict.LANDED
        with self._translated("read"):
            tasks = table.scan().plan_files()
            if any(f"part-{delivery}-" in task.file.file_path for task in tasks):
                return True
        raise TableRefused(
            f"{self._name} cannot tell any more whether it has the delivery {delivery}: its list "
            "of deliveries begins later, neither a snapshot nor a file names it, and the snapshots "
            "do not reach back to where that list began earlier. Look whether its rows are there; "
            f"then `rayflume journal deliveries DIR --abandon {delivery}` ends it and keeps "
            "its rows in a file"
        )

    def _told(self, table: IcebergTable, delivery: str) -> Verdict:
        """What the newest snapshots tell, back to the first that is gone: every snapshot takes the
        next sequence number, also one that was rolled back. Format 1 has no such numbers.
        """
        if table.format_version < 2:
            return Verdict.FORGOTTEN
        numbered = {snapshot.sequence_number: snapshot for snapshot in table.snapshots()}
        last = table.last_sequence_number
        newest = itertools.takewhile(numbered.__contains__, range(last, 0, -1))
        notes = ((_note(numbered[n], NOTE), _note(numbered[n], FALLEN)) for n in newest)
        try:
            return told_by_snapshots(delivery, notes)
        except ValueError as error:
            raise TableRefused(
                f"{self._name}: a snapshot has another {FALLEN!r} than was written ({error})"
            ) from error

    def _check(self, table: IcebergTable) -> None:
        schema, fields = table.schema(), table.spec().fields
        names = [schema.find_column_name(field.source_id) or "" for field in fields]
        check_partitions(names, self._place.partitions, self._name)
        check_required(self._columns(table), (), self._name)
        for field, name in zip(fields, names, strict=True):
            kind = schema.find_type(field.source_id)
            if not isinstance(field.transform, IdentityTransform) or kind != StringType():
                raise TableRefused(
                    f"the partition {name!r} of {self._name} is {field.transform} of {kind}, but "
                    "the sink writes texts as they are: make it identity of a string, or write to "
                    "another table"
                )

    def _columns(self, table: IcebergTable) -> pa.Schema:
        return plain(schema_to_pyarrow(table.schema(), include_field_ids=False))

    def _kept(self, columns: pa.Schema) -> pa.Schema:
        return columns

    def _create(self, columns: pa.Schema) -> IcebergTable | None:
        partitions = [pa.field(name, pa.string()) for name in self._place.partitions]
        namespace = tuple(self._table_name.split(".")[:-1])
        with self._translated("create"):
            catalog = self._opened()
            with suppress(NamespaceAlreadyExistsError):
                catalog.create_namespace_if_not_exists(namespace)
            try:
                with catalog.create_table_transaction(
                    self._table_name,
                    schema=pa.schema([*columns, *partitions]),
                    location=self._location,
                    properties={"commit.manifest-merge.enabled": "true"},
                ) as new:
                    with new.update_spec() as spec:
                        for name in self._place.partitions:
                            spec.add_identity(name)
                    mapping = new.table_metadata.schema().name_mapping.model_dump_json()
                    new.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})
            except (TableAlreadyExistsError, CommitFailedException):
                pass
        return self._newest()

    def _add(self, table: IcebergTable, addition: Addition) -> bool:
        """One request with everything, which lands whole or not at all."""
        attempt = OneTry(table)
        name, runs = self._runs(table, addition.delivery)
        if table.name_mapping() is None:
            mapping = table.schema().name_mapping.model_dump_json()
            attempt.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})
        lacking = difference(self._columns(table), addition.columns, self._name)
        if lacking:
            with attempt.update_schema() as update:
                if lacking.fields:
                    update.union_by_name(pa.schema(lacking.fields))
                for path, kind in lacking.widened:
                    update.update_column(path, DecimalType(kind.precision, kind.scale))
        attempt.set_properties({name: runs.adding(addition.delivery).text})
        metadata = attempt.table_metadata
        notes = {NOTE: addition.delivery, FALLEN: runs.fallen(addition.delivery).text}
        snapshot = attempt.update_snapshot(snapshot_properties=notes)
        with snapshot.merge_append() as append:
            for file in addition.files:
                values = partition_values(file.path, self._place.partitions)
                place = f"{self._location}/{file.path}"
                append.append_data_file(
                    data_file(metadata, place, file.size, file.footer, list(values.values()))
                )
        attempt.commit_transaction()
        return True

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Errors of PyIceberg, of the catalog's client and of the store's as those that say who
        acts; conflicts stay what they are. Each catalog has a tree of its own, so what is not known
        here is taken for a store that may answer later.
        """
        try:
            yield
        except (RayflumeError, *self.conflicts, *_BUGS):
            raise
        except (UnauthorizedError, ForbiddenError, OAuthError) as error:
            raise StorageDenied(
                f"the catalog does not let us {doing} {self._name}: correct its properties "
                f"({described(error, self._secrets)})"
            ) from error
        except (NotInstalledError, ImportError) as error:
            raise OptionError(
                f"table.catalog: {described(error, self._secrets)}; install what it needs"
            ) from error
        except ValueError as error:
            # PyIceberg raises it of schemas. Its subclasses are of bytes that cannot be read, as a
            # proxy's page or a cut answer, also to a commit that landed: look again.
            kind = TableRefused if type(error) is ValueError else StorageUnavailable
            raise kind(f"cannot {doing} {self._name}: {described(error, self._secrets)}") from error
        except Exception as error:
            raise StorageUnavailable(
                f"cannot {doing} {self._name} now: {described(error, self._secrets)}"
            ) from error


def _note(snapshot: Snapshot, key: str) -> str:
    return "" if snapshot.summary is None else snapshot.summary[key] or ""
