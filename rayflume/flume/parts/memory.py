"""The memory channel. Flume user guide, section Memory Channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rayflume.flume.names import FlumePart, Prop, Remark, Severity
from rayflume.flume.readers import size, unless, whole
from rayflume.flume.room import MEMORY_ROWS, enough

if TYPE_CHECKING:
    from rayflume.interfaces import Json  # only a name here: interfaces imports pyarrow


def _room(options: dict[str, Json], given: Mapping[str, str]) -> Iterable[Remark]:
    return enough(options, given, MEMORY_ROWS)


PARTS = (
    FlumePart(
        kind="channel",
        types=("memory",),
        java_class="org.apache.flume.channel.MemoryChannel",
        type="memory",
        capacity="transactionCapacity",
        props=(
            Prop("capacity", "100", "capacity.events", whole, lenient=True),
            Prop(
                "transactionCapacity",
                "100",
                severity=Severity.NOTE,
                why="a batch goes in whole, whatever its size; the number is only compared with "
                "batch sizes, as Flume does",
            ),
            Prop(
                "keep-alive",
                "3",
                severity=Severity.NOTE,
                why="a source waits until the channel has room and loses nothing; remove it",
            ),
            Prop(
                "byteCapacity",
                option="capacity.bytes",
                read=unless("0", size),
                why="counts headers as well as bodies",
                lenient=True,
            ),
            Prop(
                "byteCapacityBufferPercentage",
                "20",
                severity=Severity.NOTE,
                why="the bytes of headers are counted, not estimated; remove it",
            ),
        ),
        finish=_room,
    ),
)
