"""Staged bytes that nobody will publish, found and deleted by hand: without Ray, also beside a
running agent.

The journal of each sink's channel is the judge. While nobody has it open its lock is held, so that
nobody opens it just then; while its agent runs only what is over beyond doubt counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rayflume.agent.parts import Place
from rayflume.clock import Clock, SystemClock
from rayflume.config import AgentPlan, PartPlan, component_of, is_durable
from rayflume.errors import JournalDamaged, JournalLocked
from rayflume.interfaces import Json, Storage
from rayflume.journal.disk import LocalDisk
from rayflume.journal.survey import segments, survey


@dataclass(frozen=True)
class Staged:
    """One staged file. `size` in bytes, None when the store can't tell."""

    delivery: str
    handle: Mapping[str, Json]
    size: int | None


@dataclass
class Looked:
    """What was found for one sink. `kept`: staged files that are needed, or may be.

    `owner`: who has the journal open, "" when nobody. `why`: why nothing was judged, "" if it was.
    """

    sink: str
    journal: str = ""
    owner: str = ""
    why: str = ""
    garbage: list[Staged] = field(default_factory=list)
    kept: int = 0


def collect(plan: AgentPlan, *, dry_run: bool, clock: Clock | None = None) -> Iterator[Looked]:
    """Judge, and unless `dry_run` delete, the staged files of every sink of a plan. Blocks.

    Raises JournalDamaged for a damaged journal, and as the stores do.
    """
    for sink in plan.sinks.values():
        yield _of_sink(plan, sink, dry_run, clock or SystemClock())


def journal_directory(plan: AgentPlan, channel: PartPlan, clock: Clock) -> Path | None:
    """Where a channel of the plan has its journal on this host; None when it keeps none."""
    built = component_of(channel).build(Place(plan, channel).context(clock))
    directory: Path | None = built.journal_directory
    return directory


def _of_sink(plan: AgentPlan, sink: PartPlan, dry_run: bool, clock: Clock) -> Looked:
    channel = plan.channels[sink.channel]
    directory = journal_directory(plan, channel, clock)
    if directory is None or not directory.is_dir() or not segments(directory):
        return Looked(sink.name, why=f"channel {channel.name} has no journal on this host")
    built = component_of(sink).build(Place(plan, sink).context(clock))
    storage: Storage | None = getattr(built, "storage", None)
    if storage is None:
        return Looked(sink.name, why="it stages nothing")
    try:
        with _kept_closed(directory, dry_run) as owner:
            if owner and not is_durable(channel):
                why = "what a memory channel has prepared is known only to its process"
                return Looked(sink.name, owner=owner, why=why)
            return _judge(sink.name, directory, storage, (owner, dry_run))
    finally:
        storage.close()


@contextmanager
def _kept_closed(directory: Path, dry_run: bool) -> Iterator[str]:
    """Hold the journal's lock within the block; who has it instead, "" if we do."""
    disk = LocalDisk(directory)
    try:
        disk.lock(f"rayflume gc, pid {os.getpid()}")
    except JournalLocked as error:
        yield error.holder
        return
    try:
        if dry_run:
            disk.close()
        yield ""
    finally:
        disk.close()


def _judge(sink: str, directory: Path, storage: Storage, how: tuple[str, bool]) -> Looked:
    owner, dry_run = how
    found = survey(directory)
    if found.state == "damaged":
        raise JournalDamaged(
            f"the journal in {directory} is damaged, so it can't tell what is garbage: "
            f"`rayflume fsck {directory} --repair` mends it"
        )
    looked = Looked(sink, found.ledger.journal, owner)
    staged = storage.staged(looked.journal)
    deliveries = sorted({delivery for delivery, _ in staged})
    over = set(found.garbage(deliveries, running=bool(owner)))
    size_of = getattr(storage, "staged_size", lambda handle: None)
    for delivery, handle in staged:
        if delivery not in over:
            looked.kept += 1
            continue
        looked.garbage.append(Staged(delivery, handle, size_of(handle)))
        if not dry_run:
            storage.discard(handle)
    return looked
