"""How many rows a channel of a Flume file may hold.

In Flume a sink gives the room of its rows back with every batch, though the file it writes is still
open. Here a row stays in its channel until its file is published, which is what makes it count
once; so a channel for Flume's 100 or 10,000 rows would make as small files. Bytes bound it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rayflume.flume.names import Remark, Severity

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow

MEMORY_ROWS, FILE_ROWS = 1_000_000, 10_000_000
"""rayflume's own defaults."""


def enough(
    options: dict[str, Json], given: Mapping[str, str], least: int, name: str = "capacity"
) -> Iterable[Remark]:
    """Let the channel hold `least` rows if it was to hold less; says so of what the file gives."""
    capacity = options.get("capacity")
    if not isinstance(capacity, dict):
        return
    rows = capacity.get("events")
    if not isinstance(rows, int) or rows >= least:
        return
    options["capacity"] = {**capacity, "events": least}
    if name in given:
        yield Remark(
            f"is raised to {least:,} rows: they stay in the channel until their file is published, "
            "and fewer would make small files",
            Severity.NOTE,
            name,
        )
