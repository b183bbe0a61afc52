"""What was read from disk -> what is kept, cut and set aside. Pure: bytes were read by the store.

A bad stretch of a segment is a *torn tail* when no later record says that it was synced: it was
never acknowledged, and it is cut together with all behind it. Any other bad stretch is *damage*:
set aside, counted, shown; the rest is served. Each segment's first record notes where the one
before it ends; what lies behind that end (a torn tail that was cut earlier, the late writes of a
stopped process) is not looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rayflume.journal.segment import Head, Kind

SEGMENT_SUFFIX = ".log"
_NO_NUMBER = 2**64


def segment_name(number: int) -> str:
    """`segment-0000000007.log`; names sort as numbers do."""
    return f"segment-{number:010d}{SEGMENT_SUFFIX}"


def segment_number(name: str) -> int | None:
    """The number in a segment's name, None for other files."""
    stem, suffix = name[: -len(SEGMENT_SUFFIX)], name[-len(SEGMENT_SUFFIX) :]
    kind, _, digits = stem.partition("-")
    return (
        int(digits) if suffix == SEGMENT_SUFFIX and kind == "segment" and digits.isdigit() else None
    )


@dataclass(frozen=True, slots=True)
class Found:
    """One whole record head, and where its record lies."""

    segment: str
    offset: int
    head: Head


@dataclass(frozen=True, slots=True)
class Bad:
    """A stretch of a segment in which no record head could be read, or whose body is damaged."""

    segment: str
    start: int
    stop: int
    reason: str


@dataclass
class Scan:
    """All of one segment, in order."""

    segment: str
    size: int
    found: list[Found] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)

    @property
    def opening(self) -> Head | None:
        """The SEGMENT record that a whole segment begins with."""
        first = self.found[0] if self.found else None
        whole = first is not None and first.offset == 0 and first.head.kind is Kind.SEGMENT
        return first.head if first is not None and whole else None


@dataclass
class Recovered:
    """What a journal starts from after opening."""

    journal: str = ""
    epoch: int = 0
    last_seq: int = 0
    records: list[Found] = field(default_factory=list)
    """All whole records in order; those behind `snapshot` are to be replayed."""
    snapshot: Found | None = None
    unproven: list[Found] = field(default_factory=list)
    """Per segment the first record that may not be on the disk itself yet."""
    ends: dict[str, int] = field(default_factory=dict)
    """Segment -> where its good part ends."""
    torn: list[Bad] = field(default_factory=list)
    damaged: list[Bad] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    """Segments without any usable record: left over from an opening that did not get far."""
    missing: list[tuple[int, int]] = field(default_factory=list)
    """`[first, stop)` of record numbers behind the snapshot that no record has."""
    prefix_lost: bool = False
    """No Snapshot was whole although older segments are gone: positions may be forgotten."""


def trim(scans: Sequence[Scan], known_ends: dict[str, int]) -> dict[str, int]:
    """Where each segment ends as a later one noted it, or its numbers show, or the caller knows."""
    ends = {scan.segment: scan.size for scan in scans}
    for scan in scans:
        opening = scan.opening
        noted = opening.meta["ends"] if opening else {}
        for segment, end in noted.items():
            if segment in ends:
                ends[segment] = min(ends[segment], end)
    for segment, end in known_ends.items():
        if segment in ends:
            ends[segment] = min(ends[segment], end)
    following = _NO_NUMBER
    for scan in reversed(scans):
        # Numbers go on where the good part ended: what repeats them was cut (if its note is lost).
        # A lone one with more behind it that fits was written to the wrong place (see strays).
        fitting = [i for i, f in enumerate(scan.found) if f.head.seq < following]
        behind = scan.found[fitting[-1] + 1 :] if fitting else scan.found
        if behind:
            ends[scan.segment] = min(ends[scan.segment], behind[0].offset)
        if scan.found:
            following = min(following, _first_number(scan))
    return ends


def _first_number(scan: Scan) -> int:
    """The number of a segment's first record, also when that one or two can't be read."""
    heads = [f.head for f in scan.found]
    opening = scan.opening
    if opening is None or opening.meta["number"] != segment_number(scan.segment):
        # Not the number of a record from another place, which the next one does not follow.
        for head, after in pairwise(heads):
            if after.seq == head.seq + 1 and head is not heads[0]:
                return head.seq
            if after.seq == head.seq + 1:
                break
    first = heads[0]
    return first.seq - {Kind.SEGMENT: 0, Kind.SNAPSHOT: 1}.get(first.kind, 2)


