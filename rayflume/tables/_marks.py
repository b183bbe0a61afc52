"""Which deliveries a table has: kept in the table, in a space that does not grow with its age.

A delivery is named by its journal, the epoch of the journal's owner and a number in it. Deliveries
are begun in that order and mostly committed in it, but one that waited for its store can be
committed long after its successors, so "all up to here" would be wrong in both directions.

Delta keeps one number per application id for ever. A journal has SLOTS of those ids, and a
delivery writes itself into the slot of its epoch and number: the slot then tells of the newest
delivery that used it, exactly, and of older ones nothing.

Iceberg has table properties, and a journal gets one with runs of numbers, the oldest of which fall
below a floor.

Neither ever guesses: what is no longer known is FORGOTTEN.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from rayflume.naming import parse_delivery

SLOT_EPOCHS, SLOT_NUMBERS = 8, 64
RUNS_MAX = 200
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
        _, epoch, number = parse_delivery(delivery)
        joined: list[tuple[int, int, int]] = []
        for of, first, last in sorted([*self.runs, (epoch, number, number)]):
            if joined and joined[-1][0] == of and first <= joined[-1][2] + 1:
                joined[-1] = (of, joined[-1][1], max(last, joined[-1][2]))
            else:
                joined.append((of, first, last))
        dropped = joined[: max(0, len(joined) - RUNS_MAX)]
        floor = max([self.floor, *((of, last) for of, _, last in dropped)])
        return Runs(tuple(joined[len(dropped) :]), floor)
