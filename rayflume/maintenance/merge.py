"""Several lake files into one, and the proof that it has their rows.

The rows go row group by row group from the store into a file of this host's temporary folder
(TMPDIR; unnamed, so it vanishes with the process), which is then read back as a whole. Only if it
has the rows of its sources, by number and by checksum, do its bytes go to the store.

Memory: the row groups under way (4, as large as the sinks made them), one to be written (64 MiB
decoded), and its encoding.
"""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayflume.errors import LakeDamaged
from rayflume.file_metadata import (
    DELIVERY,
    MERGED,
    OTHER_STREAMS,
    RANGES,
    RANGES_MAX,
    SCHEMA_VERSION,
    STREAMS,
    STREAMS_MAX,
)
from rayflume.interfaces import RowRange, Storage
from rayflume.maintenance.checksum import MODULUS, checksum
from rayflume.maintenance.footers import (
    Footer,
    Origins,
    all_ranges,
    opened,
    overlaps,
)
from rayflume.ranges import joined

ROW_GROUP_BYTES = 64 << 20
READ_AHEAD = 4
ORIGINS_MAX = 2000
"""Deliveries that a file names; above it its journals, with their ranges joined."""
VALUES_MAX = 8
_CODECS = {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}


@dataclass(frozen=True)
class Merged:
    """A file in a temporary place, at its beginning, that was read back and found whole."""

    file: IO[bytes]
    size: int
    rows: int
    checksum: int


@contextmanager
def merged(
    storage: Storage, sources: Sequence[Footer], metadata: Mapping[str, str]
) -> Iterator[Merged]:
    """The rows of `sources` in one new file. Blocks.

    Raises LakeDamaged when one of them can't be read or merged, and as the store does; KeyError
    when one is gone.
    """
    schema = united([source.schema for source in sources])
    with tempfile.TemporaryFile(prefix="rayflume-compact-") as file:
        try:
            rows, expected = _write(storage, sources, schema, (file, metadata))
            size = file.seek(0, 2)
            found = _read_back(file, metadata)
        except pa.ArrowException as error:
            raise LakeDamaged(f"{sources[0].path} and others can't be merged: {error}") from error
        if found != (rows, expected):
            raise LakeDamaged(
                f"the merged file has {found[0]:,} rows with checksum {found[1]:016x}, but its "
                f"{len(sources)} sources, such as {sources[0].path}, have {rows:,} with "
                f"{expected:016x}: nothing was changed; this is a fault of memory, disk or rayflume"
            )
        file.seek(0)
        yield Merged(file, size, rows, expected)


def _write(
    storage: Storage,
    sources: Sequence[Footer],
    schema: pa.Schema,
    out: tuple[IO[bytes], Mapping[str, str]],
) -> tuple[int, int]:
    """Rows and checksum of the sources, as they were read."""
    file, metadata = out
    order = _order(sources)
    rows, total, waiting = 0, 0, list[pa.Table]()
    with pq.ParquetWriter(file, schema, **_settings(sources, schema)) as writer:
        for table in _row_groups(storage, sources):
            for batch in comparable(table, schema).to_batches():
                total = (total + checksum(batch)) % MODULUS
            rows += table.num_rows
            waiting.append(conformed(table, schema))
            if sum(one.nbytes for one in waiting) >= ROW_GROUP_BYTES:
                _write_group(writer, waiting, order)
        _write_group(writer, waiting, order)
        writer.add_key_value_metadata(dict(metadata))
    expected = sum(source.rows for source in sources)
    if rows != expected:
        raise LakeDamaged(
            f"{sources[0].path} and others had {rows:,} rows in all when they were read, but "
            f"{expected:,} by their footers: nothing was changed"
        )
    return rows, total


def _write_group(writer: pq.ParquetWriter, waiting: list[pa.Table], order: list[str]) -> None:
    if not waiting:
        return
    table = pa.concat_tables(waiting)
    waiting.clear()
    if order:
        keys = [(name, "ascending") for name in order]
        table = table.take(pc.sort_indices(table, sort_keys=keys))  # nulls last
    writer.write_table(table, row_group_size=max(1, table.num_rows))


