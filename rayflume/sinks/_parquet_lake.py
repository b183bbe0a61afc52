"""What all deliveries of one sink of Parquet files share: format and schema on top of the lake."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from rayflume.batch import EventBatch
from rayflume.errors import SinkParked
from rayflume.interfaces import Decoded, Format
from rayflume.naming import data_name
from rayflume.sinks._files import LakeFile
from rayflume.sinks._lake import Lake, OpenFile, Stage
from rayflume.sinks._names import told_apart
from rayflume.sinks._placed import misplaced
from rayflume.sinks._schema_log import SchemaLog


def in_partition(bucket: str, delivery: str, number: int, begun_ms: int) -> str:
    """A Name: below the directory of its partition."""
    name = data_name(delivery, number)
    return f"{bucket}/{name}" if bucket else name


@dataclass(frozen=True, kw_only=True)
class ParquetLake(Lake):
    """Rows as columns, in an agreed schema. Thread-safe."""

    format: Format
    schemas: SchemaLog

    def open(self) -> None:
        """As Lake; raises OptionError for a declared type that is not the lake's."""
        super().open()
        self.schemas.open(self.declared_columns())

    def rows_file(
        self, target: str, schema: pa.Schema, version: int, stage: Stage, begun_ms: int
    ) -> OpenFile:
        return LakeFile(target, schema, version, self.files, stage)

    def check_placed(self, file: OpenFile) -> None:
        if not isinstance(file, LakeFile) or file.footer is None or file.target.endswith(".dead"):
            return
        wrong = misplaced(file.footer, self.splitter, file.bucket)
        if wrong:
            raise SinkParked(
                f"{wrong}: this is an error of rayflume. Nothing of the delivery is published and "
                "its rows are kept; report it with the options of the sink"
            )

    def decode(self, batch: EventBatch) -> tuple[int, pa.Schema, Decoded]:
        """The rows with the agreed schema; fields nobody knew become columns first, and then all
        rows are decoded again, so that what a row becomes depends on the schema version alone.

        Raises StorageUnavailable when a new version cannot be agreed on now. Blocks.
        """
        while True:
            version, schema = self.schemas.current()
            decoded = self._decoded(batch, schema)
            self.schemas.agree(self._new_fields(decoded))
            if self.schemas.current()[0] == version:
                return version, self._usable(schema), decoded

    def declared_columns(self) -> pa.Schema | None:
        """The format's declared columns and the header columns; None when they are inferred."""
        declared = self.format.declared
        return None if declared is None else self._with_headers(list(declared))

    def decode_as(self, batch: EventBatch, version: int) -> tuple[pa.Schema, Decoded]:
        schema = self.schemas.version(version)
        return self._usable(schema), self._decoded(batch, schema)

    def schema_of(self, version: int) -> pa.Schema | None:
        return self.schemas.version(version)

    def _decoded(self, batch: EventBatch, schema: pa.Schema | None) -> Decoded:
        part, contract = self.decoded_part(schema), self.schemas.contract
        decoded = self.format.decode(batch.body, part, contract)
        splitter = self.splitter
        return told_apart(decoded, splitter.partitioning.names, splitter.header_columns)

    def decoded_part(self, schema: pa.Schema | None) -> pa.Schema | None:
        """The columns that come from bodies; None when none is known yet."""
        if schema is None:
            return None
        kept = [f for f in schema if f.name not in self.splitter.header_columns]
        return pa.schema(kept) if kept else None

    def _new_fields(self, decoded: Decoded) -> pa.Schema:
        headers = self.splitter.header_columns
        fields = [f for f in decoded.table.schema if f.name not in headers]
        if not fields:
            return pa.schema([])
        return self._with_headers(fields)

    def _with_headers(self, fields: list[pa.Field]) -> pa.Schema:
        headers = [pa.field(name, pa.string()) for name in self.splitter.header_columns]
        return pa.schema([*fields, *headers])

    def _usable(self, schema: pa.Schema | None) -> pa.Schema:
        """The schema of files. Raises SinkParked when its types do not suit the options."""
        if schema is None:
            return pa.schema([])
        problem = self.splitter.misfit(schema) or self.files.encoding.misfit(schema)
        if problem:
            raise SinkParked(problem)
        return schema
