"""What the workers that read with pyarrow share."""

from __future__ import annotations

import pyarrow as pa

from bench.tasks import Task

_TYPES = {
    "int64": pa.int64(),
    "string": pa.string(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp_ms": pa.int64(),
}


def read_schema(task: Task) -> pa.Schema:
    """The columns of a task's JSON as they are read; times are numbers still."""
    return pa.schema([(name, _TYPES[kind]) for name, kind in task.schema.items()])
