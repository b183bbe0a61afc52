"""A format of my own: `name=value`, one pair a row."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rayflume.component import Component, option
from rayflume.interfaces import Contract, Decoded


class MyFormat(Component):
    """Two columns from rows such as `user=ann`: what is before the separator, what is behind."""

    kind = "format"

    separator: str = option("What parts name and value.", default="=", min_length=1, example=":")

    @property
    def declared(self) -> pa.Schema:
        """The columns known before any row was seen."""
        return pa.schema([("name", pa.string()), ("value", pa.string())])

    def prepare(self) -> None:
        """Nothing has to be loaded before the first rows."""

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded:
        """Every row is either in the table or among the bad ones, with a reason; it never raises.

        `schema`: the columns the lake has already, which come first and in that order.
        """
        text, readable = _as_text(body)
        parts = pc.split_pattern(text, self.separator, max_splits=1)
        good = pc.and_(readable, pc.equal(pc.list_value_length(parts), 2)).fill_null(False)
        rows = pc.indices_nonzero(good).cast(pa.int64())
        pairs = parts.take(rows)
        columns = {"name": pc.list_element(pairs, 0), "value": pc.list_element(pairs, 1)}
        fields = list(schema or ())
        names = {field.name for field in fields}
        fields += [field for field in self.declared if field.name not in names]
        arrays = [
            columns[field.name].cast(field.type, safe=False)
            if field.name in columns and pa.types.is_string(field.type)
            else pa.nulls(len(rows), field.type)
            for field in fields
        ]
        table = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        wrong = pc.indices_nonzero(pc.invert(good)).to_pylist()
        bad = tuple((row, f"the row has no {self.separator!r}, or is no text") for row in wrong)
        return Decoded(table, rows, bad)


def _as_text(body: pa.BinaryArray) -> tuple[pa.StringArray, pa.BooleanArray]:
    """The bodies as text, null where they are none, and which are text."""
    try:
        text = body.cast(pa.string())
    except pa.ArrowInvalid:  # some row is not UTF-8: only then look at each
        rows = [_decoded(row) for row in body.to_pylist()]
        text = pa.array(rows, pa.string())
    return text, text.is_valid()


def _decoded(row: bytes | None) -> str | None:
    try:
        return None if row is None else row.decode("utf-8")
    except UnicodeDecodeError:
        return None
