"""How the bytes of a local lake are spread over its files: what the gates of file size ask."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rayflume.naming import RESERVED


def data_files(lake: Path) -> dict[str, int]:
    """Path relative to the lake -> bytes, of every file of rows; staged and dead ones are none."""
    found = ((path.relative_to(lake), path) for path in sorted(lake.rglob("*.parquet")))
    return {
        name.as_posix(): path.stat().st_size for name, path in found if name.parts[0] != RESERVED
    }


def share_of_bytes(lake: Path, size_min: int) -> float:
    """The share of the lake's bytes, 0 to 1, that is in files of `size_min` bytes or more.

    Raises ValueError for a lake without files: no share of nothing is good or bad.
    """
    sizes = data_files(lake).values()
    if not sum(sizes):
        raise ValueError(f"{lake} has no file of rows")
    return sum(size for size in sizes if size >= size_min) / sum(sizes)


def files_per_partition(lake: Path) -> Counter[str]:
    """Partition -> how many files it has."""
    return Counter(name.rpartition("/")[0] for name in data_files(lake))
