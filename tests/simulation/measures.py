"""The measures that protect rows, each with a way to switch it off.

`test_measures.py` switches off one at a time and looks whether the simulator misses it: what it
could not see, it could not prove.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from unittest.mock import patch

import pyarrow as pa

from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.errors import JournalFailed
from rayflume.interfaces import Json, Manifest, Published
from rayflume.journal import reader, scan
from rayflume.journal.judging import Judgement
from rayflume.journal.ledger import Ledger
from rayflume.journal.segment import Head, Kind, Meta, manifest_to_json
from rayflume.journal.store import Journal
from rayflume.storage import _paths
from rayflume.storage.memory import MemoryStorage
from simulation.disk import SimDisk, SimFile
from simulation.judge import Judge


def _no_fsync(self: SimFile) -> None:
    self._machine.call("sync", self._name)


def _no_directory_fsync(self: SimDisk) -> None:
    self._machine.call("sync_directory", "")


def _no_prepared_record(self: JournaledChannel, manifest: Manifest, holder: str) -> None:
    """Only in memory: the journal does not know."""
    with self._open_ledger() as ledger:
        meta = ledger.check_prepare(manifest, holder)
        if meta is not None:
            ledger.apply(Kind.PREPARED, meta)
            ledger.note_prepared(manifest.delivery, holder)


def _no_lease_check(self: Ledger, manifest: Manifest, holder: str) -> Meta | None:
    prepared = self._prepared.get(manifest.delivery)
    if prepared is not None:
        return None
    lease = self._leases.get(manifest.delivery)
    ranges = tuple(span for file in manifest.files for span in file.ranges)
    return manifest_to_json(manifest, tuple(lease.rows) if lease else ranges)


def _no_put_rule(
    self: Ledger, extents: Sequence[Extent], begins: Sequence[str], skip: str
) -> Judgement:
    keep = tuple(True for _ in extents)
    return Judgement(keep, (), None, sum(extent.rows for extent in extents), 0)


class _LateSync:
    """A new segment's file whose first sync does nothing; later ones do it all."""

    def __init__(self, file: SimFile) -> None:
        self.write, self.close, self._sync = file.write, file.close, file.sync
        self._skipped = False

    def sync(self) -> None:
        if self._skipped:
            self._sync()
        self._skipped = True


def _no_snapshot_before_unlink(
    self: Journal, number: int, file: SimFile, ends: dict[str, int]
) -> None:
    """The Snapshot is written but not synced, and then older segments are removed."""
    BEGIN_SEGMENT(self, number, _LateSync(file), ends)


def _no_owner_epoch(self: Journal) -> JournalFailed | None:
    return None


def _overwriting(self: MemoryStorage, handle: Mapping[str, Json]) -> Published:
    """Whatever is there, it is written again."""
    target, delivery = _paths.target_in(handle)
    upload = _paths.text_in(handle, "upload")
    staged = self._store.uploads.get(upload)
    if staged is not None:
        self._store.files[target] = bytes(bytearray(staged[1]))
        self._store.owners[target] = delivery
        return Published.LANDED
    return Published.LANDED if target in self._store.files else Published.LOST


def _no_checksum(head: Head, data: pa.Buffer) -> pa.Buffer | None:
    return data.slice(head.body_offset, head.body_length)


BEGIN_SEGMENT = Journal._begin_segment
Off = Callable[[], AbstractContextManager[object]]


def _patched(owner: object, name: str, instead: object) -> Off:
    return lambda: patch.object(owner, name, instead)


def _unseen(owner: object, name: str, instead: object) -> Off:
    """For syncs: the judge does not look at the disk itself, so that only rows can tell."""

    @contextmanager
    def off() -> Iterator[None]:
        with patch.object(owner, name, instead), patch.object(Judge, "looks_at_platter", False):
            yield

    return off


@contextmanager
def _without_checksums() -> Iterator[None]:
    with patch.object(reader, "body_of", _no_checksum), patch.object(scan, "body_of", _no_checksum):
        yield


MEASURES: dict[str, Off] = {
    "fsync before ack": _unseen(SimFile, "sync", _no_fsync),
    "prepared record": _patched(JournaledChannel, "prepare", _no_prepared_record),
    "lease check": _patched(Ledger, "check_prepare", _no_lease_check),
    "put rule": _patched(Ledger, "judge", _no_put_rule),
    "snapshot before unlink": _unseen(Journal, "_begin_segment", _no_snapshot_before_unlink),
    "owner epoch": _patched(Journal, "_replaced", _no_owner_epoch),
    "no-overwrite publish": _patched(MemoryStorage, "_publish", _overwriting),
    "directory fsync": _unseen(SimDisk, "sync_directory", _no_directory_fsync),
    "checksum": _without_checksums,
}
"""Measure -> what switches it off."""

ROWS = "(lost|doubled|never sent|acknowledged and lost)[ ,]"
MISSED: dict[str, str] = {
    **dict.fromkeys(MEASURES, ROWS),
    "prepared record": f"{ROWS}|.* was never prepared",
    "checksum": f"{ROWS}|.* crashed: ",
    "no-overwrite publish": "a visible file .* was replaced",
    "put rule": f"{ROWS}|.* has row .* behind",
}
"""Measure -> how the violation begins that its absence leads to."""


def switched_off(measure: str | None) -> AbstractContextManager[object]:
    """A context in which a measure is missing; None: all are there."""
    return MEASURES[measure]() if measure else nullcontext()
