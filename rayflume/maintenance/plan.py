"""Which files of which partitions are merged. Pure: all it is given is a listing.

Small files of one partition are merged in the order of their deliveries, so that rows which came
together stay together. A partition is closed, and only then touched, when it has a completeness
marker or its newest file is old enough; the files of an unpartitioned lake, which is never closed,
must be old enough one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rayflume.errors import OptionError
from rayflume.naming import RESERVED, delivery_of, parse_delivery
from rayflume.units import format_bytes

MIB = 1 << 20
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SMALL = 0.75
"""A file below this share of the target is small."""
FULL = 1.1
"""What merged files may have of the target on average, judged by what they are made of."""
FILES_MAX = 200
"""Merged at once. They are removed one by one on some stores, and readers see their rows twice
meanwhile.
"""
MARKER = "_SUCCESS"


@dataclass(frozen=True)
class CompactOptions:
    """What to merge. `partitions`: a glob of partition paths, such as `dt=2026-11-*`; in it `*`
    also stands for `/`.
    """

    target_bytes: int = 128 * MIB
    min_age_ms: int = HOUR_MS
    partitions: str = "*"
    keep_tombstones_ms: int = 30 * DAY_MS
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.target_bytes < MIB:
            raise OptionError(
                f"--target {format_bytes(self.target_bytes)}: files of less than 1 MiB are what "
                "compaction is there to remove; write 1MiB or more, such as 128MiB"
            )
        if self.keep_tombstones_ms < DAY_MS:
            raise OptionError(
                "--keep-tombstones: a delivery that recovers must find them; write 1d or more, "
                "and no less than a sink may be down"
            )

    @property
    def small_bytes(self) -> int:
        return int(self.target_bytes * SMALL)


@dataclass(frozen=True)
class Group:
    """Files of one partition that become one, in this order, and their bytes."""

    paths: tuple[str, ...]
    bytes: int


def partition_of(path: str) -> str:
    """The folder of a file relative to the lake, "" for the lake's own."""
    return path.rpartition("/")[0]


def is_data(path: str) -> bool:
    """Whether this is a file of rows that rayflume wrote, or merged."""
    reserved = path.startswith(f"{RESERVED}/")
    return not reserved and path.endswith(".parquet") and delivery_of(path) is not None


def by_partition(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Partition -> its data files and their sizes, both sorted."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted(sizes):
        if is_data(path):
            found.setdefault(partition_of(path), {})[path] = sizes[path]
    return dict(sorted(found.items()))


def worth_a_look(sizes: Mapping[str, int], options: CompactOptions) -> list[str]:
    """The partitions where at least two files are small, closed or not, sorted."""
    return [
        partition
        for partition, files in by_partition(sizes).items()
        if matching([partition], options) and groups(files, options)
    ]


def matching(partitions: Sequence[str], options: CompactOptions) -> list[str]:
    """Those that the glob names."""
    return [name for name in partitions if fnmatchcase(name, options.partitions)]


def closed_files(
    partition: str, files: Sequence[str], modified: Mapping[str, int] | None, latest_ms: int
) -> list[str]:
    """The files that may be merged: all of a closed partition, else none. Those of an unpartitioned
    lake are judged one by one. `modified` None: the store can't tell, so only a marker counts, or
    no minimum age.
    """
    if f"{partition}/{MARKER}".removeprefix("/") in files:
        return [path for path in files if is_data(path)]
    times = {path: (modified or {}).get(path, latest_ms + 1) for path in files if is_data(path)}
    old = [path for path, time in times.items() if time <= latest_ms]
    return old if not partition or len(old) == len(times) else []


def groups(files: Mapping[str, int], options: CompactOptions) -> list[Group]:
    """Which of these files of one partition become one. No file is in two groups.

    The groups are about the same size: filled one after the other the last would be a small file
    again, in every partition.
    """
    small = sorted((p for p, size in files.items() if size < options.small_bytes), key=_order)
    total = max(1, sum(files[path] for path in small))
    count = math.ceil(total / (options.target_bytes * FULL))
    found: list[list[str]] = [[] for _ in range(count)]
    before = 0
    for path in small:
        found[(2 * before + files[path]) * count // (2 * total + 1)].append(path)
        before += files[path]
    split = [g[i : i + FILES_MAX] for g in found for i in range(0, len(g), FILES_MAX)]
    return [Group(tuple(g), sum(files[path] for path in g)) for g in split if len(g) > 1]


def _order(path: str) -> tuple[str, int, int, str]:
    journal, epoch, number = parse_delivery(delivery_of(path) or "")
    return journal, epoch, number, path
