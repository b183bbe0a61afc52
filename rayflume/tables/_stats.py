"""Statistics of a Parquet file as Delta's log keeps them, from the file's own footer.

With them a reader skips files. Only bounds that are exact for certain are given: none for floating
point (a NaN is in no Parquet bound, but is greater than all in Spark), for decimals (which JSON
numbers would round) and for the upper end of long texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

Nested: TypeAlias = "dict[str, Nested | str | int]"
COLUMNS_MAX = 32
"""Columns with statistics, as Delta's own default: wide rows must not make a long log."""
TEXT_MAX = 32
_MS = timedelta(milliseconds=1)


def delta_stats(footer: pq.FileMetaData) -> str:
    """JSON with the number of rows, lowest and highest values, and numbers of nulls. Pure."""
    low: Nested = {}
    high: Nested = {}
    nulls: Nested = {}
    leaves = list(_leaves(footer.schema.to_arrow_schema(), ()))
    for column, (path, kind) in list(enumerate(leaves))[:COLUMNS_MAX]:
        if path:
            found = [footer.row_group(n).column(column) for n in range(footer.num_row_groups)]
            _add(nulls, path, _null_count(found))
            lowest, highest = _bounds(found, kind)
            _add(low, path, lowest)
            _add(high, path, highest)
    stats = {"numRecords": footer.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    return json.dumps(stats, ensure_ascii=False)


def _leaves(
    fields: Iterable[pa.Field], path: tuple[str, ...], inside: bool = False
) -> Iterator[tuple[tuple[str, ...], pa.DataType]]:
    """Name and type of each column of the file, in its order; no name for what is in a list."""
    for field in fields:
        kind, here = field.type, (*path, field.name)
        if pa.types.is_struct(kind):
            yield from _leaves(kind, here, inside)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            yield from _leaves([kind.value_field], here, True)
        elif pa.types.is_map(kind):
            yield from _leaves([kind.key_field, kind.item_field], here, True)
        else:
            yield (() if inside else here), kind


def _null_count(columns: list[pq.ColumnChunkMetaData]) -> int | None:
    if not all(c.is_stats_set and c.statistics.has_null_count for c in columns):
        return None
    return sum(int(c.statistics.null_count) for c in columns)


def _bounds(
    columns: list[pq.ColumnChunkMetaData], kind: pa.DataType
) -> tuple[str | int | None, str | int | None]:
    lows, highs = [], []
    for column in columns:
        stats = column.statistics if column.is_stats_set else None
        if stats is None:
            return None, None
        if stats.has_min_max:
            lows.append(stats.min)
            highs.append(stats.max)
        elif not stats.has_null_count or stats.null_count != column.num_values:
            return None, None
    if not lows:
        return None, None
    return _written(min(lows), kind, False), _written(max(highs), kind, True)


def _written(value: object, kind: pa.DataType, upper: bool) -> str | int | None:
    """A bound as the log has it; None where it would not be exact."""
    if pa.types.is_integer(kind) and isinstance(value, int):
        return value
    if pa.types.is_string(kind) and isinstance(value, str):
        return value if len(value) <= TEXT_MAX else None if upper else value[:TEXT_MAX]
    if pa.types.is_timestamp(kind) and isinstance(value, datetime):
        # The log knows milliseconds: outwards, so that no row is left out.
        at = value.astimezone(UTC)
        over = timedelta(microseconds=at.microsecond % 1000)
        at = at - over + (_MS if upper and over else timedelta())
        return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z" if at.year >= 1000 else None
    if pa.types.is_date32(kind) and isinstance(value, date):
        return value.isoformat()
    return None


def _add(into: Nested, path: tuple[str, ...], value: str | int | None) -> None:
    if value is None:
        return
    for name in path[:-1]:
        inner = into.setdefault(name, {})
        assert isinstance(inner, dict)
        into = inner
    into[path[-1]] = value
