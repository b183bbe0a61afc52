"""What the footers of lake files say. Nothing but the end of each file is read.

A file's *origins* are the deliveries its rows came with, and for each the ranges of journal rows
among which they were chosen. A file that a sink wrote has one; a merged one has those of all it was
made of (`rayflume.merged`), or, if they were too many, its journals with their ranges joined.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume.errors import RayflumeError
from rayflume.file_metadata import DELIVERY, MERGED, PREFIX, RANGES
from rayflume.interfaces import LakeReader, RowRange, Storage
from rayflume.ranges import joined

Origins: TypeAlias = Mapping[str, tuple[RowRange, ...]]
"""Delivery id, or the id of a journal alone -> ranges of its rows, sorted."""

THREADS = 16


@dataclass(frozen=True)
class Footer:
    """The end of one file. `problem`: why it can't be read, "" if it can; then all else is empty.

    `origins` is None for a file that rayflume did not write.
    """

    path: str
    size: int
    problem: str = ""
    rows: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    origins: Origins | None = None
    parquet: pq.FileMetaData | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns, without metadata. Only of a file without `problem`."""
        if self.parquet is None:
            raise ValueError(f"{self.path} has no schema: {self.problem}")
        return pa.schema([f.remove_metadata() for f in self.parquet.schema.to_arrow_schema()])


def read_footers(
    storage: Storage, sizes: Mapping[str, int], threads: int = THREADS
) -> Iterator[Footer]:
    """The footers of files, in the order of `sizes`; a file that is gone is left out. Blocks.

    Raises only what the store raises.
    """
    with ThreadPoolExecutor(threads, "rayflume-footers") as pool:
        for footer in pool.map(lambda item: _footer(storage, *item), sizes.items()):
            if footer is not None:
                yield footer


def _footer(storage: Storage, path: str, size: int) -> Footer | None:
    try:
        with opened(storage, path) as file:
            parquet = pq.ParquetFile(file).metadata
    except KeyError:
        return None
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, RayflumeError):
            raise
        return Footer(path, size, f"no whole Parquet file: {_first_line(error)}")
    named = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (parquet.metadata or {}).items()
        if key.startswith(PREFIX.encode())
    }
    try:
        return Footer(path, size, "", parquet.num_rows, named, origins_in(named), parquet)
    except ValueError as error:
        return Footer(path, size, f"its metadata is damaged: {_first_line(error)}")


def opened(storage: Storage, path: str) -> closing[LakeReader]:
    """The file, closed at the end of the block. Raises KeyError when it is gone."""
    return closing(storage.open(path))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def origins_in(metadata: Mapping[str, str]) -> Origins | None:
    """The origins that a file's metadata tells; None when it is not rayflume's.

    Raises ValueError for what rayflume would not write.
    """
    if MERGED in metadata:
        value = json.loads(metadata[MERGED])
        if not isinstance(value, dict):
            raise ValueError(f"{MERGED} is not a mapping")
        return {str(name): _ranges(ranges) for name, ranges in value.items()}
    if RANGES in metadata and DELIVERY in metadata:
        return {metadata[DELIVERY]: _ranges(json.loads(metadata[RANGES]))}
    return None


def _ranges(value: object) -> tuple[RowRange, ...]:
    if not isinstance(value, list):
        raise ValueError("ranges are not a list")
    found = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int for n in pair):
            raise ValueError(f"{pair!r} is not a range of rows")
        found.append((pair[0], pair[1]))
    return tuple(sorted(found))


def journal_of(origin: str) -> str:
    """The journal of a delivery id, or of itself."""
    return origin.partition("-")[0]


def overlaps(ranges: Iterable[RowRange]) -> list[RowRange]:
    """What lies in more than one of the ranges, joined."""
    found: list[RowRange] = []
    reached = 0
    for start, stop in sorted(ranges):
        if start < min(reached, stop):
            found.append((start, min(reached, stop)))
        reached = max(reached, stop)
    return joined(found)


def all_ranges(origins: Sequence[Origins]) -> dict[str, list[RowRange]]:
    """Journal -> all ranges of these files, as they are."""
    found: dict[str, list[RowRange]] = {}
    for one in origins:
        for origin, ranges in one.items():
            found.setdefault(journal_of(origin), []).extend(ranges)
    return found
