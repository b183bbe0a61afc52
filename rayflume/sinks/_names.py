"""Names of columns that a reader of the lake could not tell apart.

Spark, Hive and DuckDB ignore case, and the name of a partition is a column to every reader. One row
with such a field would make the whole lake unreadable to them, so a field never becomes a column
beside one of its name: its row goes to the dead letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rayflume.interfaces import Decoded

Mask = npt.NDArray[np.bool_]


def folded_twice(names: Iterable[str]) -> str:
    """The first name that differs from one before it in nothing or only in case; "" if none
    does.
    """
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            return name
        seen.add(name.casefold())
    return ""


def case_conflict(known: pa.Schema, other: pa.Schema) -> tuple[str, str] | None:
    """The first field of `known` and of `other`, with their paths, that differ only in case."""
    return next(_case_conflicts(list(known), list(other), ""), None)


def _case_conflicts(
    known: list[pa.Field], other: list[pa.Field], path: str
) -> Iterator[tuple[str, str]]:
    there = {field.name.casefold(): field for field in known}
    for field in other:
        found = there.get(field.name.casefold())
        if found is None:
            continue
        if found.name != field.name:
            yield path + found.name, path + field.name
            continue
        one, two, inner = found.type, field.type, f"{path}{field.name}."
        while pa.types.is_list(one) and pa.types.is_list(two):
            one, two, inner = one.value_type, two.value_type, inner[:-1] + "[]."
        if pa.types.is_struct(one) and pa.types.is_struct(two):
            yield from _case_conflicts(list(one), list(two), inner)


def told_apart(decoded: Decoded, partitions: Iterable[str], headers: Iterable[str]) -> Decoded:
    """The rows whose fields readers can tell apart; the others become bad rows.

    `partitions`, `headers`: names of partitions and of header columns. A field that is named
    exactly like a header column is left to the caller. Of fields that differ only in case the first
    one stays; what the lake knows stands before what is new.
    """
    table = decoded.table
    taken = {name.casefold(): (name, "partition") for name in partitions}
    taken |= {name.casefold(): (name, "header column") for name in headers}
    kept, odd = _sorted_out(list(table.schema), taken, "")
    if not odd and pa.schema(kept).equals(table.schema):
        return decoded
    reasons: dict[int, str] = {}
    for place, reason in _reasons(table.columns, list(table.schema), kept, odd):
        reasons.setdefault(place, reason)
    good = np.ones(table.num_rows, dtype=np.bool_)
    good[list(reasons)] = False
    rows = np.arange(table.num_rows) if decoded.rows is None else np.asarray(decoded.rows)
    bad = [*decoded.bad, *((int(rows[place]), reason) for place, reason in reasons.items())]
    whole = table.filter(pa.array(good)).select([field.name for field in kept])
    if kept:
        whole = whole.cast(pa.schema(kept))
    return Decoded(whole, pa.array(rows[good]), tuple(sorted(bad)))


Odd = dict[str, str]
"""Names of fields of one struct that cannot stay -> why."""


def _sorted_out(
    fields: list[pa.Field], taken: dict[str, tuple[str, str]], path: str
) -> tuple[list[pa.Field], Odd]:
    """The fields that stay, without what cannot stay inside them, and the others."""
    kept: list[pa.Field] = []
    odd: Odd = {}
    seen = dict(taken)
    for field in fields:
        other, what = seen.get(field.name.casefold(), ("", ""))
        if what and not (what == "header column" and other == field.name):
            odd[field.name] = _why(path, field.name, other, what)
            continue
        seen.setdefault(field.name.casefold(), (field.name, "column"))
        kept.append(field.with_type(_inside(field.type, f"{path}{field.name}")))
    return kept, odd


def _why(path: str, name: str, other: str, what: str) -> str:
    if name == other:
        return f"field {path}{name} has the name of a {what}; readers cannot tell them apart"
    return f"field {path}{name} differs only in case from {what} {path}{other}, which Spark ignores"


def _inside(kind: pa.DataType, path: str) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct(_sorted_out(list(kind), {}, f"{path}.")[0])
    if pa.types.is_list(kind):
        return pa.list_(_inside(kind.value_type, f"{path}[]"))
    return kind


def _reasons(
    arrays: Iterable[pa.Array],
    fields: list[pa.Field],
    kept: list[pa.Field],
    odd: Odd,
    path: str = "",
) -> Iterator[tuple[int, str]]:
    """Places of rows that have a value in a field that cannot stay, each with why."""
    stays = {field.name: field.type for field in kept}
    for array, field in zip(arrays, fields, strict=True):
        if field.name in odd:
            places = np.flatnonzero(np.asarray(array.is_valid()))
            yield from ((int(place), odd[field.name]) for place in places)
        elif not field.type.equals(stays[field.name]):
            yield from _reasons_inside(array, f"{path}{field.name}")


def _reasons_inside(array: pa.Array, path: str) -> Iterator[tuple[int, str]]:
    if pa.types.is_struct(array.type):
        kept, odd = _sorted_out(list(array.type), {}, f"{path}.")
        yield from _reasons(array.flatten(), list(array.type), kept, odd, f"{path}.")
    elif pa.types.is_list(array.type):
        lengths = np.asarray(array.value_lengths().fill_null(0))
        owners = np.repeat(np.arange(len(array)), lengths)
        for place, reason in _reasons_inside(array.flatten(), f"{path}[]"):
            yield int(owners[place]), reason