def _row_groups(storage: Storage, sources: Sequence[Footer]) -> Iterator[pa.Table]:
    """All row groups, some of them read ahead."""
    places = [
        (source.path, number)
        for source in sources
        for number in range(0 if source.parquet is None else source.parquet.num_row_groups)
    ]
    under_way: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(READ_AHEAD, "rayflume-compact") as pool:
        for path, number in places:
            if len(under_way) == READ_AHEAD:
                yield under_way.popleft().result()
            under_way.append(pool.submit(_row_group, storage, path, number))
        while under_way:
            yield under_way.popleft().result()


def _row_group(storage: Storage, path: str, number: int) -> pa.Table:
    try:
        with opened(storage, path) as file:
            table = pq.ParquetFile(file, pre_buffer=True).read_row_group(number)
    except (pa.ArrowException, OSError) as error:
        raise LakeDamaged(f"{path} can't be read: {error}", path=path) from error
    return table.replace_schema_metadata(None)


def _read_back(file: IO[bytes], metadata: Mapping[str, str]) -> tuple[int, int]:
    """Rows and checksum of the file as it was written."""
    file.seek(0)
    with pq.ParquetFile(file) as written:
        has = written.metadata.metadata or {}
        if any(has.get(key.encode()) != value.encode() for key, value in metadata.items()):
            raise LakeDamaged("the merged file lacks its metadata: nothing was changed")
        total = 0
        for batch in written.iter_batches(1 << 16):
            total = (total + checksum(batch)) % MODULUS
        return written.metadata.num_rows, total


# -- schema ----------------------------------------------------------------------------------------