def strays(scans: Sequence[Scan], ends: dict[str, int]) -> list[Found]:
    """Whole records that lie where another was written: a disk wrote them to the wrong place.

    Numbers grow from record to record, so these are the fewest without which they do; first of all
    those that fit neither the record right before nor the one right behind.
    """
    records = [f for scan in scans for f in scan.found if f.offset < ends[f.segment]]
    if all(before.head.seq < after.head.seq for before, after in pairwise(records)):
        return []
    alone = [f for i, f in enumerate(records) if _fits_neither(records, i)]
    gone = {(f.segment, f.offset) for f in alone}
    records = [f for f in records if (f.segment, f.offset) not in gone]
    lowest: list[int] = []  # last number of a growing chain, by its length
    last: list[int] = []  # index of the record with it
    before: list[int] = []
    for i, record in enumerate(records):
        length = bisect_left(lowest, record.head.seq)
        lowest[length : length + 1] = [record.head.seq]
        last[length : length + 1] = [i]
        before.append(last[length - 1] if length else -1)
    chain, at = set[int](), last[-1]
    while at >= 0:
        chain.add(at)
        at = before[at]
    return alone + [record for i, record in enumerate(records) if i not in chain]


def _fits_neither(records: Sequence[Found], i: int) -> bool:
    """Whether a record has another right before it and one right behind, and follows and precedes
    neither.
    """
    if not 0 < i < len(records) - 1:
        return False
    return all(
        first.segment == second.segment
        and first.offset + first.head.length == second.offset
        and first.head.seq + 1 != second.head.seq
        for first, second in pairwise(records[i - 1 : i + 2])
    )


def missing_numbers(found: Recovered) -> list[tuple[int, int]]:
    """Record numbers that are to be replayed and that no record has."""
    expected = found.snapshot.head.seq + 1 if found.snapshot else 1
    missing = []
    for record in found.records:
        if record.head.seq > expected:
            missing.append((expected, record.head.seq))
        expected = max(expected, record.head.seq + 1)
    return missing


def unproven(scans: Sequence[Scan], ends: dict[str, int]) -> list[Found]:
    """Records with a body that no later record says were synced: their bodies must be checked."""
    records = [f for scan in scans for f in scan.found if f.offset < ends[f.segment]]
    proven = max((f.head.synced for f in records), default=0)
    return [f for f in records if f.head.seq > proven and f.head.body_length]


def classify(scans: Sequence[Scan], ends: dict[str, int], bad_bodies: Iterable[Found]) -> Recovered:
    """Decide what of the scanned segments (in order) is kept, cut, set aside."""
    torn_bodies = {(f.segment, f.offset) for f in bad_bodies}
    result = Recovered(ends=dict(ends))
    proven = max(
        (f.head.synced for s in scans for f in s.found if f.offset < ends[s.segment]), default=0
    )
    cut = False
    for scan in scans:
        end = ends[scan.segment]
        if cut or end == 0 or (not scan.found and result.last_seq >= proven):
            result.empty.append(scan.segment)
            continue
        cut = _read_segment(scan, end, proven, torn_bodies, result)
    result.snapshot = _newest_snapshot(result.records)
    late = {f.segment: f for f in reversed(result.records) if f.head.seq > proven}
    result.unproven = list(late.values())
    first = result.records[0].head if result.records else None
    result.prefix_lost = bool(first and first.seq > 1 and result.snapshot is None)
    return result


def _read_segment(
    scan: Scan, end: int, proven: int, torn_bodies: set[tuple[str, int]], result: Recovered
) -> bool:
    """Add one segment to the result; True if its tail was cut, so that nothing behind it counts."""
    stretches: list[Found | Bad] = [*scan.found, *scan.bad]
    stretches.sort(key=lambda item: item.offset if isinstance(item, Found) else item.start)
    for item in stretches:
        start = item.offset if isinstance(item, Found) else item.start
        if start >= end:
            break
        torn = isinstance(item, Bad) and result.last_seq >= proven
        torn = torn or (isinstance(item, Found) and (item.segment, item.offset) in torn_bodies)
        if torn:
            result.torn.append(Bad(scan.segment, start, end, "torn tail: it was never synced"))
            result.ends[scan.segment] = start
            return True
        if isinstance(item, Bad):
            result.damaged.append(item)
            continue
        result.records.append(item)
        result.last_seq = max(result.last_seq, item.head.seq)
        result.epoch = max(result.epoch, item.head.epoch)
        if item.head.kind is Kind.SEGMENT:
            result.journal = item.head.meta["journal"]
    return False


def _newest_snapshot(records: Sequence[Found]) -> Found | None:
    return next((f for f in reversed(records) if f.head.kind is Kind.SNAPSHOT), None)
