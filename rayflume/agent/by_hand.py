"""What an operator does with one journal by hand, without Ray: end a delivery, empty a channel.

Everything here takes the journal's lock, does its work in steps that are durable one after the
other, and can be called again after a crash between any two of them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import pyarrow.parquet as pq

from rayflume import flow
from rayflume.agent.garbage import journal_directory
from rayflume.agent.parts import Place
from rayflume.batch import EventBatch
from rayflume.clock import SystemClock
from rayflume.config import AgentPlan, component_of, is_durable
from rayflume.dead_letters import DEAD_SCHEMA, DeadRows, dead_table
from rayflume.delivery import Delivery, State
from rayflume.errors import ConfigError, JournalDamaged, JournalLocked
from rayflume.file_metadata import DELIVERY, SINK
from rayflume.interfaces import Channel, Manifest, RowRange, RowRef
from rayflume.journal.disk import make_directory, sync_directory
from rayflume.journal.reader import RowsUnreadable, decode_rows
from rayflume.journal.repair import opened
from rayflume.journal.segment import Kind
from rayflume.journal.store import Journal
from rayflume.journal.survey import owner, segments, survey

Known: TypeAlias = tuple[Manifest, tuple[RowRange, ...]]
DEAD_FOLDER = "dead_letters"
_ROW_GROUP_ROWS = 64 * 1024


@dataclass
class Abandoned:
    """What became of the rows of a delivery: `rows` are in `file`. `unreadable`: what is not."""

    file: Path
    rows: int
    unreadable: list[str] = field(default_factory=list)


def abandon(directory: Path, delivery: str, output: Path | None = None) -> Abandoned:
    """Write the rows of a Prepared delivery to a dead-letter file, then commit it. Blocks.

    Rows that no readable record holds are left out, and their bytes set aside. What the delivery
    has published already stays where it is. Raises ConfigError when it is not Prepared, or when the
    file is there and not of this delivery; JournalLocked while the channel runs.
    """
    file = output or directory / DEAD_FOLDER / f"{delivery}.dead"
    with opened(directory, "rayflume journal deliveries --abandon") as journal:
        manifest, ranges = _prepared(journal.ledger.prepared(), delivery, directory)
        done = Abandoned(file, 0)
        before = _rows_in(file, manifest)
        if before is None:
            before = _write(file, manifest, _readable(journal, ranges, done))
        done.rows = before
        meta = journal.ledger.committed_meta(delivery)
        assert meta is not None
        journal.sync(journal.append(Kind.COMMITTED, meta))
        journal.prune()
    return done


def _prepared(known: Sequence[Known], delivery: str, directory: Path) -> Known:
    for manifest, ranges in known:
        if manifest.delivery == delivery:
            return manifest, ranges
    there = ", ".join(manifest.delivery for manifest, _ in known) or "none"
    raise ConfigError(
        f"{directory} has no delivery {delivery!r} that is prepared and not committed; there: "
        f"{there}"
    )


def _readable(
    journal: Journal, ranges: Sequence[RowRange], done: Abandoned
) -> Iterator[tuple[int, EventBatch]]:
    for start, stop in ranges:
        at = start
        for ref in journal.index.refs(start, stop):
            if ref.position > at:
                done.unreadable.append(f"the rows {at:,} to {ref.position:,}: no record holds them")
            at = ref.position + ref.rows
            try:
                yield ref.position, journal.read(ref)
            except RowsUnreadable as error:
                journal.set_aside(ref, str(error))
                done.unreadable.append(f"the rows {ref.position:,} to {at:,}: {error}")
        if at < stop:
            done.unreadable.append(f"the rows {at:,} to {stop:,}: no record holds them")


def _write(file: Path, manifest: Manifest, rows: Iterator[tuple[int, EventBatch]]) -> int:
    """Write the file beside its place, make it durable, and give it its name if that is free."""
    make_directory(file.parent)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    reason = f"abandoned by hand: {len(manifest.files)} files of sink {manifest.sink}"
    now_ms, count = SystemClock().now_ms(), 0
    schema = DEAD_SCHEMA.with_metadata(_metadata(manifest))
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as sink:
            with pq.ParquetWriter(sink, schema) as writer:
                for position, batch in rows:
                    table = dead_table(batch, DeadRows.all_of(batch, reason), position, now_ms)
                    table = table.replace_schema_metadata(schema.metadata)
                    writer.write_batch(table, row_group_size=_ROW_GROUP_ROWS)
                    count += batch.num_rows
            sink.flush()
            os.fsync(sink.fileno())
        # A link never replaces what is there.
        file.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(file.parent)
    return count


def _metadata(manifest: Manifest) -> dict[str, str]:
    return {SINK: manifest.sink, DELIVERY: manifest.delivery}


def _rows_in(file: Path, manifest: Manifest) -> int | None:
    """Rows that an abandoning before this one has written, whole and durable; None: none has."""
    if not os.path.lexists(file):
        return None
    mine = {key.encode(): value.encode() for key, value in _metadata(manifest).items()}
    with contextlib.suppress(OSError, ValueError):
        with pq.ParquetFile(file) as found:
            has = found.schema_arrow.metadata or {}
            rows = int(found.metadata.num_rows)
        if all(has.get(key) == value for key, value in mine.items()):
            # Its directory may not be durable yet.
            sync_directory(file.parent)
            return rows
    raise ConfigError(f"{file} exists and is not of the delivery {manifest.delivery}: name another")


def publish(plan: AgentPlan, directory: Path, delivery: str) -> Manifest:
    """Publish and commit a Prepared delivery with the plan's sink. Blocks.

    Files proven lost are built anew from their rows. Raises ConfigError when the plan's channel has
    its journal elsewhere or there is no such delivery; Retry as the store does: call it again.
    """
    sink_plan, channel = _part_of(plan, directory, delivery)
    channel.open()
    with closing(channel):
        clock = SystemClock()
        context = Place(plan, plan.sinks[sink_plan]).context(clock)
        sink = component_of(plan.sinks[sink_plan]).build(context)
        with closing(sink):
            sink.open()
            holder = f"{sink_plan}/0/by-hand-{secrets.token_hex(4)}"
            found = [m for m in channel.adopt(sink_plan, holder) if m.delivery == delivery]
            if not found:
                raise ConfigError(f"the delivery {delivery} has been committed meanwhile")

            def read(ref: RowRef) -> EventBatch:
                [record] = channel.fetch([ref])
                try:
                    return decode_rows(record, ref)
                except RowsUnreadable as error:
                    raise JournalDamaged(f"a lost file can't be built anew: {error}") from error

            lane = flow.Lane(sink_plan, holder, channel, sink, read, clock, context.metrics)
            flow.finish(lane, Delivery(delivery, None, found[0], State.PREPARED))
            return found[0]


class _Opens(Channel):
    def open(self) -> None: ...


def _part_of(plan: AgentPlan, directory: Path, delivery: str) -> tuple[str, _Opens]:
    """The sink that prepared a delivery, and its channel, not yet open."""
    sink = _prepared(survey(directory).prepared(), delivery, directory)[0].sink
    if sink not in plan.sinks:
        known = ", ".join(plan.sinks)
        raise ConfigError(f"the delivery is of sink {sink!r}, and {plan.file} has: {known}")
    channel = plan.channels[plan.sinks[sink].channel]
    place = journal_directory(plan, channel, SystemClock())
    if place is None or not place.exists() or not place.samefile(directory):
        raise ConfigError(
            f"channel {channel.name} of sink {sink} has its journal in {place}, not in {directory}"
        )
    built: _Opens = component_of(channel).build(Place(plan, channel).context(SystemClock()))
    return sink, built


def drained_plan(plan: AgentPlan, channel: str = "") -> AgentPlan:
    """The plan without sources, with the one channel or with all that have a journal here.

    Raises ConfigError when there is nothing to drain, JournalLocked while one of them is in use.
    """
    if channel and channel not in plan.channels:
        raise ConfigError(f"{plan.file} has no channel {channel!r}; it has: {_names(plan)}")
    kept = {}
    for name, part in plan.channels.items():
        if channel in ("", name) and is_durable(part):
            directory = journal_directory(plan, part, SystemClock())
            if directory is None or not directory.is_dir() or not segments(directory):
                continue
            holder = owner(directory)
            if holder:
                raise JournalLocked(
                    f"the journal of channel {name} in {directory} is in use by {holder}: stop it "
                    "first",
                    holder=holder,
                )
            kept[name] = part
    if not kept:
        which = f"channel {channel} has" if channel else "the channels have"
        raise ConfigError(f"{which} no journal on this host: there is nothing to drain")
    sinks = {name: part for name, part in plan.sinks.items() if part.channel in kept}
    return replace(plan, sources={}, channels=kept, sinks=sinks)


def _names(plan: AgentPlan) -> str:
    return ", ".join(plan.channels)