def united(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """All columns of all schemas; decimals as wide as the widest.

    Raises LakeDamaged where a column has types that one file can't have.
    """
    try:
        union = pa.unify_schemas(list(schemas), promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise LakeDamaged(f"the files have columns of types that differ: {error}") from error
    for schema in schemas:
        for field in schema:
            kind = union.field(field.name).type
            if not _holds(kind, field.type):
                raise LakeDamaged(
                    f"the column {field.name!r} is {field.type} in one file and {kind} in another"
                )
    return pa.schema([field.with_nullable(True) for field in union])


def _holds(union: pa.DataType, kind: pa.DataType) -> bool:
    """Whether a column of the union's type reads as one of this type does, but for new fields and
    wider decimals.
    """
    if pa.types.is_null(kind) or bool(union.equals(kind)):
        return True
    if pa.types.is_struct(union) and pa.types.is_struct(kind):
        return all(_holds(union.field(f.name).type, f.type) for f in kind)
    if pa.types.is_list(union) and pa.types.is_list(kind):
        return _holds(union.value_type, kind.value_type)
    return bool(pa.types.is_decimal(union) and pa.types.is_decimal(kind))


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with the columns of `schema`, null where they had none."""
    columns = []
    for field in schema:
        if field.name in table.schema.names:
            columns.append(table.column(field.name).cast(field.type))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def comparable(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows as they were read, but for types: a decimal that is to be wider is so already. No
    column is added, so that the checksum also guards what `conformed` does.
    """
    for place, field in enumerate(table.schema):
        kind = schema.field(field.name).type
        if not field.type.equals(kind):
            table = table.set_column(place, field.name, table.column(place).cast(kind))
    return table


# -- how the file is written -----------------------------------------------------------------------


def _settings(sources: Sequence[Footer], schema: pa.Schema) -> dict[str, object]:
    """Codec, dictionaries, order and Bloom filters as the sources have them in their first row
    groups.
    """
    groups = [s.parquet.row_group(0) for s in sources if s.parquet and s.parquet.num_row_groups]
    columns = [group.column(place) for group in groups for place in range(group.num_columns)]
    encoded, filters = dict[str, int](), dict[str, int]()
    for column in columns:
        path = column.path_in_schema
        encoded[path] = encoded.get(path, 0) + (1 if column.has_dictionary_page else -1)
        if column.bloom_filter_length:
            filters[path] = filters.get(path, 0) + column.num_values
    codec = columns[0].compression if columns else "SNAPPY"
    order = _order(sources)
    return {
        "compression": _CODECS.get(codec, codec.lower()),
        "use_dictionary": [path for path, more in encoded.items() if more >= 0],
        "sorting_columns": (
            order
            and pq.SortingColumn.from_ordering(
                schema, [(name, "ascending") for name in order], null_placement="at_end"
            )
        )
        or None,
        "bloom_filter_options": {path: {"ndv": n} for path, n in filters.items()} or None,
    }


def _order(sources: Sequence[Footer]) -> list[str]:
    """The columns by which all row groups are sorted, ascending with nulls last; none if they
    differ or are anything else.
    """
    found = set()
    for source in sources:
        if source.parquet is None:
            continue
        for number in range(source.parquet.num_row_groups):
            group = source.parquet.row_group(number)
            found.add(tuple(_sorted_by(group, column) for column in group.sorting_columns))
    order = found.pop() if len(found) == 1 else ()
    return [] if "" in order else list(order)


def _sorted_by(group: pq.RowGroupMetaData, column: pq.SortingColumn) -> str:
    """The name of a top-level column, "" for an order that is not kept."""
    path = str(group.column(column.column_index).path_in_schema)
    return "" if column.descending or column.nulls_first or "." in path else path


# -- metadata --------------------------------------------------------------------------------------


def merged_metadata(sources: Sequence[Footer], delivery: str) -> dict[str, str]:
    """The key-value metadata of the merged file: what its sources say, together and bounded.

    Raises LakeDamaged when rows of a journal are in two of the sources, for that must stay to be
    seen.
    """
    known = {MERGED, RANGES, DELIVERY, STREAMS, SCHEMA_VERSION}
    names = sorted({name for source in sources for name in source.metadata} - known)
    found = {name: _together(source.metadata.get(name, "") for source in sources) for name in names}
    versions = [int(source.metadata.get(SCHEMA_VERSION) or 0) for source in sources]
    streams = merged_streams([source.metadata.get(STREAMS, "") for source in sources])
    if streams:
        found[STREAMS] = json.dumps(streams)
    return {
        **found,
        DELIVERY: delivery,
        SCHEMA_VERSION: str(max(versions)),
        MERGED: json.dumps(merged_origins(sources)),
    }


def merged_origins(sources: Sequence[Footer]) -> dict[str, list[RowRange]]:
    """The origins of all sources; by journal if they are more than ORIGINS_MAX."""
    origins: list[Origins] = [source.origins or {} for source in sources]
    for journal, ranges in all_ranges(origins).items():
        if doubled := overlaps(ranges):
            start, stop = doubled[0]
            raise LakeDamaged(
                f"the rows {start:,} to {stop:,} of journal {journal} are in two files, such as "
                f"{sources[0].path} and {sources[-1].path}: `rayflume lake inspect` shows them; "
                "they are left as they are"
            )
    found: dict[str, list[RowRange]] = {}
    for one in origins:
        for origin, spans in one.items():
            found.setdefault(origin, []).extend(spans)
    if len(found) > ORIGINS_MAX:
        found = all_ranges(origins)
    return {origin: joined(every) for origin, every in sorted(found.items())}


def merged_streams(texts: Sequence[str]) -> dict[str, list[RowRange]]:
    """Stream -> ranges of what was read of it, of all files. Above STREAMS_MAX streams the others
    are one, without ranges; above RANGES_MAX ranges the last are joined over the gap between them.
    """
    found: dict[str, list[RowRange]] = {}
    for text in texts:
        for stream, ranges in (json.loads(text) if text else {}).items():
            room = stream in found or len(found) < STREAMS_MAX
            found.setdefault(stream if room else OTHER_STREAMS, []).extend(
                (start, stop) for start, stop in ranges
            )
    for stream, read in found.items():
        spans = [] if stream == OTHER_STREAMS else joined(read)
        if len(spans) > RANGES_MAX:
            spans = [*spans[: RANGES_MAX - 1], (spans[RANGES_MAX - 1][0], spans[-1][1])]
        found[stream] = spans
    return found


def _together(values: Iterator[str]) -> str:
    texts = {value for value in values if value}
    if len(texts) < 2:
        return "".join(texts)
    distinct = sorted({value for text in texts for value in text.split(", ")})
    more = ["..."] if len(distinct) > VALUES_MAX else []
    return ", ".join([*distinct[:VALUES_MAX], *more])
