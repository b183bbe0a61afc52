"""Markers of complete partitions, from what the channels decide to files in the lake. Synchronous.

    watermark of every journal -> the lowest of them -> seal -> create the markers -> marked

Nothing here sleeps; `agent/` calls `mark` now and then. It can be called again after any error, by
this process or another, also by two at once: what is in a marker is decided by the journals, and a
marker is only ever created where there is none.

    <partition>/_SUCCESS                     rows and files until the partition was over
    <partition>/_SUCCESS.late-<delivery>     what one later delivery brought
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from rayflume.clock import EPOCH, Clock
from rayflume.completeness import Counted, MarkerRules, Sealed, WatermarkQuery
from rayflume.interfaces import Channel, Json, Storage
from rayflume.metrics import Metrics

BATCH = 100
"""So many partitions are marked before the journals are told."""


@dataclass
class Marking:
    """The markers of one sink. `channels`: all journals of its channel, in a fixed order.
    `expected`: as in WatermarkQuery.
    """

    agent: str
    sink: str
    rules: MarkerRules
    storage: Storage
    channels: Sequence[Channel]
    expected: Mapping[str, int]
    clock: Clock
    metrics: Metrics
    watermark_ms: int | None = None
    held_by: tuple[str, ...] = ()
    oldest: tuple[str, int] | None = None
    begun: bool = False

    def describe(self) -> dict[str, Json]:
        """What an operator wants to know."""
        return {
            "watermark": text_of(self.watermark_ms),
            "held_by": list(self.held_by),
            "oldest_open_partition": self.oldest[0] if self.oldest else None,
        }


@dataclass
class _Over:
    """One partition that is over: what came in time by journal, and what came later."""

    over_ms: int
    complete: dict[str, Counted] = field(default_factory=dict)
    late: list[Counted] = field(default_factory=list)


def mark(marking: Marking) -> None:
    """Look how far the journals have come, and mark what is over. Blocks.

    Raises Retry while a journal or the store does not answer, and as the store does.
    """
    if not marking.begun:
        for channel in marking.channels:
            channel.seal(marking.sink, None)
        marking.begun = True
    until_ms = _look(marking)
    if marking.oldest is None or until_ms is None or marking.oldest[1] > until_ms:
        return
    sealed = [channel.seal(marking.sink, until_ms) for channel in marking.channels]
    limits = [one.until_ms for one in sealed]
    known = [limit for limit in limits if limit is not None]
    if len(known) < len(limits):
        return
    over = sorted(_over(sealed, min(known)).items(), key=lambda item: (item[1].over_ms, item[0]))
    for first in range(0, len(over), BATCH):
        part = over[first : first + BATCH]
        for directory, found in part:
            _mark(marking, directory, found)
        _tell(marking, sealed, dict(part))


def _look(marking: Marking) -> int | None:
    """Take note of the watermark; returns up to when partitions are over."""
    query = WatermarkQuery(marking.sink, marking.expected, marking.rules.idle_timeout_ms)
    found = [channel.watermark(query) for channel in marking.channels]
    times = [one.at_ms for one in found]
    known = [time for time in times if time is not None]
    marking.watermark_ms = min(known) if known and len(known) == len(times) else None
    lowest = [one.held_by for one in found if one.at_ms == marking.watermark_ms]
    marking.held_by = tuple(sorted({name for names in lowest for name in names}))
    ends = [one.oldest for one in found if one.oldest is not None]
    marking.oldest = min(ends, key=lambda end: (end[1], end[0]), default=None)
    if marking.watermark_ms is None:
        return None
    marking.metrics.set("WatermarkMs", marking.watermark_ms)
    return marking.watermark_ms - marking.rules.after_ms


def _over(sealed: Sequence[Sealed], until_ms: int) -> dict[str, _Over]:
    """What is to be marked of partitions that are over in every journal."""
    found: dict[str, _Over] = {}
    for one in sealed:
        for count in one.complete:
            if count.over_ms <= until_ms:
                over = found.setdefault(count.directory, _Over(count.over_ms))
                over.complete[one.journal] = count
        for count in one.late:
            if count.over_ms <= until_ms:
                found.setdefault(count.directory, _Over(count.over_ms)).late.append(count)
    return found


def _mark(marking: Marking, directory: str, over: _Over) -> None:
    path = f"{directory}/{marking.rules.file}"
    counts = over.complete.values()
    content: dict[str, Json] = {
        **_head(marking, directory),
        "rows": sum(count.rows for count in counts),
        "files": sum(count.files for count in counts),
        "journals": {journal: _counts(count) for journal, count in over.complete.items()},
        "late": f"what came later is told in {marking.rules.file}.late-*",
    }
    late = list(over.late)
    if marking.storage.create(path, _encoded(content)):
        marking.metrics.add("PartitionCompletedCount")
    elif over.complete:
        # By an attempt whose answer was lost, or before a journal had rows of it: see which.
        there = _journals_in(marking.storage, path)
        late += [c for j, c in over.complete.items() if there.get(j) != _counts(c)]
    for count in late:
        name = f"{path}.late-{count.note}"
        told = {**_head(marking, directory), "rows": count.rows, "files": count.files}
        if marking.storage.create(name, _encoded(told)):
            marking.metrics.add("EventAfterMarkerCount", count.rows)


def _tell(marking: Marking, sealed: Sequence[Sealed], over: Mapping[str, _Over]) -> None:
    for channel, one in zip(marking.channels, sealed, strict=True):
        done = [count for count in (*one.complete, *one.late) if count.directory in over]
        if done:
            channel.marked(marking.sink, done)


def _head(marking: Marking, directory: str) -> dict[str, Json]:
    return {
        "partition": directory,
        "agent": marking.agent,
        "sink": marking.sink,
        "written": text_of(marking.clock.now_ms()),
        "watermark": text_of(marking.watermark_ms),
    }


def _counts(count: Counted) -> dict[str, Json]:
    return {"rows": count.rows, "files": count.files, "note": count.note}


def _journals_in(storage: Storage, path: str) -> Mapping[str, Json]:
    """What a marker that is there tells of journals; nothing for a file that is none of ours."""
    try:
        content = json.loads(storage.read(path))
    except (KeyError, ValueError):
        return {}
    journals = content.get("journals") if isinstance(content, dict) else None
    return journals if isinstance(journals, dict) else {}


def _encoded(content: Mapping[str, Json]) -> bytes:
    return f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode()


def text_of(at_ms: int | None) -> str | None:
    """A moment in ISO 8601, UTC."""
    if at_ms is None:
        return None
    return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")
