"""Integers that a double cannot hold make a decimal column, or a bad row, never another number.

The reader infers a double for an integer beyond int64, and rounds one in a column of doubles. That
is right where the configuration says float64, and nowhere else. Only values of 2^53 and more are
looked at, for all smaller integers are doubles.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayflume.formats._cast import EXACT_MAX
from rayflume.formats._rows import Indexes, clean
from rayflume.interfaces import Decoded
from rayflume.schema import DIGITS_MAX, Column, columns_of

BIG = pa.decimal128(DIGITS_MAX, 0)
"""What a new field of integers becomes when one of them is beyond int64."""
_ITEMS = "[]"
Path = tuple[str, ...]
"""Names of fields from the top, and _ITEMS for all items of a list."""


def with_decimals(schema: pa.Schema, table: pa.Table, row: Callable[[int], bytes]) -> pa.Schema:
    """The types, with decimals for doubles that are all integers in the table, some beyond int64.

    `table` has the columns of the schema; `row` is the text of each of its rows.
    """
    fields = []
    for field in schema:
        chunks = table.column(field.name).chunks
        array = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
        exact = _exact(field.type, array, np.arange(len(array)), ((field.name,), row))
        fields.append(pa.field(field.name, exact))
    return pa.schema(fields)


def _exact(
    kind: pa.DataType, array: pa.Array, owners: Indexes, at: tuple[Path, Callable[[int], bytes]]
) -> pa.DataType:
    path, row = at
    if pa.types.is_struct(kind):
        flat = dict(zip((f.name for f in array.type), array.flatten(), strict=True))
        fields = [
            (f.name, _exact(f.type, flat[f.name], owners, ((*path, f.name), row))) for f in kind
        ]
        return pa.struct(fields)
    if pa.types.is_list(kind):
        items, inner = _items(array, owners)
        return pa.list_(_exact(kind.value_type, items, inner, ((*path, _ITEMS), row)))
    if not pa.types.is_floating(kind) or not pc.all(pc.equal(pc.floor(array), array)).as_py():
        return kind
    found = [
        value
        for place in np.unique(owners[_large(array)]).tolist()
        for value in _values(_loaded(row(place)), path)
        if not isinstance(value, int | float) or abs(value) >= EXACT_MAX
    ]
    whole = all(isinstance(value, int) and abs(value) < 10**DIGITS_MAX for value in found)
    return BIG if found and whole else kind


def without_rounded(decoded: Decoded, body: pa.BinaryArray, declared: Sequence[Column]) -> Decoded:
    """The rows but for those in which an integer became another number; these are bad."""
    reasons: dict[int, str] = {}
    for column in columns_of(decoded.table.schema):
        given = next((c for c in declared if c.name == column.name), None)
        array = decoded.table.column(column.name)
        for places, path in _suspects(array, np.arange(len(array)), (column, given), ()):
            inputs = places if decoded.rows is None else np.asarray(decoded.rows)[places]
            for place, index in zip(places.tolist(), inputs.tolist(), strict=True):
                wrong = _rounded(_loaded(body[index].as_py()), path)
                if wrong:
                    reasons.setdefault(place, wrong)
    return _dropped(decoded, reasons) if reasons else decoded


def _loaded(row: bytes) -> object:
    """The value of a row; None for one that only the reader can read."""
    try:
        return json.loads(row)
    except (ValueError, RecursionError):
        return None


def _rounded(value: object, path: Path) -> str:
    for found in _values(value, path):
        if isinstance(found, int) and int(float(found)) != found:
            name = ".".join(path).replace(f".{_ITEMS}", _ITEMS)
            return (
                f"column {name}: {str(found)[:80]} is no double, and the column holds doubles: "
                f"declare it as decimal({DIGITS_MAX},0)"
            )
    return ""


def _dropped(decoded: Decoded, reasons: dict[int, str]) -> Decoded:
    keep = np.ones(decoded.table.num_rows, dtype=np.bool_)
    keep[list(reasons)] = False
    index = np.arange(len(keep)) if decoded.rows is None else np.asarray(decoded.rows)
    more = [(int(index[place]), clean(reason)) for place, reason in reasons.items()]
    table = decoded.table.filter(pa.array(keep))
    return Decoded(table, pa.array(index[keep]), tuple(sorted((*decoded.bad, *more))))


def _suspects(
    array: pa.Array, owners: Indexes, columns: tuple[Column, Column | None], above: Path
) -> Iterator[tuple[Indexes, Path]]:
    """Rows with large values in doubles that nobody declared, path by path."""
    column, declared = columns
    path = (*above, column.name)
    if column.children:
        known = {} if declared is None else {c.name: c for c in declared.children}
        if pa.types.is_list(array.type):
            array, owners = _items(array, owners)
            item = column.children[0]
            given = known.get("item")
            named = Column(_ITEMS, item.type, "", item.children)
            yield from _suspects(array, owners, (named, given), path)
            return
        for child, values in zip(column.children, array.flatten(), strict=True):
            yield from _suspects(values, owners, (child, known.get(child.name)), path)
    elif declared is None and array.type == pa.float64():
        places = np.unique(owners[_large(array)])
        if len(places):
            yield places, path


def _large(array: pa.DoubleArray) -> Indexes:
    """Places of the values that may be rounded integers."""
    ends = pc.min_max(array).as_py()
    if ends["min"] is None or max(-ends["min"], ends["max"]) < EXACT_MAX:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(
        np.asarray(pc.fill_null(pc.greater_equal(pc.abs(array), EXACT_MAX), False))
    )


def _items(array: pa.ListArray, owners: Indexes) -> tuple[pa.Array, Indexes]:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), 0))
    return array.flatten(), np.repeat(owners, lengths)


def _values(value: object, path: Path) -> Iterator[object]:
    """What a row has at a path; nothing where it does not go so far."""
    if not path:
        if value is not None:
            yield value
    elif path[0] == _ITEMS:
        for item in value if isinstance(value, list) else ():
            yield from _values(item, path[1:])
    elif isinstance(value, dict):
        yield from _values(value.get(path[0]), path[1:])
