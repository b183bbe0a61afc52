"""What parts tell each other about event time that has passed, and partitions that are complete.

    source --idle--> channel <--watermark, seal, marked-- markers --create--> lake

The channel's owner decides which partitions are over, as a record of its journal (`seal`). Whoever
asks may then write the markers: what is in them is decided, and creating one twice is creating it
once. So it does no harm if he who writes them was replaced meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MarkerRules:
    """When a partition counts as complete. Milliseconds.

    `after`: so far the watermark must have passed its end. `idle_timeout`: a source or stream of
    which nothing came for so long stops counting, once the source says that it has nothing to read,
    in hand or unread. `future_limit`: event times so far ahead of the
    wall clock do not move the watermark. `file`: the marker's name in its partition.
    """

    after_ms: int
    idle_timeout_ms: int
    future_limit_ms: int
    file: str


@dataclass(frozen=True, slots=True)
class WatermarkQuery:
    """Who asks for the watermark. `expected`: id of a source -> on how many places the plan has
    it. `idle_timeout_ms`: as in MarkerRules.
    """

    sink: str
    expected: Mapping[str, int]
    idle_timeout_ms: int


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far one journal has come.

    `at_ms`: rows with event times below it were delivered, but for those that come late; None: not
    known yet. `held_by`: the sources without which it would be further. `oldest`: directory and
    end of the oldest partition with rows that is not complete, or has something left to be marked.
    """

    journal: str
    at_ms: int | None
    held_by: tuple[str, ...] = ()
    oldest: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows and files that one journal brought into one partition, whose time ended at `over_ms`.

    `note` names this count: the same one is never given to another.
    """

    directory: str
    over_ms: int
    rows: int
    files: int
    note: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a journal has decided and is not marked yet.

    Partitions that ended at `until_ms` or before are over here (None: none is). `complete`: all
    that came until that was decided, one for each partition. `late`: what came after, one for each
    delivery and partition.
    """

    journal: str
    until_ms: int | None
    complete: tuple[Counted, ...] = ()
    late: tuple[Counted, ...] = field(default_factory=tuple)


class EventTimes(Protocol):
    """The part of a channel that watches event time.

    C11 `seal` is durable when it returns: partitions that ended at `until_ms` or before are over
        (None: only tell what is decided), but never further than `watermark` has told to be. What
        is told stays so until it is `marked`.
    """

    def idle(self, source: str) -> None:
        """The source, `<host id>/<source id>`, lives and has nothing to read now."""
        ...

    def watermark(self, query: WatermarkQuery) -> Watermark: ...
    def seal(self, sink: str, until_ms: int | None) -> Sealed: ...
    def marked(self, sink: str, done: Sequence[Counted]) -> None: ...


def source_of(stream: str) -> str:
    """`<host id>/<source id>`: what the name of every stream of a source begins with."""
    return "/".join(stream.split("/", 2)[:2])
