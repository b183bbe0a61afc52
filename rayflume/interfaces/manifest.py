"""What a delivery makes of its rows, as sink and channel agree on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rayflume.interfaces.values import Json, RowRange


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One lake file of a delivery. `handle` is the storage's own JSON: enough for any process to
    publish it.

    `ranges`: the journal rows among which the file's rows were chosen. `schema_version`: 0 when
    there is none.
    """

    target: str
    handle: dict[str, Json]
    size: int
    rows: int
    ranges: tuple[RowRange, ...] = ()
    schema_version: int = 0
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of one delivery, as the Prepared record keeps it.

    `rows == written + dead + filtered` is checked by the channel against the rows it leased.
    `event_times`: stream (of keyed ones their source) -> (lowest, highest) event time in epoch
    milliseconds. `partitions`: directory -> when its time ends, epoch milliseconds; empty unless
    the sink marks complete partitions.
    """

    delivery: str
    sink: str
    files: tuple[StagedFile, ...] = ()
    rows: int = 0
    written: int = 0
    dead: int = 0
    filtered: int = 0
    event_times: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    plan_version: int = 0
    partitions: Mapping[str, int] = field(default_factory=dict)
