"""Clauses of Selector."""

from __future__ import annotations

from rayflume.batch import EventBatch, Extent
from rayflume.interfaces import Selector
from rayflume.testing._expect import same, true
from rayflume.testing._trial import Trial

CHANNELS = ["one", "two", "three"]


def _batch(rows: int) -> EventBatch:
    headers = [{"kind": f"k{row % 5}", "n": str(row)} for row in range(rows)]
    bodies = [b"row %d" % row for row in range(rows)]
    half = rows // 2
    extents = (Extent("a", 0, half, half), Extent("b", 5, 9, 0), Extent("c", 0, 90, rows - half))
    return EventBatch.from_events(bodies, headers, extents)


def l1_each_required_channel_appears_once_with_all_extents(trial: Trial) -> None:
    selector: Selector = trial.build()
    for rows in (0, 1, 40):
        batch = _batch(rows)
        shares = selector.select(batch, CHANNELS)
        required = [share.channel for share in shares if share.required]
        same(sorted(required), sorted(selector.required(CHANNELS)))
        for share in shares:
            if share.required:
                same(
                    [(e.stream, e.start, e.end) for e in share.batch.extents],
                    [(e.stream, e.start, e.end) for e in batch.extents],
                )


def l1_shares_are_of_channels_of_the_source_and_hold_rows_of_the_batch(trial: Trial) -> None:
    batch = _batch(40)
    whole = batch.body.to_pylist()
    for share in trial.build().select(batch, CHANNELS):
        true(share.channel in CHANNELS, f"{share.channel!r} is a channel of the source")
        same(sum(extent.rows for extent in share.batch.extents), share.batch.num_rows)
        got = share.batch.body.to_pylist()
        same(got, [body for body in whole if body in set(got)])
