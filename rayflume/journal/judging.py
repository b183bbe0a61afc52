"""The put rule (interfaces.Channel C1): what each extent of a put is worth where the streams stand.

Pure, and nothing is changed: what is kept becomes a record, and the record changes the ledger. The
extents of one put are judged in order, each as if those before it were stored already.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from rayflume.batch import Extent
from rayflume.journal.keys import Keys, check_key
from rayflume.journal.streams import Streams


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a put is worth: which extents are new, which keyed ones conflict, where it is
    refused.
    """

    keep: tuple[bool, ...] = ()
    conflicts: tuple[str, ...] = ()
    refused: tuple[str, int] | None = None
    rows: int = 0
    skipped: int = 0
    """Units of streams between where they stood and where the put goes on."""


@dataclass(frozen=True, slots=True)
class PutRule:
    """By what a put is judged. `begins`: streams that may begin anywhere if they are not known.
    `skips`: extents before this put may be missing.
    """

    streams: Streams
    keys: Keys
    begins: Set[str]
    skips: bool

    def start_of(self, extent: Extent) -> int:
        """Where the stream of an extent has to go on."""
        stream = self.streams.get(extent.stream)
        if stream is not None:
            return stream.next
        return extent.start if extent.stream in self.begins else 0


def judge(rule: PutRule, extents: Sequence[Extent]) -> Judgement:
    """Judge the extents of one put. Raises ValueError for a key that is none (keys.check_key)."""
    keep: list[bool] = []
    conflicts: list[str] = []
    ahead: dict[str, int] = {}
    digests: dict[str, bytes] = {}
    skipped = 0
    for extent in extents:
        if extent.keyed:
            check_key(extent.stream, extent.token)
            known = digests.get(extent.stream) or rule.keys.get(extent.stream)
            keep.append(known is None)
            if known is None:
                digests[extent.stream] = extent.token
            elif known != extent.token:
                conflicts.append(extent.stream)
            continue
        following = ahead.get(extent.stream, rule.start_of(extent))
        begun = extent.stream in ahead or extent.stream in rule.streams
        fresh = extent.end > following or not begun
        gap = extent.start - following
        if fresh and (gap < 0 or (gap > 0 and not rule.skips)):
            return Judgement(refused=(extent.stream, following))
        keep.append(fresh)
        if fresh:
            ahead[extent.stream] = extent.end
            skipped += gap
    rows = sum(e.rows for e, kept in zip(extents, keep, strict=True) if kept)
    return Judgement(tuple(keep), tuple(conflicts), None, rows, skipped)
