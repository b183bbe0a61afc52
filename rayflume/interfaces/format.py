"""The contract of a format: bodies to columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class Decoded:
    """Columns of the rows that could be decoded, in order.

    `rows`: index in the input of each row of `table` (None: all of them, in order).
    `bad`: (index in the input, reason) of every other row, in order. len(table) + len(bad) ==
    len(input).
    """

    table: pa.RecordBatch
    rows: pa.Int64Array | None = None
    bad: tuple[tuple[int, str], ...] = ()


class Contract(StrEnum):
    """What becomes of a field that the schema does not name: it makes a column, or its row is bad,
    or it is left out.
    """

    EVOLVE = "evolve"
    FREEZE = "freeze"
    IGNORE = "ignore"


class Format(Protocol):
    """Bytes to columns, in the sink, vectorised.

    F1  Every input row is either in `table` or in `bad`, never both, never neither; order is kept.
    F2  `table.schema` starts with the fields of `schema` (names, types, order); fields behind them
        are new. `schema` None: the format's own declared fields, or inferred from these rows.
    F3  Never raises and never crashes for what a body holds (wrong type, bad UTF-8, empty, null,
        deep nesting).
    F4  Types are those Spark reads: no unsigned, no nanoseconds, timestamps are timestamp[us, UTC],
        decimals have at most 38 digits.
    F5  Fields that `schema` (and what is declared) does not name follow the contract. With no
        schema at all the first rows make the columns, whatever the contract.
    """

    def prepare(self) -> None:
        """Load what decoding needs, so that the first rows don't wait for it. Blocks, for seconds
        when machine code must be made.
        """
        ...

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded: ...

    @property
    def declared(self) -> pa.Schema | None:
        """The columns known before any row was seen; None when they are inferred."""
        ...
