"""JSON objects, one a row, to typed columns.

Rows that are written alike are read by machine code (_json_shapes); the others, and blocks without
such rows, by pyarrow's reader. The fast path of that is one strict read of the whole block. When it
fails, the rows that are plainly well-formed (_json_plain) are read so, and only the others are
scanned for what is wrong or new (_json_scan); when those are many, the whole block is. A value that
does not fit its column makes its row bad: it is never null and never another value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from rayflume.batch import body_bytes
from rayflume.component import Component, Context, component, option
from rayflume.formats._convert import Misfits, convert, read_schema
from rayflume.formats._json_integers import with_decimals, without_rounded
from rayflume.formats._json_plain import plain_rows
from rayflume.formats._json_read import Block, Problem, plain, read, screen
from rayflume.formats._json_scan import Scan, settle
from rayflume.formats._options import (
    SCHEMA_DOC,
    UNREADABLE_DOC,
    DeclaredSchema,
    UnreadableText,
)
from rayflume.formats._rows import Indexes, Rows, joined, record_batch, replaced
from rayflume.interfaces import Contract, Decoded
from rayflume.schema import Column, arrow_schema, columns_of, merge, parse_declared, prune, unseen

BYTES_MAX = 256 * 1024**2
"""Above so many bytes a block is decoded in halves: pyarrow.json counts bytes in 32 bits."""
_ODD_SHARE = 0.25
# With more rows to read carefully, one careful pass over all of them is as cheap.
_PAUSE_MAX = 63
NO_COLUMNS = "no row so far has a field with a value, so there is no column to write"


@component
class Json(Component):
    """JSON objects, one per event, to columns."""

    fields: DeclaredSchema | None = option(
        SCHEMA_DOC
        + " A mapping instead of a type is a struct, a list of one type a list. Without it the "
        "columns are inferred from the first rows (int64, float64, bool, string, struct, list, and "
        "decimal(38,0) for integers beyond int64) and then kept.",
        default=None,
        alias="schema",
        example={"user_id": "int64", "url": "string", "ts": "timestamp_ms"},
    )
    errors: UnreadableText = option(UNREADABLE_DOC, default="dead_letter")

    def build(self, context: Context) -> JsonFormat:
        declared = parse_declared(self.fields) if self.fields is not None else ()
        return JsonFormat(declared, replace=self.errors == "replace")


class JsonFormat:
    """Rows: as many out as in, good or bad, in order. Raises nothing for what a body holds."""

    def __init__(self, declared: Sequence[Column] = (), *, replace: bool = False) -> None:
        self._declared = tuple(declared)
        self._replace = replace
        self._empty = pa.schema([])
        """Fields that were only ever null, so that they do not send each block the slow way."""
        self._mixed = False
        """Whether the last block had rows that had to be read apart."""
        self._pause = self._paused = 0
        """Blocks to be read without a look for shapes, and how many of them were."""

    @property
    def declared(self) -> pa.Schema | None:
        return arrow_schema(self._declared) if self._declared else None

    def prepare(self) -> None:
        """Load the machine code; its first process on a host makes it, which takes seconds."""
        from rayflume.formats._json_shapes import prepare

        prepare()

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded:
        body = replaced(body) if self._replace else body
        if body_bytes(body) > BYTES_MAX and len(body) > 1:
            return self._halves(body, schema, contract)
        return without_rounded(self._decoded(body, schema, contract), body, self._declared)

    def _decoded(
        self, body: pa.BinaryArray, schema: pa.Schema | None, contract: Contract
    ) -> Decoded:
        columns = self._columns(schema)
        contract = contract if columns else Contract.EVOLVE
        rows = Rows(body)
        shaped = self._shaped(rows, columns, contract) if columns else None
        if shaped is not None:
            return rows.decoded(shaped)
        if self._mixed and columns:
            apart = self._apart(rows, columns, contract)
            self._mixed = apart is not None
            if apart is not None:
                return rows.decoded(apart)
        if len(body):
            screen(rows)
        arrays: list[pa.Array] | None = None
        if len(rows.body) and columns:
            arrays = self._fast(rows, columns, contract)
            apart = self._apart(rows, columns, contract) if arrays is None else None
            if apart is not None:
                self._mixed = True
                return rows.decoded(apart)
        if arrays is None and len(rows.body):
            columns, arrays = self._careful(rows, columns, contract)
        if not columns and len(rows.body):
            rows.drop(np.ones(len(rows.body), dtype=np.bool_), NO_COLUMNS)
        kinds = arrow_schema(columns)
        if arrays is None or not len(rows.body):
            arrays = [pa.nulls(0, field.type) for field in kinds]
        return rows.decoded(record_batch(arrays, kinds))

    def _columns(self, schema: pa.Schema | None) -> tuple[Column, ...]:
        if schema is None:
            return self._declared
        return columns_of(merge(schema, arrow_schema(self._declared)), self._declared)

    def _known(self, columns: Sequence[Column], contract: Contract) -> pa.Schema:
        """The types to read strictly. A field of nothing but nulls is no news where new fields are
        welcome; elsewhere it is a field like any other.
        """
        types = read_schema(columns)
        return merge(types, self._empty) if contract is Contract.EVOLVE else types

    def _halves(
        self, body: pa.BinaryArray, schema: pa.Schema | None, contract: Contract
    ) -> Decoded:
        middle = len(body) // 2
        first = self.decode(body.slice(0, middle), schema, contract)
        second = self.decode(body.slice(middle), first.table.schema, contract)
        if not second.table.schema.equals(first.table.schema):
            first = self.decode(body.slice(0, middle), second.table.schema, contract)
        return joined(first, second, middle)

    def _fast(
        self, rows: Rows, columns: Sequence[Column], contract: Contract
    ) -> list[pa.Array] | None:
        """All rows in one read, two if a number fails to convert; None when that does not work."""
        block = Block(rows.body)
        mode = _mode(contract)
        table = read(block, (0, block.rows), self._known(columns, contract), mode)
        if not isinstance(table, Problem):
            return _typed(table, columns, rows)
        if table.unexpected or table.row >= 0:
            return None
        relaxed = merge(read_schema(columns, relaxed=True), self._known((), contract))
        table = read(block, (0, block.rows), relaxed, mode)
        return None if isinstance(table, Problem) else _exact(rows, table, columns)

    def _shaped(
        self, rows: Rows, columns: tuple[Column, ...], contract: Contract
    ) -> pa.RecordBatch | None:
        """Read rows that are written alike, and the few others by themselves; None when that brings
        nothing. Then some blocks pass before it is tried again, more each time.
        """
        self._paused += 1
        if self._paused <= self._pause:
            return None
        # Here, because a command that only checks a plan need not load a compiler.
        from rayflume.formats._json_shapes import read_shaped

        known, strict = self._known(columns, contract), contract is not Contract.IGNORE
        found, batch = read_shaped(rows.body, known, strict=strict), None
        if found is not None and found.rows.all():
            batch = record_batch(_typed(found.table, columns, rows), arrow_schema(columns))
        elif found is not None and found.rows.mean() >= 1 - _ODD_SHARE:
            most = rows.part(np.flatnonzero(found.rows))
            arrays = _typed(found.table, columns, most)
            others = np.flatnonzero(~found.rows)
            batch = self._rejoined(rows, (most, arrays), (others, columns), contract)
        self._paused = 0
        self._pause = 0 if batch is not None else min(2 * self._pause + 1, _PAUSE_MAX)
        return batch

    def _apart(
        self, rows: Rows, columns: tuple[Column, ...], contract: Contract
    ) -> pa.RecordBatch | None:
        """Read the rows that are plainly well-formed in one go, and screen and read the few others
        carefully; None when they are not few, or bring new columns.
        """
        if not len(rows.body) or rows.body.null_count:
            return None
        known, strict = self._known(columns, contract), contract is not Contract.IGNORE
        plain = plain_rows(rows.body, known, strict=strict)
        if plain is None or not 0 < len(plain) - plain.sum() <= len(plain) * _ODD_SHARE:
            return None
        most = rows.part(np.flatnonzero(plain))
        arrays = self._fast(most, columns, contract)
        if arrays is None:
            return None
        others = np.flatnonzero(~plain)
        return self._rejoined(rows, (most, arrays), (others, columns), contract)

    def _rejoined(
        self,
        rows: Rows,
        most: tuple[Rows, list[pa.Array]],
        others: tuple[Indexes, tuple[Column, ...]],
        contract: Contract,
    ) -> pa.RecordBatch | None:
        """`most` of the rows, read already, and the `others`, read now as columns; None when those
        bring new ones.
        """
        places, columns = others
        odd = rows.part(places)
        screen(odd)
        arrays = self._fast(odd, columns, contract) if len(odd.body) else None
        if arrays is None:
            grown, arrays = self._careful(odd, columns, contract, suspect=True)
            if grown != columns:
                return None
        order = rows.rejoin(most[0], odd)
        both = [pa.concat_arrays(pair) for pair in zip(most[1], arrays, strict=True)]
        if order is not None:
            both = [array.take(pa.array(order)) for array in both]
        return record_batch(both, arrow_schema(columns))

    def _careful(
        self, rows: Rows, columns: tuple[Column, ...], contract: Contract, *, suspect: bool = False
    ) -> tuple[tuple[Column, ...], list[pa.Array]]:
        """Drop what does not fit, add the columns that are new, and read again. `suspect`: most
        rows are bad.
        """
        base = read_schema(columns, relaxed=True)
        block, judge = Block(rows.body), True
        known = merge(base, self._known((), contract))
        while block.rows:
            scan = Scan(block, known, contract, judge=judge)
            scan.run(suspect=suspect and judge)
            known = scan.known
            if scan.bad:
                rows.drop_each(scan.bad)
                block = Block(rows.body)
            if not scan.judged:
                break
            judge = False
        if contract is Contract.EVOLVE:
            self._empty = unseen(known)
            if block.rows and not prune(known).equals(base):
                columns = self._grown(block, columns, prune(known))
        if not block.rows:
            return columns, [pa.nulls(0, column.type) for column in columns]
        return columns, _final(rows, block, columns)

    def _grown(
        self, block: Block, columns: Sequence[Column], seen: pa.Schema
    ) -> tuple[Column, ...]:
        """`columns` and the new ones. All rows are asked, so that 1 and 1.5 make a double."""
        base = read_schema(columns, relaxed=True)
        table = read(block, (0, block.rows), base, "infer")
        new = seen if isinstance(table, Problem) else prune(settle(table.schema))
        grown = columns_of(merge(arrow_schema(columns), new), self._declared)
        # Read anew: lists that began with a null are not whole in a table with inferred types.
        table = read(block, (0, block.rows), read_schema(grown, relaxed=True), "ignore")
        if isinstance(table, Problem):
            return grown
        exact = merge(arrow_schema(columns), with_decimals(arrow_schema(grown), table, block.row))
        return columns_of(exact, self._declared)


def _mode(contract: Contract) -> str:
    """What the reader does with fields that are not known."""
    return "ignore" if contract is Contract.IGNORE else "error"


def _typed(table: pa.Table, columns: Sequence[Column], rows: Rows) -> list[pa.Array]:
    """The table's columns with their final types; rows with misfits are dropped from `rows`."""
    misfits = Misfits()
    arrays = convert(table, columns, misfits)
    if misfits.reasons:
        keep = np.ones(table.num_rows, dtype=np.bool_)
        keep[list(misfits.reasons)] = False
        rows.drop_each(misfits.reasons)
        arrays = [array.filter(pa.array(keep)) for array in arrays]
    return arrays


