"""How large the files of a sink will be, as far as its options say: one sentence for people."""

from __future__ import annotations

from typing import Protocol

from rayflume.units import format_bytes, format_millis


class Rolls(Protocol):
    """The options `roll` of a sink of files; 0 switches a rule off."""

    @property
    def bytes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def age(self) -> int: ...
    @property
    def idle(self) -> int: ...


def expected(roll: Rolls, delivery_bytes: int, *, many: bool, first_full: bool = False) -> str:
    """When files end, and below which speed their size is not reached.

    `many`: a delivery has a file for each partition or path. `first_full`: without a time rule its
    first full file ends a delivery.
    """
    size = [f"about {format_bytes(roll.bytes)}"] if roll.bytes else []
    rows = [f"{roll.rows:,} rows"] if roll.rows else []
    place = " for each partition" if many else ""
    ends = " or ".join(size + rows)
    file = f"a file{place} ends at {ends}" if ends else f"a file{place} has no size of its own"
    return f"{file}; all end, and appear, {_delivery(roll, delivery_bytes, first_full)}" + _slow(
        roll, many
    )


def _delivery(roll: Rolls, delivery_bytes: int, first_full: bool) -> str:
    ends = [f"{format_millis(roll.age)} after the first row"] if roll.age else []
    ends += [f"after {format_millis(roll.idle)} without a row"] if roll.idle else []
    if first_full and not ends:
        ends = ["with the first that is full"]
    ends.append(f"at {format_bytes(delivery_bytes)} of bodies taken")
    return f"{', '.join(ends)}, or when the channel is nearly full"


def _slow(roll: Rolls, many: bool) -> str:
    """The speed below which the age ends a file before its size does, where that decides."""
    if not (roll.bytes and roll.age) or roll.rows:
        return ""
    speed = format_bytes(roll.bytes * 1000 / roll.age)
    return f" (smaller below {speed}/s{' a partition' if many else ''})"
