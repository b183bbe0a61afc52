"""Bodies that are small files with columns of their own: one body, one row of the lake.

A format may not make several rows of one (clause F1), so a body holds exactly one row, or all its
rows become one value: a list of structs. Bodies of one schema are put together before their columns
get the lake's types, so what is done for a single body is to open it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from rayflume.component import Component, option
from rayflume.formats._columns import fit_all
from rayflume.formats._lake_types import Unfit, lake_array
from rayflume.formats._options import SCHEMA_DOC, DeclaredSchema
from rayflume.formats._rows import EMPTY, Indexes, Rows, record_batch
from rayflume.formats._unpacked import Budget
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import (
    FIELDS_MAX,
    Column,
    arrow_schema,
    columns_of,
    count_fields,
    merge,
    parse_declared,
    prune,
)

Read: TypeAlias = "Callable[[pa.Buffer, Budget], pa.Table]"
"""Opens one body, if the budget lets it. Raises Unfit, or as pyarrow does."""
Group: TypeAlias = "tuple[Indexes, pa.Table]"
"""Places in the rows, and the columns of these rows."""
NO_COLUMNS = "the body has no column with a value, and no row before had one"
TOO_MANY = f"the body has more columns than the {FIELDS_MAX:,} that a schema may have room for"
ROWS_DOC = (
    "Name of the one column that gets all rows of a body, as a list of structs. Without it a body "
    "must hold exactly one row, whose fields become the columns, and a body with another number of "
    "rows goes to the dead letters: an event is one row of the lake."
)


class TableOptions(Component):
    """What formats of such bodies have in common."""

    fields: DeclaredSchema | None = option(
        SCHEMA_DOC + " Without it the columns are those of the bodies.",
        default=None,
        alias="schema",
        example={"user_id": "int64", "url": "string"},
    )
    rows_column: str = option(ROWS_DOC, default="", example="rows")

    def reading(self, read: Read) -> TableFormat:
        """The format, which opens bodies so."""
        declared = parse_declared(self.fields) if self.fields else ()
        return TableFormat(read, declared, self.rows_column)


class TableFormat:
    """Rows: as many out as in, good or bad, in order. Bodies are opened one by one."""

    def __init__(self, read: Read, declared: Sequence[Column] = (), rows_column: str = "") -> None:
        self._read = read
        self._declared = tuple(declared)
        self._rows_column = rows_column

    @property
    def declared(self) -> pa.Schema | None:
        return arrow_schema(self._declared) if self._declared else None

    def prepare(self) -> None:
        """Nothing has to be loaded."""

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded:
        rows = Rows(body)
        rows.drop_tombstones()
        groups = self._groups(rows)
        known = merge(schema or pa.schema([]), arrow_schema(self._declared))
        grown, reasons = _grown(known, groups, contract if len(known) else Contract.EVOLVE)
        columns = columns_of(grown, self._declared)
        if not columns and len(rows.body):
            reasons = dict.fromkeys(range(len(rows.body)), NO_COLUMNS)
        fitted = [_fitted(group, columns, reasons) for group in groups]
        return rows.decoded(_together(rows, fitted, grown, reasons))

    def _groups(self, rows: Rows) -> list[Group]:
        """The bodies that can be read, by their schemas; the others are dropped."""
        tables: list[pa.Table] = []
        reasons: dict[int, str] = {}
        budget = Budget()
        for place, value in enumerate(rows.body):
            try:
                tables.append(self._opened(value.as_buffer(), budget))
            except Unfit as error:
                reasons[place] = str(error)
            except (pa.ArrowException, ValueError, OSError, EOFError, MemoryError) as error:
                reasons[place] = f"the body cannot be read: {error}"
        rows.drop_each(reasons)
        places: dict[pa.Schema, list[int]] = {}
        for place, table in enumerate(tables):
            places.setdefault(table.schema, []).append(place)
        return [
            (np.array(found), pa.concat_tables([tables[place] for place in found]))
            for found in places.values()
        ]

    def _opened(self, data: pa.Buffer, budget: Budget) -> pa.Table:
        if not data.size:
            raise Unfit(EMPTY)
        table = self._read(data, budget)
        table.validate(full=True)
        names = table.column_names
        if len(set(names)) < len(names):
            raise Unfit("the body has two columns of the same name")
        if not self._rows_column and table.num_rows != 1:
            raise Unfit(
                f"the body holds {table.num_rows} rows: one event is one row (the option "
                "`rows_column` makes a list of them)"
            )
        arrays = [
            pa.concat_arrays([lake_array(chunk, name) for chunk in column.chunks])
            for name, column in _named(table)
        ]
        if not self._rows_column:
            return pa.table(arrays, names=names)
        items = pa.StructArray.from_arrays(arrays, names) if arrays else pa.nulls(0)
        whole = pa.ListArray.from_arrays(pa.array([0, table.num_rows], pa.int32()), items)
        return pa.table([whole], names=[self._rows_column])


def _named(table: pa.Table) -> list[tuple[str, pa.ChunkedArray]]:
    chunked = [
        c if c.num_chunks else pa.chunked_array([pa.nulls(0, c.type)]) for c in table.columns
    ]
    return list(zip(table.column_names, chunked, strict=True))


def _grown(
    known: pa.Schema, groups: Sequence[Group], contract: Contract
) -> tuple[pa.Schema, dict[int, str]]:
    """The schema with what the bodies bring, and the rows that must not bring it."""
    reasons: dict[int, str] = {}
    for places, table in groups:
        union = merge(known, prune(table.schema))
        reason = ""
        if union.equals(known) or contract is Contract.IGNORE:
            continue
        if contract is Contract.FREEZE:
            name = next(f.name for i, f in enumerate(union) if i >= len(known) or f != known[i])
            reason = f"field {name} is not in the schema of the lake, and the contract is freeze"
        elif count_fields(union) > FIELDS_MAX:
            reason = TOO_MANY
        else:
            known = union
        reasons |= dict.fromkeys(places.tolist(), reason) if reason else {}
    return known, reasons


def _fitted(
    group: Group, columns: Sequence[Column], reasons: dict[int, str]
) -> tuple[Indexes, list[pa.Array]]:
    """The rows of a group that fit, as columns; of the others the reasons are noted."""
    places, table = group
    arrays = {n: pa.concat_arrays(c.chunks) for n, c in _named(table)}
    done, wrong = fit_all(arrays, columns, len(places))
    for place, reason in wrong.items():
        reasons.setdefault(int(places[place]), reason)
    keep = np.array([place not in reasons for place in places.tolist()], dtype=np.bool_)
    return places[keep], [array.filter(pa.array(keep)) for array in done]


def _together(
    rows: Rows,
    fitted: Sequence[tuple[Indexes, list[pa.Array]]],
    schema: pa.Schema,
    reasons: Mapping[int, str],
) -> pa.RecordBatch:
    rows.drop_each(dict(reasons))
    if not fitted or not len(schema):
        return record_batch([pa.nulls(0, field.type) for field in schema], schema)
    order = pa.array(np.argsort(np.concatenate([places for places, _ in fitted])))
    parts = zip(*(arrays for _, arrays in fitted), strict=True)
    return record_batch([pa.concat_arrays(list(part)).take(order) for part in parts], schema)