def _final(rows: Rows, block: Block, columns: Sequence[Column]) -> list[pa.Array]:
    """Read rows that are known to be well-formed; only numbers that do not fit are left to find."""
    span = (0, block.rows)
    table = read(block, span, read_schema(columns), "ignore")
    if not isinstance(table, Problem):
        return _typed(table, columns, rows)
    table = read(block, span, read_schema(columns, relaxed=True), "ignore")
    if not isinstance(table, Problem):
        return _exact(rows, table, columns)
    misfits = Misfits()
    places, arrays = _halving(block, columns, misfits, np.arange(block.rows))
    rows.drop_each(misfits.reasons)
    order = pa.array(np.argsort(places))
    return [array.take(order) for array in arrays]


def _exact(rows: Rows, relaxed: pa.Table, columns: Sequence[Column]) -> list[pa.Array]:
    """The columns of a table read with doubles for integers; those too large for that are read
    anew.
    """
    misfits = Misfits()
    arrays = convert(relaxed, columns, misfits)
    vague = np.array(sorted(misfits.vague - set(misfits.reasons)), dtype=np.int64)
    good = np.ones(relaxed.num_rows, dtype=np.bool_)
    good[[*misfits.reasons, *vague.tolist()]] = False
    order = np.flatnonzero(good)
    arrays = [array.filter(pa.array(good)) for array in arrays]
    if len(vague):
        places, more = _halving(Block(rows.body.take(pa.array(vague))), columns, misfits, vague)
        arrays = [pa.concat_arrays(pair) for pair in zip(arrays, more, strict=True)]
        sort = np.argsort(np.concatenate([order, places]))
        arrays = [array.take(pa.array(sort)) for array in arrays]
    rows.drop_each(misfits.reasons)
    return arrays


def _halving(
    block: Block, columns: Sequence[Column], misfits: Misfits, rows: Indexes
) -> tuple[Indexes, list[pa.Array]]:
    """Read strictly, halving what fails. Returns which of `rows` fit, and their columns."""
    wanted, todo = read_schema(columns), [(0, block.rows)]
    places, parts = [np.zeros(0, dtype=np.int64)], [[pa.nulls(0, c.type) for c in columns]]
    while todo:
        start, stop = todo.pop()
        table = read(block, (start, stop), wanted, "ignore")
        inner = Misfits()
        arrays = [] if isinstance(table, Problem) else convert(table, columns, inner)
        if isinstance(table, pa.Table) and not inner.reasons:
            places.append(rows[start:stop])
            parts.append(arrays)
        elif stop - start > 1:
            middle = (start + stop) // 2
            todo += [(start, middle), (middle, stop)]
        else:
            text = plain(table.text) if isinstance(table, Problem) else inner.reasons[0]
            misfits.reasons[int(rows[start])] = text
    return np.concatenate(places), [
        pa.concat_arrays(list(group)) for group in zip(*parts, strict=True)
    ]
