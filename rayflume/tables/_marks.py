"""Which deliveries a table has: kept in the table, in a space that does not grow with its age.

A delivery is named by its journal, the epoch of the journal's owner and a number in it. Deliveries
are begun in that order and mostly committed in it, but one that waited for its store can be
committed long after its successors, so "all up to here" would be wrong in both directions.

Delta keeps one number per application id for ever. A journal has SLOTS of those ids, and a
delivery writes itself into the slot of its epoch and number, unless a newer one is there: the slot
tells of the newest delivery that used it, exactly, and of older ones nothing.

Iceberg has table properties, and a journal gets one with runs of numbers, the oldest of which fall
below a floor.

Of a delivery that waited so long that neither tells of it, the table's history does as far back as
it is kept, because each commit notes what the mark said before. The marks are exact, so a commit
that found a mark which still told of the delivery, and lacked it, proves that it was absent then;
and if no commit since then is missing, each of them tells whether it was the delivery's. No clock
is asked. Once that commit is expired, what neither files nor history name is FORGOTTEN: nobody
ever guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from rayflume.naming import parse_delivery

SLOT_EPOCHS, SLOT_NUMBERS = 8, 64
RUNS_MAX = 200
NOTE = "rayflume.delivery"
"""What a commit or snapshot calls the delivery that it added."""
READ, BEFORE = "rayflume.version_read", "rayflume.slot_before"
"""Of a Delta commit: the version it was made from, and what the slot had there, or nothing."""
FALLEN = "rayflume.fallen"
"""Of an Iceberg snapshot: the runs that it let fall, above the floor of before, as `Runs.text`."""
_TEXT = re.compile(r"[0-9]+\.[0-9]+(?:;[0-9]+:[0-9]+-[0-9]+(?:,[0-9]+-[0-9]+)*)*")


class Verdict(StrEnum):
    """What a table knows of a delivery."""

    LANDED = "landed"
    ABSENT = "absent"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Slot:
    """The application id and the number with which a delivery marks a Delta table."""

    app_id: str
    version: int

    @staticmethod
    def of(delivery: str) -> Slot:
        journal, epoch, number = parse_delivery(delivery)
        place = f"{epoch % SLOT_EPOCHS}-{number % SLOT_NUMBERS}"
        return Slot(f"rayflume-{journal}-{place}", epoch << 32 | number)

    def verdict(self, found: int | None) -> Verdict:
        """`found`: the number that the table has under the application id."""
        if found is None or found < self.version:
            return Verdict.ABSENT
        return Verdict.LANDED if found == self.version else Verdict.FORGOTTEN

    def marked(self, found: int | None) -> int:
        """The number to write: a delivery that waited must not hide those that came after it."""
        return self.version if found is None else max(found, self.version)

    def told_by(self, delivery: str, history: Iterable[Mapping[str, object]]) -> Verdict:
        """What the commits of a Delta table tell, newest first. `version`: the newest has that of
        the table, each older one a number less, as delta-rs counts them even where some are gone.

        A version is at least the one after that which was read. So one that delta-rs calls just
        that, and not more, is rightly numbered: no commit after it is gone. So is a version 0.
        """
        absent = False
        for entry in history:
            note = str(entry.get(NOTE, ""))
            if note == delivery:
                return Verdict.LANDED
            if entry["version"] == 0:
                return Verdict.ABSENT
            read, before = str(entry.get(READ, "")), entry.get(BEFORE)
            if not (note and read.isdigit() and isinstance(before, str)):
                continue
            if Slot.of(note).app_id == self.app_id:
                absent = absent or not before or int(before) < self.version
            if absent and entry["version"] == int(read) + 1:
                return Verdict.ABSENT
        return Verdict.FORGOTTEN


@dataclass(frozen=True, slots=True)
class Runs:
    """The deliveries of one journal that an Iceberg table has.

    `runs`: (epoch, first, last) of numbers without a gap, ascending, none touching another.
    `floor`: of deliveries up to this (epoch, number) that are in no run nothing is known.
    """

    runs: tuple[tuple[int, int, int], ...] = ()
    floor: tuple[int, int] = (0, 0)

    @staticmethod
    def parse(text: str) -> Runs:
        """The inverse of `text`; of "" none. Raises ValueError for anything else."""
        if not text:
            return Runs()
        if not _TEXT.fullmatch(text):
            raise ValueError(f"{text[:80]!r} is no list of deliveries")
        head, *parts = text.split(";")
        epoch, number = head.split(".")
        runs = []
        for part in parts:
            of, _, ranges = part.partition(":")
            for entry in ranges.split(","):
                first, last = entry.split("-")
                runs.append((int(of), int(first), int(last)))
        return Runs(tuple(runs), (int(epoch), int(number)))

    @property
    def text(self) -> str:
        epochs: dict[int, list[str]] = {}
        for epoch, first, last in self.runs:
            epochs.setdefault(epoch, []).append(f"{first}-{last}")
        parts = [f"{epoch}:{','.join(ranges)}" for epoch, ranges in epochs.items()]
        return ";".join([f"{self.floor[0]}.{self.floor[1]}", *parts])

    def verdict(self, delivery: str) -> Verdict:
        _, epoch, number = parse_delivery(delivery)
        if any(of == epoch and first <= number <= last for of, first, last in self.runs):
            return Verdict.LANDED
        return Verdict.FORGOTTEN if (epoch, number) <= self.floor else Verdict.ABSENT

    def adding(self, delivery: str) -> Runs:
        """With one delivery more; the oldest runs fall below the floor when there are too many."""
        fallen, kept = self._with(delivery)
        floor = max([self.floor, *((of, last) for of, _, last in fallen)])
        return Runs(kept, floor)

    def fallen(self, delivery: str) -> Runs:
        """The runs that `adding` lets fall, above the floor of before."""
        return Runs(self._with(delivery)[0], self.floor)

    def _with(self, delivery: str) -> tuple[tuple[tuple[int, int, int], ...], ...]:
        _, epoch, number = parse_delivery(delivery)
        joined: list[tuple[int, int, int]] = []
        for of, first, last in sorted([*self.runs, (epoch, number, number)]):
            if joined and joined[-1][0] == of and first <= joined[-1][2] + 1:
                joined[-1] = (of, joined[-1][1], max(last, joined[-1][2]))
            else:
                joined.append((of, first, last))
        many = max(0, len(joined) - RUNS_MAX)
        return tuple(joined[:many]), tuple(joined[many:])


def told_by_snapshots(delivery: str, notes: Iterable[tuple[str, str]]) -> Verdict:
    """What the snapshots of an Iceberg table tell of a delivery that fell below the floor.

    `notes`: NOTE and FALLEN of each, newest first, none missing between. A delivery that is not in
    the runs, nor among those that fell since a floor was below it, was not there at that floor.
    """
    journal, _, _ = parse_delivery(delivery)
    for note, fallen in notes:
        if note == delivery:
            return Verdict.LANDED
        if fallen and note.startswith(f"{journal}-"):
            verdict = Runs.parse(fallen).verdict(delivery)
            if verdict is not Verdict.FORGOTTEN:
                return verdict
    return Verdict.FORGOTTEN
