"""Whether all rows of a file belong to its directory, told from what Parquet itself counted.

An independent check of the partitioning: lowest and highest value of each column that decides the
directory are in the footer, and must lead to that directory. Costs nothing per row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.sinks._bucket import Field, Ints
from rayflume.sinks._event_time import event_times, usable_type
from rayflume.sinks._split import Splitter


def misplaced(footer: pq.FileMetaData, splitter: Splitter, directory: str) -> str:
    """Why a file cannot be that of a directory, "" if nothing speaks against it.

    What is no column of the file (a header), has no statistics or is a float is not looked at.
    """
    schema = footer.schema.to_arrow_schema()
    wanted = splitter.partitioning
    fields = {
        name: bounds
        for name in wanted.fields
        if name in schema.names
        and not pa.types.is_floating(schema.field(name).type)
        and (bounds := _bounds(footer, schema.field(name))) is not None
    }
    times = _times(footer, splitter, schema)
    if times is None and not fields:
        return ""
    whole = len(fields) == len(wanted.fields) and not (wanted.uses_time and times is None)
    known: Mapping[str, Field] = {**dict.fromkeys(wanted.fields), **fields}
    ms = np.zeros(2, np.int64) if times is None else times
    found = wanted.group(ms if wanted.uses_time else None, known).directories
    if len(found) == 1 and (found[0] == directory or not whole):
        return ""
    return f"a file of {directory or 'the lake'} has rows of {' and of '.join(found)}"


def _times(footer: pq.FileMetaData, splitter: Splitter, schema: pa.Schema) -> Ints | None:
    name = splitter.event_time
    if not splitter.partitioning.uses_time or name not in schema.names:
        return None
    field = schema.field(name)
    bounds = _bounds(footer, field) if usable_type(field.type) else None
    if bounds is None:
        return None
    # Rows without event time are there because of `ingest_time`; their time is not in the file.
    found = event_times(bounds.drop_null(), len(bounds) - bounds.null_count)
    return found.ms if len(found.ms) and found.known is None else None


def _bounds(footer: pq.FileMetaData, field: pa.Field) -> pa.Array | None:
    """Lowest and highest value of a column, and null if it has nulls; None when not known."""
    columns = [footer.schema.column(i).path for i in range(footer.num_columns)]
    place, found = columns.index(field.name), set[object]()
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        counted = group.column(place).statistics
        if counted is None or not counted.has_null_count:
            return None
        if counted.null_count:
            found.add(None)
        if counted.null_count < group.num_rows:
            if not counted.has_min_max:
                return None
            found |= {counted.min, counted.max}
    values = sorted(value for value in found if value is not None)  # type: ignore[type-var]
    ends = [*values[:1], *values[-1:]] or [None]
    return pa.array([*ends, None] if None in found else ends, field.type)
