"""What is in a lake, and the proof of what arrived: rows of journals that are missing, or there
twice. Pure: it is given footers.

A journal numbers its rows from 0 and gives each to one delivery, and a delivery gives each to one
file of a partition or to its dead letters. So, of one journal,
- a row in the ranges of no file is a **gap**: it never arrived, was deleted, or went to another
  lake that the same channel feeds;
- a row in the ranges of two deliveries, or of two files of one partition, is an **overlap**: it
  may be there twice. (Two partitions of one delivery do share ranges, among which each has its own
  rows.)
Rows that are still on their way make a gap only below rows that have arrived.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rayflume.file_metadata import STREAMS
from rayflume.interfaces import RowRange
from rayflume.maintenance.footers import Footer, journal_of
from rayflume.maintenance.plan import partition_of
from rayflume.naming import DEAD_LETTERS, RESERVED, delivery_of
from rayflume.ranges import joined

LARGE_BYTES = 64_000_000


@dataclass
class Partition:
    """Files of rows in one folder, and their bytes; `large`: bytes in files of LARGE_BYTES."""

    name: str
    files: int = 0
    rows: int = 0
    bytes: int = 0
    large: int = 0


@dataclass(frozen=True)
class Overlap:
    """Rows `[start, stop)` of a journal that lie in two files. `files` names them."""

    start: int
    stop: int
    files: tuple[str, str]


@dataclass
class JournalRows:
    """What the lake has of one journal: `ranges` joined, from how many files and deliveries."""

    journal: str
    files: int = 0
    deliveries: int = 0
    ranges: list[RowRange] = field(default_factory=list)
    gaps: list[RowRange] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)


@dataclass
class Report:
    """All of a lake. `streams`: ranges of what was read of each source stream, as far as files tell
    (they keep a bounded number). `foreign`: Parquet that rayflume did not write. `others`: files
    that are no Parquet, but for rayflume's own. `damaged`: path and why.
    """

    partitions: list[Partition] = field(default_factory=list)
    dead: Partition = field(default_factory=lambda: Partition(DEAD_LETTERS))
    journals: list[JournalRows] = field(default_factory=list)
    streams: dict[str, list[RowRange]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(partition.bytes for partition in self.partitions)

    @property
    def large_share(self) -> float:
        """Share of the bytes of rows in files of at least LARGE_BYTES; 1 for an empty lake."""
        large = sum(partition.large for partition in self.partitions)
        return large / self.bytes if self.bytes else 1.0

    @property
    def proven(self) -> bool:
        """Whether every row of every journal, up to the last one seen, is there once."""
        return not self.damaged and not any(j.gaps or j.overlaps for j in self.journals)


@dataclass(frozen=True)
class _Span:
    start: int
    stop: int
    place: str
    path: str


def worth_reading(paths: Iterable[str]) -> list[str]:
    """Files whose footers `inspect` needs: Parquet outside `_rayflume`, and the dead letters."""
    return [
        path
        for path in paths
        if (path.endswith(".parquet") and not path.startswith(("_", ".")))
        or (path.startswith(f"{DEAD_LETTERS}/") and delivery_of(path) is not None)
    ]


def no_parquet(paths: Iterable[str]) -> list[str]:
    """Files that are neither Parquet nor rayflume's own."""
    return [path for path in paths if not path.endswith(".parquet") and not _is_own(path)]


def _is_own(path: str) -> bool:
    return path.startswith(f"{RESERVED}/")


def inspect(footers: Iterable[Footer]) -> Report:
    """The report on files of these footers."""
    report = Report()
    partitions: dict[str, Partition] = {}
    spans: dict[str, dict[str, list[_Span]]] = {}
    streams: dict[str, list[RowRange]] = {}
    for footer in footers:
        if footer.problem:
            report.damaged.append((footer.path, footer.problem))
            continue
        folder = partition_of(footer.path)
        dead = folder == DEAD_LETTERS
        _count(report.dead if dead else partitions.setdefault(folder, Partition(folder)), footer)
        if footer.origins is None:
            report.foreign.append(footer.path)
            continue
        for origin, ranges in footer.origins.items():
            mine = spans.setdefault(journal_of(origin), {}).setdefault(origin, [])
            mine += [_Span(start, stop, folder, footer.path) for start, stop in ranges]
        for stream, read in json.loads(footer.metadata.get(STREAMS) or "{}").items():
            streams.setdefault(stream, []).extend((start, stop) for start, stop in read)
    report.partitions = [partitions[name] for name in sorted(partitions)]
    report.journals = [_journal(name, spans[name]) for name in sorted(spans)]
    report.streams = {name: joined(streams[name]) for name in sorted(streams)}
    return report


def _count(partition: Partition, footer: Footer) -> None:
    partition.files += 1
    partition.rows += footer.rows
    partition.bytes += footer.size
    partition.large += footer.size if footer.size >= LARGE_BYTES else 0


def _journal(name: str, origins: dict[str, list[_Span]]) -> JournalRows:
    everything = [span for spans in origins.values() for span in spans]
    ranges = joined((span.start, span.stop) for span in everything)
    return JournalRows(
        name,
        files=len({span.path for span in everything}),
        deliveries=sum(origin != name for origin in origins),
        ranges=ranges,
        gaps=_gaps(ranges),
        overlaps=_doubled(everything, origins),
    )


def _gaps(ranges: Sequence[RowRange]) -> list[RowRange]:
    """Between the ranges, and before the first: a journal numbers its rows from 0."""
    found, reached = [], 0
    for start, stop in ranges:
        if start > reached:
            found.append((reached, start))
        reached = stop
    return found


def _doubled(everything: list[_Span], origins: dict[str, list[_Span]]) -> list[Overlap]:
    by_folder: dict[str, list[_Span]] = {}
    for span in everything:
        by_folder.setdefault(span.place, []).append(span)
    found = [overlap for spans in by_folder.values() for overlap in _swept(spans)]
    # The ranges of one delivery are joined over its partitions first: there they may be the same.
    deliveries = [
        _Span(start, stop, origin, spans[0].path)
        for origin, spans in origins.items()
        if delivery_in(origin)
        for start, stop in joined((span.start, span.stop) for span in spans)
    ]
    known = {(overlap.start, overlap.stop) for overlap in found}
    found += [one for one in _swept(deliveries) if (one.start, one.stop) not in known]
    return sorted(found, key=lambda overlap: (overlap.start, overlap.stop))


def delivery_in(origin: str) -> bool:
    """Whether an origin is a delivery's id, not a whole journal."""
    return "-" in origin


def _swept(spans: list[_Span]) -> list[Overlap]:
    """Where a span begins before those that began earlier have all ended."""
    found: list[Overlap] = []
    last: _Span | None = None
    for span in sorted(spans, key=lambda span: (span.start, span.stop)):
        if last is not None and span.start < min(last.stop, span.stop):
            stop = min(last.stop, span.stop)
            found.append(Overlap(span.start, stop, (last.path, span.path)))
        if last is None or span.stop > last.stop:
            last = span
    return found
