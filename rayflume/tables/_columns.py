"""What a table lacks of the columns that a delivery needs, and where the two cannot agree.

Pure. Both schemas are Arrow's; which text, list or nullability flavour a library gives back for a
column makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from rayflume.errors import TableRefused
from rayflume.schema import merge

DIGITS_MAX = 38


@dataclass(frozen=True, slots=True)
class Difference:
    """`fields`: top-level columns that the table gets, whole: new ones, and structs that grow; what
    is there keeps its type.

    `widened`: paths of decimals that need more digits, with the type they get.
    """

    fields: tuple[pa.Field, ...] = ()
    widened: tuple[tuple[tuple[str, ...], pa.DataType], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields or self.widened)


def difference(have: pa.Schema, want: pa.Schema, table: str) -> Difference:
    """What must be added to `have` before files with the columns `want` can be in the table.

    Raises TableRefused naming the column for a type that cannot become the other. `table`: how an
    error calls it.
    """
    have = plain(have)
    union = merge(have, want)
    walk, names = _Walk(table), []
    for field in want:
        known = have.get_field_index(field.name)
        if known < 0 or walk.grows(have.field(known), field, (field.name,)):
            names.append(field.name)
    return Difference(tuple(union.field(name) for name in names), tuple(walk.widened))


def check_required(have: pa.Schema, filled: Iterable[str], table: str) -> None:
    """Raises TableRefused for a column that may not be null: any column of a row can lack."""
    for field in have:
        if not field.nullable and field.name not in filled:
            raise TableRefused(
                f"the column {field.name!r} of {table} may not be null, but rows can lack any "
                "column: make it nullable, or write to another table"
            )


def check_partitions(have: Sequence[str], want: Sequence[str], table: str) -> None:
    """Raises TableRefused unless the table is partitioned as the sink writes."""
    if list(have) != list(want):
        raise TableRefused(
            f"{table} is partitioned by {', '.join(have) or 'nothing'}, and `partition_by` says "
            f"{', '.join(want) or 'nothing'}: write them alike, or write to another table"
        )


def widest(schema: pa.Schema) -> pa.Schema:
    """The schema with all decimals at their most digits, for a format whose columns keep theirs."""
    return pa.schema([pa.field(field.name, _widest(field.type)) for field in schema])


def _widest(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(kind):
        return pa.decimal128(DIGITS_MAX, kind.scale)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _widest(f.type)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(_widest(kind.value_type))
    return kind


def plain(schema: pa.Schema) -> pa.Schema:
    """The schema in the types that rayflume uses, whatever flavour of them a library gives."""
    return pa.schema([pa.field(f.name, _plain(f.type), f.nullable) for f in schema])


class _Walk:
    """Compares one column, at any depth."""

    def __init__(self, table: str) -> None:
        self._table = table
        self.widened: list[tuple[tuple[str, ...], pa.DataType]] = []

    def grows(self, have: pa.Field, want: pa.Field, path: tuple[str, ...]) -> bool:
        """Whether a struct in it gets a field."""
        old, new = have.type, want.type
        if pa.types.is_struct(old) and pa.types.is_struct(new):
            known = {field.name: field for field in old}
            grown = [
                field.name not in known or self.grows(known[field.name], field, (*path, field.name))
                for field in new
            ]
            return any(grown)
        if pa.types.is_list(old) and pa.types.is_list(new):
            return self.grows(old.value_field, new.value_field, (*path, "element"))
        if pa.types.is_decimal(old) and pa.types.is_decimal(new) and old.scale == new.scale:
            if new.precision > old.precision:
                self.widened.append((path, new))
            return False
        if old != new:
            raise TableRefused(
                f"the column {'.'.join(path)!r} is {old} in {self._table} and {new} in this lake, "
                "and readers cannot mix the two: declare it as the table has it, or write to "
                "another table"
            )
        return False


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind) and kind.tz == "+00:00":
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _plain(f.type), f.nullable) for f in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind
