"""How columns become Parquet: codec and level, dictionaries, statistics, Bloom filters, order.

Everything here is a function of the options, the schema and, where that pays, of the rows of a
file's first row group. What Spark cannot read is not written: timestamps stay INT64 microseconds in
UTC as the formats make them, nothing is unsigned, nothing is nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from rayflume.component import option

BLOOM_FPP = 0.05
"""One in twenty row groups that lack a value is read in vain."""

_BLOOM_VALUES_MIN = 1024
_BLOOM_VALUES_MAX = 1 << 24
_BLOOM_BITS = 6.3
"""Per distinct value, at BLOOM_FPP."""
_SAMPLE_ROWS = 4096
_SAMPLE_ROWS_MIN = 64
_DISTINCT_MAX = 0.5


class Columns(BaseModel):
    """How single columns are encoded. A column inside another is written as Parquet does,
    `user.id`; a name stands for all that is inside. Names that the lake lacks are passed over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dictionary: dict[str, bool] = option(
        "Columns that are dictionary-encoded whatever is in them (true), or never (false). All "
        "others are where values repeat, judged by the first rows of each file.",
        factory=dict,
        example={"url": False},
    )
    statistics: dict[str, bool] = option(
        "Columns without lowest and highest value per row group (false). Readers skip row groups "
        "by them; long texts cost room in each file's footer.",
        factory=dict,
        example={"message": False},
    )
    bloom_filters: list[str] = option(
        "Columns with a Bloom filter per row group, for searches of single values (`user_id = 7`) "
        "in columns with many distinct ones. Sized by the first rows of each file for 5 % false "
        "hits, about 0.8 bytes per distinct value.",
        factory=list,
        example=["user_id"],
    )


@dataclass(frozen=True)
class Encoding:
    """The sink's options for the inside of files. `level` None: the codec's own default."""

    codec: str = "snappy"
    level: int | None = None
    page_bytes: int = 1 << 20
    sort_by: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns)

    def plain(self) -> Encoding:
        """The same without what names columns: for files with a schema of their own."""
        return Encoding(self.codec, self.level, self.page_bytes)

    def writer(
        self, out: object, schema: pa.Schema, first: pa.Table, group_bytes: int
    ) -> tuple[pq.ParquetWriter, int]:
        """A writer of one file whose first row group is `first`, and the bytes that the Bloom
        filters of each row group take. `group_bytes`: decoded bytes of the groups to come.
        """
        order = self.order(schema)
        values = self._bloom_values(first, group_bytes)
        writer = pq.ParquetWriter(
            out,
            schema,
            compression=self.codec,
            compression_level=self.level,
            data_page_size=self.page_bytes,
            use_dictionary=self._dictionary(first),
            write_statistics=self._statistics(schema),
            sorting_columns=_sorting_columns(schema, order) if order else None,
            bloom_filter_options={
                path: {"ndv": count, "fpp": BLOOM_FPP} for path, count in values.items()
            }
            or None,
        )
        return writer, sum(map(_bloom_bytes, values.values()))

    def order(self, schema: pa.Schema) -> list[str]:
        """The columns to sort by that this schema has."""
        return [name for name in self.sort_by if name in schema.names]

    def sort(self, table: pa.Table) -> pa.Table:
        """Rows in the order of `sort_by`, nulls last; equal ones keep theirs."""
        order = self.order(table.schema)
        if not order or table.num_rows < 2:
            return table
        keys = [(name, "ascending") for name in order]
        return table.take(pc.sort_indices(table, sort_keys=keys))

    def misfit(self, schema: pa.Schema) -> str:
        """Why the columns do not suit these options, "" if they do."""
        for name in self.order(schema):
            kind = schema.field(name).type
            if pa.types.is_nested(kind):
                return f"sort_by names {name!r}, a column of type {kind}; name one with one value"
        kinds = leaves(schema)
        for path in _chosen(kinds, self.columns.bloom_filters):
            if pa.types.is_boolean(kinds[path]):
                return (
                    f"columns.bloom_filters names {path!r}, which is true or false: a Bloom filter "
                    "is of no use there"
                )
        return ""

    def _dictionary(self, first: pa.Table) -> list[str]:
        chosen = self.columns.dictionary
        kinds = leaves(first.schema)
        never = set(_chosen(kinds, (name for name, on in chosen.items() if not on)))
        always = set(_chosen(kinds, (name for name, on in chosen.items() if on)))
        found = {*dictionary_columns(first, never | always), *always}
        return [p for p in kinds if p in found and not pa.types.is_boolean(kinds[p])]

    def _statistics(self, schema: pa.Schema) -> bool | list[str]:
        kinds = leaves(schema)
        off = (name for name, on in self.columns.statistics.items() if not on)
        without = set(_chosen(kinds, off))
        return [path for path in kinds if path not in without] if without else True

    def _bloom_values(self, first: pa.Table, group_bytes: int) -> dict[str, int]:
        """Distinct values to expect per row group: those of the first, and more if it is smaller
        than its successors may be.
        """
        wanted = _chosen(leaves(first.schema), self.columns.bloom_filters)
        if not wanted:
            return {}
        scale = max(1.0, group_bytes / max(1, first.nbytes))
        found = {}
        for path, leaf in _values(first):
            if path in wanted:
                count = round(pc.count_distinct(leaf).as_py() * scale)
                found[path] = min(max(count, _BLOOM_VALUES_MIN), _BLOOM_VALUES_MAX)
        return found


@lru_cache(maxsize=64)
def leaves(schema: pa.Schema) -> Mapping[str, pa.DataType]:
    """Parquet path of every column with values, in the order of the file, and its Arrow type."""
    found = (leaf for field in schema for leaf in _leaf_types(field.name, field.type))
    return MappingProxyType(dict(found))


def _leaf_types(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(kind):
        for inner in kind:
            yield from _leaf_types(f"{path}.{inner.name}", inner.type)
    elif pa.types.is_map(kind):
        yield from _leaf_types(f"{path}.key_value.key", kind.key_type)
        yield from _leaf_types(f"{path}.key_value.value", kind.item_type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaf_types(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind


def _chosen(paths: Iterable[str], names: Iterable[str]) -> list[str]:
    """The paths that are named, or lie inside a named column."""
    wanted = tuple(names)
    return [p for p in paths if any(p == name or p.startswith(f"{name}.") for name in wanted)]


def _sorting_columns(schema: pa.Schema, order: list[str]) -> list[pq.SortingColumn]:
    places = {path: place for place, path in enumerate(leaves(schema))}
    return [pq.SortingColumn(places[name], descending=False, nulls_first=False) for name in order]


def _bloom_bytes(values: int) -> int:
    """Bytes of a filter: Parquet takes the next power of two."""
    return 1 << max(5, int(values * _BLOOM_BITS / 8 - 1).bit_length())


def dictionary_columns(table: pa.Table, decided: Iterable[str] = ()) -> list[str]:
    """Parquet paths of the columns whose values repeat so often that a dictionary pays; those that
    are `decided` are not looked at.

    Measured: a dictionary for every column halves the speed of the whole encoding, because columns
    of distinct values are hashed in vain. Decided on rows spread over the whole row group.
    """
    rows = table.num_rows
    if rows < _SAMPLE_ROWS_MIN:
        return []
    places = np.linspace(0, rows - 1, min(rows, _SAMPLE_ROWS), dtype=np.int64)
    sample, passed = table.take(pa.array(places)), set(decided)
    found = []
    for path, leaf in _values(sample):
        count = len(leaf) - leaf.null_count
        if path in passed or pa.types.is_boolean(leaf.type) or not count:
            continue
        if pc.count_distinct(leaf).as_py() <= max(1, count * _DISTINCT_MAX):
            found.append(path)
    return found


def _values(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    """Parquet path and values of every column, those in lists and maps laid end to end."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        yield from _leaf_values(name, column.combine_chunks())


def _leaf_values(path: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    kind = column.type
    if pa.types.is_struct(kind):
        for inner, child in zip(kind, column.flatten(), strict=True):
            yield from _leaf_values(f"{path}.{inner.name}", child)
    elif pa.types.is_map(kind):
        yield from _leaf_values(f"{path}.key_value.key", column.keys)
        yield from _leaf_values(f"{path}.key_value.value", column.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaf_values(f"{path}.list.element", column.flatten())
    else:
        yield path, column


def level_problem(codec: str, level: int | None) -> str:
    """Why a codec does not take this level, "" if it does."""
    if level is None:
        return ""
    if codec in ("snappy", "none"):
        return f"codec_level: {codec} has no levels; leave it out, or take zstd, gzip or lz4"
    high = pa.Codec.maximum_compression_level("lz4_raw" if codec == "lz4" else codec)
    if not 1 <= level <= high:
        return f"codec_level: {level} is no level of {codec}; write 1 to {high}"
    return ""
