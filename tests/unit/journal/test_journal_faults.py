"""F4 and F5: a journal cut at every byte of its last 64 KiB, and hurt at thousands of places.

A share of them is tried in each run. `RAYFLUME_FAULT_VOLUME=50` tries 10,000 faults of each kind,
164 also every cut.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from disks import FaultyDisk, _Content
from fakes import journaled, manifest_of, manual, request
from fault_volume import scaled
from test_journal_damage import Served, records_of, serve

from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.journal.recovery import Found
from rayflume.journal.segment import HEAD, Kind

TAIL_BYTES = 64 * 2**10
CUTS = min(TAIL_BYTES, scaled(400))
FAULTS = scaled(200)
ROWS_OF_PUT = 12
KEY = "ab" * 16


def body(position: int) -> bytes:
    return b"%07d-%s" % (position, b"r" * (37 + position % 90))


@dataclass(frozen=True)
class Story:
    """A journal of three lives and what it holds: positions by where they are."""

    files: dict[str, bytes]
    records: tuple[Found, ...]
    waiting: frozenset[int]
    prepared: frozenset[int]

    def disk(self, name: str = "", data: bytes = b"") -> FaultyDisk:
        """The files again, one of them changed."""
        disk = FaultyDisk()
        for known, content in (self.files | ({name: data} if name else {})).items():
            disk.files[known] = _Content(bytearray(content), bytearray(content), len(content))
        return disk


def put(channel: JournaledChannel, start: int, rows: int = ROWS_OF_PUT, keyed: bool = False) -> int:
    """Rows whose bodies say their positions; returns the next position."""
    stop = start + rows
    extent = Extent("s", start, stop, rows)
    if keyed:
        extent = Extent(f"{start:032x}", 0, rows, rows, bytes(16), keyed=True)
        skipped = Extent("s", start, stop, 0)
        channel.put(request([], [skipped]))
    channel.put(request([body(p) for p in range(start, stop)], [extent]))
    return stop


@cache
def story() -> Story:
    disk, place = FaultyDisk(), Path("/nowhere")
    at, prepared, committed = 0, set[int](), set[int]()
    for life in range(3):
        channel = journaled(disk, manual(place)[0])
        for turn in range(12 if life < 2 else 48):
            at = put(channel, at, keyed=turn % 7 == 3)
            if turn % 5 == 0:
                taken = channel.take(f"lake/{turn}/x", "", 1, 0)
                rows = {
                    p for ref in taken.refs for p in range(ref.position, ref.position + ref.rows)
                }
                channel.prepare(manifest_of(taken.delivery, len(rows)), f"lake/{turn}/x")
                prepared |= rows
                if turn % 2 == 0:
                    channel.commit(taken.delivery)
                    committed |= rows
                    prepared -= rows
            if turn % 9 == 8:
                channel.put(request([], [Extent(f"gone-{turn}", 0, 5, 0)]))
                channel.retire([f"gone-{turn}"])
        channel.close()
    files = {name: bytes(content.data) for name, content in disk.files.items()}
    waiting = frozenset(range(at)) - prepared - committed
    return Story(files, tuple(records_of(disk)), waiting, frozenset(prepared))


def prepared_of(served: Served) -> set[int]:
    return {p for start, stop in served.prepared for p in range(start, stop)}


# -- F4 --------------------------------------------------------------------------------------------


def test_f4_cut_at_every_byte_of_the_last_64_kib(tmp_path: Path) -> None:
    told = story()
    last = max(told.files)
    data = told.files[last]
    assert len(data) > TAIL_BYTES
    before = [f for f in told.records if f.segment != last]
    inside = [f for f in told.records if f.segment == last]
    sizes = range(len(data) - TAIL_BYTES, len(data))
    for size in (
        sizes if CUTS == TAIL_BYTES else random.Random(seed_of_this_run()).sample(sizes, CUTS)
    ):
        kept = before + [f for f in inside if _end(f) <= size]
        acked = _rows(kept, Kind.PUT)
        done = _rows(kept, Kind.COMMITTED)
        served = serve(told.disk(last, data[:size]), tmp_path)
        prepared = prepared_of(served)
        assert prepared == _rows(kept, Kind.PREPARED) - done, size
        assert served.rows.keys() == acked - done - prepared, size
        assert all(found == body(p) for p, found in served.rows.items()), size
        assert served.counted == 0, size


def seed_of_this_run() -> int:
    """Another share in each run; a failure names its size or seed."""
    return random.SystemRandom().randrange(2**32)


def _end(found: Found) -> int:
    return found.offset + found.head.body_offset + found.head.body_length


def _rows(records: list[Found], kind: Kind) -> set[int]:
    found: set[int] = set()
    for record in records:
        if record.head.kind is kind:
            meta = record.head.meta
            spans = [meta["rows"]] if kind is Kind.PUT else meta["ranges"]
            found |= {p for start, stop in spans for p in range(start, stop)}
    return found


# -- F5 --------------------------------------------------------------------------------------------

Hurt = Callable[[Story, random.Random], "tuple[str, bytes]"]
"""Which file becomes what."""


def _place(told: Story, chance: random.Random, length: int) -> tuple[str, int]:
    """Where a fault hits; not the last records, for nothing would prove that they were synced."""
    name = chance.choice(sorted(told.files))
    end = [f for f in told.records if f.segment == name][-4].offset
    return name, chance.randrange(0, end - length)


def flip(told: Story, chance: random.Random) -> tuple[str, bytes]:
    name, at = _place(told, chance, 1)
    data = bytearray(told.files[name])
    data[at] ^= 1 << chance.randrange(8)
    return name, bytes(data)


def zero(told: Story, chance: random.Random) -> tuple[str, bytes]:
    length = chance.choice([64, 512, 4096])
    name, at = _place(told, chance, length)
    data, at = bytearray(told.files[name]), at // 64 * 64
    data[at : at + length] = bytes(length)
    return name, bytes(data)


def duplicate(told: Story, chance: random.Random) -> tuple[str, bytes]:
    """A record is written a second time, over others."""
    record = chance.choice(told.records)
    name, at = _place(told, chance, record.head.length)
    data, at = bytearray(told.files[name]), at // 64 * 64
    source = told.files[record.segment]
    data[at : at + record.head.length] = source[record.offset : record.offset + record.head.length]
    return name, bytes(data[: len(told.files[name])])


def misdirect(told: Story, chance: random.Random) -> tuple[str, bytes]:
    """A record is written over others and not to its own place, in one segment."""
    name, _ = _place(told, chance, 1)
    inside = [f for f in told.records if f.segment == name][:-4]
    record = chance.choice(inside)
    data, length = bytearray(told.files[name]), record.head.length
    copy = bytes(data[record.offset : record.offset + length])
    data[record.offset : record.offset + length] = bytes(length)
    at = chance.choice(inside).offset
    data[at : at + length] = copy
    return name, bytes(data[: len(told.files[name])])


@pytest.mark.parametrize("hurt", [flip, zero, duplicate, misdirect])
def test_f5_never_a_wrong_row_and_damage_counted_exactly(tmp_path: Path, hurt: Hurt) -> None:
    told = story()
    first = seed_of_this_run()
    for seed in range(first, first + FAULTS):
        name, data = hurt(told, random.Random(seed))
        served = serve(told.disk(name, data), tmp_path)
        check(told, served, (name, data), seed)


def test_f5_a_record_in_the_place_of_another_does_not_displace_its_neighbour(
    tmp_path: Path,
) -> None:
    """Seed 1000277: by their order alone either of the two could be the one that is misplaced."""
    told = story()
    name, data = misdirect(told, random.Random(1000277))
    check(told, serve(told.disk(name, data), tmp_path), (name, data), 1000277)


def check(told: Story, served: Served, changed: tuple[str, bytes], seed: int) -> None:
    name, data = changed
    hurt = [f for f in told.records if f.segment == name and not _same(told, f, data)]
    kept = [f for f in told.records if f not in hurt]
    newest = name == max(told.files)
    lost, prepared = _rows(hurt, Kind.PUT), prepared_of(served)
    # The newest Snapshot knows what the records before it said.
    done = _rows(kept if newest else list(told.records), Kind.COMMITTED)
    assert all(found == body(p) for p, found in served.rows.items()), seed
    assert not prepared & served.rows.keys(), seed
    for found in hurt:
        assert served.named or _harmless(told, found, data), (seed, found)
    assert told.waiting - lost <= served.rows.keys(), seed
    assert told.prepared - lost <= served.rows.keys() | prepared, seed
    # Rows whose Prepared or Committed record is damaged go out, or are published, again.
    ends = (Kind.PREPARED, Kind.COMMITTED) if newest else ()
    again = {p for kind in ends for p in _rows(hurt, kind)}
    assert served.rows.keys() <= told.waiting | again, seed
    assert prepared <= told.prepared | again, seed
    assert served.counted == len(lost - done - prepared - served.rows.keys()), seed


def _same(told: Story, found: Found, data: bytes) -> bool:
    """Whether a record's bytes are as they were, padding aside."""
    before, head, at = told.files[found.segment], found.head, found.offset
    front = slice(at, at + HEAD.size + head.meta_length)
    inner = slice(at + head.body_offset, at + head.body_offset + head.body_length)
    return before[front] == data[front] and before[inner] == data[inner]


def _harmless(told: Story, found: Found, data: bytes) -> bool:
    """Only a body is hurt that nobody reads any more: of done rows, or of an older Snapshot."""
    before, head, at = told.files[found.segment], found.head, found.offset
    front = slice(at, at + HEAD.size + head.meta_length)
    if before[front] != data[front] or head.kind not in (Kind.PUT, Kind.SNAPSHOT):
        return False
    if head.kind is Kind.SNAPSHOT:
        return found.segment != max(told.files)
    return not set(range(*head.meta["rows"])) & told.waiting
