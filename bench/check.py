"""What a contender wrote, counted: as many rows as went in, and values whose sum is right."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from bench.inputs import Input
from bench.tasks import Task


class WrongOutput(Exception):
    """A contender lost, doubled or garbled rows."""


def parquet(task: Task, data: Input, folder: Path) -> int:
    """Rows of all Parquet files below `folder`. Blocks.

    Raises WrongOutput when they are not the input's rows or the sum of the checked column is not
    the input's.
    """
    files = [str(path) for path in sorted(folder.rglob("*.parquet")) if _is_output(path, folder)]
    lake = ds.dataset(files, format="parquet")
    rows: int = sum(fragment.count_rows() for fragment in lake.get_fragments())
    if rows != data.rows:
        raise WrongOutput(f"{task.name}: {data.rows:,} rows in, {rows:,} out")
    wanted = data.sums[task.check] if task.check else data.bytes - data.rows
    found = _sum(lake, task.check)
    if found != wanted:
        raise WrongOutput(f"{task.name}: {task.check or 'bytes'} sum to {found}, not {wanted}")
    return rows


def _is_output(path: Path, folder: Path) -> bool:
    """Names that begin with `_` or `.` are not part of a lake."""
    return not any(part[0] in "_." for part in path.relative_to(folder).parts)


def _sum(lake: ds.Dataset, check: str) -> int:
    """Of the column `check`; "": of the lengths of the one text column there is."""
    name = check or next(f.name for f in lake.schema if _is_text(f.type))
    total = 0
    for batch in lake.to_batches(columns=[name]):
        column = batch.column(0)
        total += pc.sum(pc.binary_length(column) if _is_text(column.type) else column).as_py() or 0
    return int(total)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def text(data: Input, folder: Path) -> int:
    """Rows of all text files below `folder`. Blocks. Raises WrongOutput as `parquet` does."""
    rows = size = 0
    for path in folder.rglob("*"):
        if path.is_file() and _is_output(path, folder):
            with path.open("rb") as file:
                while block := file.read(2**24):
                    rows, size = rows + block.count(b"\n"), size + len(block)
    if (rows, size) != (data.rows, data.bytes):
        raise WrongOutput(
            f"{data.rows:,} rows of {data.bytes:,} bytes in, {rows:,} of {size:,} out"
        )
    return rows
