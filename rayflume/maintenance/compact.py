"""The protocol by which one merged file takes the place of its sources, on any plain lake.

    read the partition's newest tombstone, then list its files
    merge          in a temporary file of this host; rows and checksum are compared
    stage          every byte at the store and durable, nothing visible
    tombstone      number n + 1 of the partition, created only if absent: the point of no return
    switch         publish the merged file, look at it, remove the sources

Rules:
- Who creates tombstone n + 1 has won; whoever else merged from the same listing is refused and
  discards what it staged. So any number of compactors may run on one path, without a lease or a
  clock that they would have to trust.
- A tombstone has the handle of the staged bytes: any process can do its switch, also twice. The
  switch is over when none of the removed files is to be seen. Only the newest one of a partition is
  ever acted upon, so a crash at any step is repaired by the next run, whoever does it.
- If its staged bytes were lost before they were published, a tombstone is void: it names files that
  are there. The next number is made from a new merge.
- A file whose delivery still has staged bytes is left alone. So nobody can publish a file again
  after it was removed: its delivery finds it gone, and the tombstone that names it.
- A reader that lists the partition during the switch sees rows twice, never not at all; one that
  listed it before and opens files after finds them gone. That is what a plain path cannot help: it
  lasts as long as one publish, one look and one removal of at most FILES_MAX files.
- Tombstones are deleted when they are older than `keep_tombstones_ms`: no delivery may recover
  later than that, and no compactor may sleep longer between two steps. The newest one of a
  partition stays for ever: were its number given again, two compactors could both win.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import pyarrow as pa
import pyarrow.parquet as pq

from rayflume import tombstones
from rayflume.clock import Clock
from rayflume.errors import ConfigError, LakeDamaged, RayflumeError
from rayflume.file_metadata import DELIVERY, SCHEMA_VERSION
from rayflume.interfaces import Json, Published, Storage
from rayflume.maintenance import plan
from rayflume.maintenance.footers import Footer, opened, read_footers
from rayflume.maintenance.merge import Merged, merged, merged_metadata
from rayflume.maintenance.plan import DAY_MS, CompactOptions, Group
from rayflume.naming import (
    COMPACTION,
    TOMBSTONES,
    data_name,
    delivery_id,
    delivery_of,
    parse_delivery,
    tombstone_name,
)
from rayflume.tombstones import Tombstone

ROUNDS_MAX = 64
ORPHAN_MS = DAY_MS
"""A compactor that staged bytes so long ago and has no tombstone for them is dead."""
COPY_BYTES = 8 << 20
_ATTEMPTS = 10**6


class State(StrEnum):
    """What became of one partition."""

    MERGED = "merged"
    PLANNED = "planned"  # a dry run
    OPEN = "open"  # not closed yet
    NOTHING = "nothing"  # no two small files, or others did it


@dataclass(frozen=True)
class Compacted:
    """One partition. Files and bytes of rows, before and after; `rows` that were written anew;
    `switch_ms`: the longest switch; a reader could see rows twice for no longer. `problem`: why
    some or all of it was left as it was.
    """

    partition: str
    state: State
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    rows: int = 0
    switch_ms: int = 0
    problem: str = ""


def candidates(storage: Storage, options: CompactOptions) -> list[str]:
    """The partitions with something to merge, or with a switch to finish, sorted. Blocks.

    Raises ConfigError for a path that holds a table: its files are not ours to merge.
    """
    sizes = storage.sizes("")
    _refuse_table(sizes)
    begun = {_key_in(name) for name in tombstones.ids(storage)}
    found = set(plan.worth_a_look(sizes, options))
    for partition, files in plan.by_partition(sizes).items():
        if len(files) > 1 and key_of(partition) in begun:
            found.update(plan.matching([partition], options))
    return sorted(found)


def _refuse_table(sizes: Mapping[str, int]) -> None:
    for path in sizes:
        kind = "Delta" if path.startswith("_delta_log/") else ""
        if path.startswith("metadata/") and path.endswith(".metadata.json"):
            kind = "Iceberg"
        if kind:
            raise ConfigError(
                f"this path is {'an' if kind == 'Iceberg' else 'a'} {kind} table ({path}): merging "
                "its files behind its back would break it; use the table's own compaction"
            )


def key_of(partition: str) -> str:
    """What the tombstones of a partition begin with."""
    return hashlib.sha256(partition.encode()).hexdigest()[:16]


def _key_in(tombstone: str) -> str:
    return tombstone.rpartition("-")[0]


def _number_in(tombstone: str) -> int:
    number = tombstone.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


class Compactor:
    """Merges partitions one after the other. One thread; any number of others may do the same."""

    def __init__(self, storage: Storage, options: CompactOptions, clock: Clock) -> None:
        self._storage = storage
        self._options = options
        self._clock = clock
        self._attempt = clock.now_ms() * _ATTEMPTS + secrets.randbelow(_ATTEMPTS)
        self._staged = 0

    def partition(self, partition: str) -> Compacted:
        """Finish what was begun there, then merge until no two files are small. Blocks.

        Raises nothing of RayflumeError: that is the `problem` of the result.
        """
        done = Compacted(partition, State.NOTHING)
        try:
            files = self._files(partition)
            done = replace(done, files_before=len(files), bytes_before=sum(files.values()))
            done = self._rounds(done)
            files = self._files(partition)
            return replace(done, files_after=len(files), bytes_after=sum(files.values()))
        except RayflumeError as error:
            return replace(done, problem=error.message)

    def _files(self, partition: str) -> dict[str, int]:
        """The data files directly in a partition."""
        found = self._storage.sizes(partition)
        return plan.by_partition(found).get(partition, {})

    def _rounds(self, done: Compacted) -> Compacted:
        for _round in range(ROUNDS_MAX):
            newest = self._newest(done.partition)
            if newest is not None and not self._options.dry_run:
                done = self._finish(newest, done)
            state, groups = self._groups(done.partition)
            if not groups or self._options.dry_run:
                return done if done.state is State.MERGED else replace(done, state=state)
            number = 0 if newest is None else _number_in(newest.id) + 1
            before = done
            for group in groups:
                merged_now = self._merge(group, f"{key_of(done.partition)}-{number}")
                if merged_now is None:
                    break
                done = _plus(done, merged_now)
                number += not merged_now.problem
            if done.problem or before == done:  # the same: another one is at it, and does the rest
                return done
        return done

    def _newest(self, partition: str) -> Tombstone | None:
        key = key_of(partition)
        while name := _newest_by_key(tombstones.ids(self._storage)).get(key):
            if found := tombstones.read(self._storage, name):
                return found
            # It was overtaken and has expired since the listing.
        return None

    def _groups(self, partition: str) -> tuple[State, list[Group]]:
        sizes = self._storage.sizes(partition)
        files = plan.by_partition(sizes).get(partition, {})
        if not plan.groups(files, self._options):
            return State.NOTHING, []
        latest_ms = sys.maxsize
        if self._options.min_age_ms:
            latest_ms = self._clock.now_ms() - self._options.min_age_ms
        look = getattr(self._storage, "modified", None)
        modified = look(partition) if look is not None else None
        here = [path for path in sizes if plan.partition_of(path) == partition]
        closed = plan.closed_files(partition, here, modified, latest_ms)
        # Looked at after the files: what is staged for a file that we know would be seen now.
        staged = self._deliveries_staged(closed)
        usable = {path: files[path] for path in closed if delivery_of(path) not in staged}
        groups = plan.groups(usable, self._options)
        return (State.PLANNED if groups else State.OPEN), groups

    def _deliveries_staged(self, paths: Iterable[str]) -> set[str]:
        journals = {parse_delivery(delivery_of(path) or "")[0] for path in paths}
        return {
            delivery
            for journal in sorted(journals)
            for delivery, _handle in self._storage.staged(journal)
        }

    def _merge(self, group: Group, tombstone: str) -> Compacted | None:
        """Merge one group. None when another compactor was faster."""
        delivery = delivery_id(COMPACTION, self._attempt, self._staged)
        self._staged += 1
        partition = plan.partition_of(group.paths[0])
        target = f"{partition}/{data_name(delivery, 0)}".removeprefix("/")
        done = Compacted(partition, State.MERGED)
        try:
            sources = self._sources(group)
            with merged(self._storage, sources, merged_metadata(sources, delivery)) as new:
                handle = self._stage(new, target, delivery)
                record = self._record(tombstone, group, (target, handle, new))
        except KeyError:
            return None
        except LakeDamaged as error:
            return replace(done, problem=error.message)
        if not tombstones.create(self._storage, record):
            self._storage.discard(handle)
            return None
        switch_ms = self._switch(record)
        if switch_ms is None:
            return None
        return replace(done, rows=new.rows, switch_ms=switch_ms)

    def _sources(self, group: Group) -> list[Footer]:
        """The footers, oldest schema first. Raises KeyError when a file is gone."""
        footers = list(read_footers(self._storage, dict.fromkeys(group.paths, 0)))
        if len(footers) < len(group.paths):
            raise KeyError(group.paths[0])
        for footer in footers:
            if footer.problem or footer.origins is None:
                problem = footer.problem or "it has no metadata of rayflume"
                raise LakeDamaged(
                    f"{footer.path}: {problem}; move it away, then the rest can go on"
                )
        return sorted(footers, key=lambda f: int(f.metadata.get(SCHEMA_VERSION) or 0))

    def _stage(self, new: Merged, target: str, delivery: str) -> dict[str, Json]:
        writer = self._storage.stage(target, delivery)
        try:
            while data := new.file.read(COPY_BYTES):
                writer.write(data)
            handle = writer.finish()
        except BaseException:
            writer.abort()
            raise
        return handle

    def _record(
        self, tombstone: str, group: Group, what: tuple[str, dict[str, Json], Merged]
    ) -> Tombstone:
        target, handle, new = what
        facts: dict[str, Json] = {
            "partition": plan.partition_of(target),
            "handle": handle,
            "size": new.size,
            "rows": new.rows,
            "checksum": f"{new.checksum:016x}",
            "created_ms": self._clock.now_ms(),
        }
        return Tombstone(tombstone, group.paths, target, facts)

    def _finish(self, newest: Tombstone, done: Compacted) -> Compacted:
        """Do the switch of a compactor that died in it, or is at it just now."""
        files = self._files(done.partition)
        if not set(newest.removed) & set(files):
            return done
        switch_ms = self._switch(newest)
        if switch_ms is None:
            return done
        return _plus(done, Compacted(done.partition, State.MERGED, switch_ms=switch_ms))

    def _switch(self, record: Tombstone) -> int | None:
        """From here on rows are seen twice, until it returns: how long that was, in ms. None when
        the staged bytes were lost: the tombstone is void.
        """
        handle = record.facts.get("handle")
        if not isinstance(handle, dict):
            raise LakeDamaged(f"the tombstone {record.id} has no handle; restore it or delete it")
        began = self._clock.monotonic_ms()
        [outcome] = self._storage.publish([handle])
        landed = outcome is Published.LANDED and self._published(record)
        # It may have been published, and merged into another file since.
        if not landed and record.by not in tombstones.removed(self._storage, [record.by]):
            return None
        self._storage.remove(record.removed)
        return self._clock.monotonic_ms() - began

    def _published(self, record: Tombstone) -> bool:
        """Whether the merged file is there. Raises LakeDamaged when it is not what was written."""
        try:
            with opened(self._storage, record.by) as file:
                size = file.seek(0, 2)
                found = pq.ParquetFile(file).metadata
        except KeyError:
            return False
        except pa.ArrowException as error:
            raise self._not_as_written(record, str(error)) from error
        delivery = (found.metadata or {}).get(DELIVERY.encode(), b"").decode(errors="replace")
        facts = (size, found.num_rows, delivery)
        if facts != (record.facts.get("size"), record.facts.get("rows"), delivery_of(record.by)):
            raise self._not_as_written(record, f"size, rows and delivery are {facts}")
        return True

    def _not_as_written(self, record: Tombstone, what: str) -> LakeDamaged:
        return LakeDamaged(
            f"{record.by} is not as it was written ({what}), so nothing was removed, and its "
            "rows are there twice: delete it and compact again"
        )

    # -- cleaning up -------------------------------------------------------------------------------

    def collect(self) -> int:
        """Discard what dead compactors have staged and have no tombstone for. How many. Blocks."""
        aged = []
        oldest = (self._clock.now_ms() - ORPHAN_MS) * _ATTEMPTS
        for delivery, handle in self._storage.staged(COMPACTION):
            if parse_delivery(delivery)[1] < oldest:
                aged.append((delivery, handle))
        if not aged:
            return 0
        known = tombstones.read_all(self._storage, tombstones.ids(self._storage))
        needed = {delivery_of(tombstone.by) for tombstone in known}
        orphans = [handle for delivery, handle in aged if delivery not in needed]
        for handle in orphans:
            self._storage.discard(handle)
        return len(orphans)

    def expire(self) -> int:
        """Delete tombstones that nobody needs any more. How many. Blocks."""
        oldest = self._clock.now_ms() - self._options.keep_tombstones_ms
        names = tombstones.ids(self._storage)
        newest = set(_newest_by_key(names).values())
        old = [name for name in self._old(names, oldest) if name not in newest]
        self._storage.remove([tombstone_name(name) for name in old])
        return len(old)

    def _old(self, names: Sequence[str], oldest_ms: int) -> Iterator[str]:
        look = getattr(self._storage, "modified", None)
        if look is not None:
            times = look(TOMBSTONES)
            yield from (n for n in names if times.get(tombstone_name(n), sys.maxsize) < oldest_ms)
            return
        for tombstone in tombstones.read_all(self._storage, names):
            created = tombstone.facts.get("created_ms")
            if isinstance(created, int) and created < oldest_ms:
                yield tombstone.id


def _newest_by_key(names: Iterable[str]) -> dict[str, str]:
    return {_key_in(name): name for name in sorted(names, key=_number_in)}


def _plus(done: Compacted, more: Compacted) -> Compacted:
    return replace(
        done,
        state=State.MERGED if not more.problem else done.state,
        rows=done.rows + more.rows,
        switch_ms=max(done.switch_ms, more.switch_ms),
        problem=done.problem or more.problem,
    )


def totals(results: Iterable[Compacted]) -> Counter[str]:
    """Sums over partitions: files and bytes before and after, rows, and partitions by state."""
    total: Counter[str] = Counter()
    for result in results:
        total[result.state] += 1
        total["problems"] += bool(result.problem)
        for name in ("files_before", "files_after", "bytes_before", "bytes_after", "rows"):
            total[name] += getattr(result, name)
    return total
