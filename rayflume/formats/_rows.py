"""What all formats share: which rows are bad and why, and the table of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayflume.batch import body_offsets
from rayflume.interfaces import Decoded
from rayflume.spans import Mask, as_text, not_utf8

REASON_MAX = 256
Indexes = npt.NDArray[np.int64]

NO_BODY = "the event has no body (a tombstone)"
EMPTY = "the row is empty"
NOT_UTF8 = "the row is not valid UTF-8"


def clean(reason: str) -> str:
    """A reason that is safe to log: control characters escaped, at most REASON_MAX characters."""
    if reason.isprintable() and len(reason) <= REASON_MAX:
        return reason
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
        for c in reason[: REASON_MAX + 1]
    )
    return shown if len(shown) <= REASON_MAX else shown[: REASON_MAX - 1] + "…"


class Rows:
    """The rows of one body array that are still good, and the reasons of those that are not."""

    def __init__(self, body: pa.BinaryArray) -> None:
        self.count = len(body)
        self.body = body
        self.index: Indexes | None = None
        """Input index of each row of `body`; None: all, in order."""
        self.reasons: dict[int, str] = {}

    def drop(self, mask: Mask, reason: str) -> None:
        """Mark the rows of `body` where `mask` is true as bad and take them out of it."""
        if mask.any():
            self.drop_each(dict.fromkeys(np.flatnonzero(mask).tolist(), reason))

    def drop_each(self, reasons: dict[int, str]) -> None:
        """Mark rows (by their place in `body`) as bad, each with its reason, and take them out."""
        if not reasons:
            return
        places = np.fromiter(reasons, dtype=np.int64, count=len(reasons))
        inputs = places if self.index is None else self.index[places]
        self.reasons.update(
            (index, clean(reason))
            for index, reason in zip(inputs.tolist(), reasons.values(), strict=True)
        )
        keep = np.ones(len(self.body), dtype=np.bool_)
        keep[places] = False
        kept = np.flatnonzero(keep)
        self.index = kept if self.index is None else self.index[kept]
        self.body = self.body.take(pa.array(kept))

    def part(self, places: Indexes) -> Rows:
        """Some of the rows, by ascending places in `body`, to be looked at apart and rejoined."""
        found = Rows(self.body.take(pa.array(places)))
        found.index = places if self.index is None else self.index[places]
        return found

    def rejoin(self, first: Rows, second: Rows) -> Indexes | None:
        """Take over what became of two parts that were all rows; their bodies are let go of.

        Returns the order in which their rows, one part behind the other, follow each other in the
        input; None when that is their order already.
        """
        assert first.index is not None and second.index is not None
        self.reasons.update(first.reasons | second.reasons)
        index = np.concatenate([first.index, second.index])
        order = np.argsort(index) if len(second.index) else None
        self.index = index if order is None else index[order]
        self.body = self.body.slice(0, 0)
        return order

    def drop_tombstones(self) -> None:
        """Take out rows without a body."""
        if self.body.null_count:
            self.drop(np.asarray(self.body.is_null()), NO_BODY)

    def drop_unreadable(self, *, empty: bool = True) -> None:
        """Take out tombstones, (with `empty`) rows without a byte, and rows that are not UTF-8."""
        self.drop_tombstones()
        if empty and len(self.body):
            self.drop(np.diff(body_offsets(self.body)) == 0, EMPTY)
        self.drop(not_utf8(self.body), NOT_UTF8)

    def text(self) -> pa.StringArray:
        """The rows as strings over the same buffers; only after `drop_unreadable`."""
        return as_text(self.body)

    def decoded(self, table: pa.RecordBatch) -> Decoded:
        """The result: `table` has a row for each row that is still good."""
        good = len(self.body) if self.index is None else len(self.index)
        if table.num_rows != good or good + len(self.reasons) != self.count:
            raise AssertionError("a format lost or doubled rows")
        rows = None if self.index is None else pa.array(self.index)
        return Decoded(table, rows, tuple(sorted(self.reasons.items())))


def replaced(body: pa.BinaryArray) -> pa.BinaryArray:
    """The rows with U+FFFD in place of each sequence that is not UTF-8; valid rows are shared."""
    if not len(body):
        return body
    bad = not_utf8(body)
    if not bad.any():
        return body
    fixed = [
        row.decode(errors="replace").encode() for row in body.filter(pa.array(bad)).to_pylist()
    ]
    every = pa.concat_arrays([body, pa.array(fixed, pa.binary())])
    places = np.arange(len(body))
    places[bad] = len(body) + np.arange(len(fixed))
    return every.take(pa.array(places))


def record_batch(arrays: Sequence[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """Columns as one record batch of exactly this schema."""
    return pa.RecordBatch.from_arrays(list(arrays), schema=schema)


def joined(first: Decoded, second: Decoded, offset: int) -> Decoded:
    """Two results of one schema as one; the input of `second` began at row `offset`."""
    table = pa.Table.from_batches([first.table, second.table]).combine_chunks().to_batches()[0]
    places = [
        np.arange(len(part.table)) if part.rows is None else np.asarray(part.rows)
        for part in (first, second)
    ]
    bad = first.bad + tuple((row + offset, reason) for row, reason in second.bad)
    return Decoded(table, pa.array(np.concatenate([places[0], places[1] + offset])), bad)


def interleaved(first: Decoded, second: Decoded, more: Mapping[int, str] | None = None) -> Decoded:
    """Two results of one schema, of different rows of one input, as one. `more`: reasons of rows
    that are in neither.
    """
    assert first.rows is not None and second.rows is not None
    rows = np.concatenate([np.asarray(first.rows), np.asarray(second.rows)])
    order = np.argsort(rows)
    both = pa.concat_batches([first.table, second.table])
    bad = tuple(sorted((*first.bad, *second.bad, *(more or {}).items())))
    return Decoded(both.take(pa.array(order)), pa.array(rows[order]) if bad else None, bad)
