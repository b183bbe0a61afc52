"""Bodies that are Arrow IPC streams, each of one row."""

from __future__ import annotations

import pyarrow as pa

from rayflume.component import Component, Context, component, option
from rayflume.formats._options import SCHEMA_DOC, DeclaredSchema
from rayflume.formats._tables import ROWS_DOC, TableFormat
from rayflume.schema import parse_declared

_FILE = b"ARROW1"


@component
class Arrow(Component):
    """Each event's body is one whole Arrow IPC stream (or file), with one row; its fields become
    columns.
    """

    fields: DeclaredSchema | None = option(
        SCHEMA_DOC + " Without it the columns are those of the bodies.",
        default=None,
        alias="schema",
        example={"user_id": "int64", "url": "string"},
    )
    rows_column: str = option(ROWS_DOC, default="", example="rows")

    def build(self, context: Context) -> TableFormat:
        declared = parse_declared(self.fields) if self.fields else ()
        return TableFormat(read, declared, self.rows_column)


def read(data: pa.Buffer) -> pa.Table:
    """The table of one body."""
    whole = data.slice(0, len(_FILE)).to_pybytes() == _FILE
    with pa.ipc.open_file(data) if whole else pa.ipc.open_stream(data) as reader:
        return reader.read_all()
