"""Clauses of Sink and of the DeliveryWriter it gives."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from rayflume.batch import EventBatch, Extent
from rayflume.interfaces import Manifest, RowRange, Sink
from rayflume.testing._expect import same, true
from rayflume.testing._trial import Trial

JOURNAL = "00112233445566ff"


def some(first: int, count: int) -> EventBatch:
    bodies = [f"row {i}".encode() for i in range(first, first + count)]
    headers = [{"kind": f"k{i % 3}"} for i in range(first, first + count)]
    return EventBatch.from_events(bodies, headers, (Extent("s", first, first + count, count),))


def read_some(ranges: Sequence[RowRange]) -> Iterable[tuple[int, EventBatch]]:
    return [(start, some(start, stop - start)) for start, stop in ranges]


def filled(sink: Sink, number: int = 1) -> Manifest:
    writer = sink.begin(f"{JOURNAL}-1-{number}")
    writer.write(some(0, 10), 0)
    writer.write(some(10, 5), 10)
    return writer.stage()


def _staged(trial: Trial) -> list[Path]:
    """What local storage has staged; a sink on another store has nothing there."""
    return list(trial.directory.rglob("*.staged"))


def visible(trial: Trial, manifest: Manifest) -> int:
    """How many files of the manifest are in the directory."""
    names = {Path(file.target).name for file in manifest.files}
    return sum(path.name in names for path in trial.directory.rglob("*") if path.is_file())


def w1_every_row_is_accounted_for(trial: Trial) -> None:
    manifest = filled(trial.opened())
    same((manifest.rows, manifest.written), (15, 15))
    same((manifest.dead, manifest.filtered, manifest.sink), (0, 0, "part"))
    same(manifest.delivery, f"{JOURNAL}-1-1")


def w1_poisonous_rows_are_accounted_for(trial: Trial) -> None:
    writer = trial.opened().begin(f"{JOURNAL}-1-1")
    writer.write(some(0, 3), 0)
    writer.write(some(3, 1), 3, "killed its sink")
    manifest = writer.stage()
    same((manifest.rows, manifest.written + manifest.dead), (4, 4))


def w1_an_empty_batch_changes_nothing(trial: Trial) -> None:
    writer = trial.opened().begin(f"{JOURNAL}-1-1")
    writer.write(EventBatch.from_events([], extents=(Extent("s", 0, 9, 0),)), 0)
    same(writer.stage().rows, 0)


def w2_files_name_the_rows_they_were_chosen_from(trial: Trial) -> None:
    manifest = filled(trial.opened())
    if manifest.files:
        same(sum(file.rows for file in manifest.files), 15)
        same({file.ranges for file in manifest.files}, {((0, 15),)})
        true(all(file.size > 0 for file in manifest.files), "every file has its size")


def w2_nothing_is_visible_before_publish(trial: Trial) -> None:
    sink = trial.opened()
    manifest = filled(sink)
    before = visible(trial, manifest)
    same(before, 0)
    sink.publish(manifest)
    if visible(trial, manifest):
        same(visible(trial, manifest), len(manifest.files))


def w2_stage_in_another_thread_while_the_next_delivery_fills(trial: Trial) -> None:
    sink = trial.opened()
    for number in range(5):
        first = sink.begin(f"{JOURNAL}-1-{2 * number}")
        first.write(some(0, 300), 0)
        found: list[Manifest] = []
        thread = threading.Thread(target=lambda w=first, f=found: f.append(w.stage()))
        thread.start()
        second = sink.begin(f"{JOURNAL}-1-{2 * number + 1}")
        for batch in range(20):
            second.write(some(batch * 10, 10), batch * 10)
        thread.join(30)
        same([manifest.rows for manifest in found], [300])
        same(second.stage().rows, 200)


def w2_stage_may_be_asked_again(trial: Trial) -> None:
    writer = trial.opened().begin(f"{JOURNAL}-1-1")
    writer.write(some(0, 4), 0)
    same(writer.stage(), writer.stage())


def w3_abandon_leaves_nothing_behind(trial: Trial) -> None:
    sink = trial.opened()
    writer = sink.begin(f"{JOURNAL}-1-1")
    writer.write(some(0, 4), 0)
    writer.stage()
    writer.abandon()
    writer.abandon()
    same(_staged(trial), [])
    same(filled(sink, 2).rows, 15)


def k1_publish_twice_by_anyone_is_the_same_as_once(trial: Trial) -> None:
    manifest = filled(trial.opened())
    same(trial.opened().publish(manifest), [])
    once = visible(trial, manifest)
    same(trial.opened().publish(manifest), [])
    same(visible(trial, manifest), once)


def k2_lost_files_are_built_anew(trial: Trial) -> None:
    manifest = filled(trial.opened())
    staged = _staged(trial)
    for path in staged:
        path.unlink()
    sink = trial.opened()
    lost = sink.publish(manifest)
    if not staged:
        return
    same(lost, list(manifest.files))
    again = sink.rebuild(manifest, lost, read_some)
    same(
        [(file.target, file.rows) for file in again.files],
        [(file.target, file.rows) for file in manifest.files],
    )
    same((again.delivery, again.rows), (manifest.delivery, manifest.rows))
    same(sink.publish(again), [])


def k3_garbage_and_nothing_else_is_deleted(trial: Trial) -> None:
    sink = trial.opened()
    kept = filled(sink, 1)
    filled(sink, 2)
    sink.collect(JOURNAL, lambda deliveries: [d for d in deliveries if d.endswith("-2")])
    same(sink.publish(kept), [])
    same(_staged(trial), [])


def k4_a_delivery_ends_for_some_reason(trial: Trial) -> None:
    limits = trial.opened().limits()
    true(
        limits.bytes > 0 or limits.rows > 0 or limits.age_ms > 0,
        "`limits` has bytes, rows or an age, or a delivery would never end",
    )
