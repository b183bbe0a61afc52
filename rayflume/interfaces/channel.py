"""The contract of a channel, and what is put into it, taken from it and told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from rayflume.batch import Extent
from rayflume.completeness import EventTimes
from rayflume.interfaces.manifest import Manifest
from rayflume.interfaces.values import RowRange, StreamPosition


class PutOutcome(StrEnum):
    """What a channel did with a put. Only STORED took anything."""

    STORED = "stored"
    FULL = "full"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PutRequest:
    """A batch on its way into a channel. `payload` is `EventBatch.encode()`; `crc` its zlib.crc32
    of it.

    `source`: `<host id>/<source id>`. `begins`: streams that may begin anywhere if the channel does
    not know them (else at 0).
    `skip`: why extents before this one are missing ("" when none may be missing); only then a gap
    is crossed.
    """

    source: str
    extents: tuple[Extent, ...]
    payload: pa.Buffer
    crc: int
    rows: int
    begins: tuple[str, ...] = ()
    skip: str = ""


@dataclass(frozen=True, slots=True)
class PutReply:
    """`credit`: bytes the channel would take now. REFUSED: go on at `next` of `stream`."""

    outcome: PutOutcome
    credit: int
    stream: str = ""
    next: int = 0
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowRef:
    """Where rows lie: `length` bytes (one whole Put record) at `offset` of `segment`, rows
    `[start, stop)` of it.

    `position` is the journal position of row `start`.
    """

    segment: str
    offset: int
    length: int
    start: int
    stop: int
    position: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows leased for one delivery. `close`: the channel asks that the delivery be closed now.

    `poison`: rows that killed their holder too often; write them to the dead letters without
    decoding. `draining`: no row will follow those that are waiting now. `orphans`: Prepared
    deliveries of this sink have no living holder; `adopt` them.
    """

    delivery: str
    refs: tuple[RowRef, ...] = ()
    close: bool = False
    poison: bool = False
    draining: bool = False
    orphans: bool = False

    @property
    def rows(self) -> int:
        return sum(ref.rows for ref in self.refs)


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """What a channel tells of itself. `directory`: where sinks of its host read rows themselves;
    None: they ask it for them. `direct`: large records are not in the page cache.
    """

    journal: str
    host_id: str
    directory: Path | None
    durable: bool
    lease_timeout_ms: int = 30_000
    direct: bool = False


@dataclass(frozen=True, slots=True)
class ChannelState:
    """Rows by where they are. Drained when `waiting`, `leased` and `prepared` are all 0."""

    waiting: int
    leased: int
    prepared: int
    bytes: int
    fill_percent: int
    credit: int
    degraded: tuple[str, ...] = ()


class Channel(EventTimes, Protocol):
    """Holds rows between sources and sinks. Thread-safe. All methods may be called again after a
    time-out.

    C1  `put` judges each extent against `next` of its stream: `end <= next` is acknowledged and
        not stored, `start == next` is stored, anything else refuses the whole put and names
        `next`. Extents of one put are judged in order; one without rows makes an unknown stream
        known. A keyed extent with the digest that is kept is acknowledged, with another is a
        conflict.
    C2  `put` returns STORED only when all its extents are durable, also those that an earlier put
        still in flight stored. FULL and REFUSED took nothing. It never waits for room. Blocks for
        one group commit.
    C3  `take` leases the oldest waiting rows for one delivery of `holder`: for `delivery`, or for
        a new one when that is "". It waits up to `wait_ms` for rows; no refs and no `delivery`
        means there were none. Rows whose holder died come back alone and before all others. Blocks
        up to `wait_ms`. `turn` numbers the takes of a holder: asked again with the same number it
        gives the same rows again, for the answer may have been lost; an older number, which comes
        late, is LeaseRevoked. 0: not numbered.
    C4  Released and revoked rows return first and in order.
    C5  `prepare` is durable when it returns, and may be asked again with the same manifest.
        LeaseRevoked when the lease is gone, ValueError when the manifest's rows are not the leased
        ones.
    C6  `commit` is durable when it returns, and may be asked again. Only then are rows done.
    C7  `adopt` hands over the Prepared deliveries of a sink that no living holder has.
    C8  A holder that was not heard of for `lease_timeout` loses its open deliveries, but not its
        Prepared ones.
    C9  After re-opening, everything acknowledged is there: rows, positions, keys, Prepared
        deliveries.
    C10 Once another process has opened the journal, nothing is acknowledged here any more.
    """

    def info(self) -> ChannelInfo: ...
    def put(self, request: PutRequest) -> PutReply: ...
    def credit(self) -> int: ...
    def positions(self, prefix: str) -> dict[str, StreamPosition]: ...
    def retire(self, streams: Sequence[str]) -> None: ...
    def take(
        self, holder: str, delivery: str, bytes_max: int, wait_ms: int, turn: int = 0
    ) -> Taken: ...
    def fetch(self, refs: Sequence[RowRef]) -> list[pa.Buffer]:
        """The whole Put records that `refs` point to. Blocks."""
        ...

    def refs(self, ranges: Sequence[RowRange]) -> tuple[RowRef, ...]:
        """Where the rows of a Prepared delivery lie, to build a lost file anew."""
        ...

    def damaged(self, ref: RowRef, reason: str) -> None:
        """A reader found these rows unreadable: set the record aside, count it, deliver the
        rest.
        """
        ...

    def heartbeat(self, holder: str) -> None: ...
    def holder_gone(self, holder: str) -> None: ...
    def prepare(self, manifest: Manifest, holder: str) -> None: ...
    def commit(self, delivery: str) -> None: ...
    def release(self, delivery: str) -> None: ...
    def adopt(self, sink: str, holder: str) -> tuple[Manifest, ...]: ...
    def garbage(self, deliveries: Sequence[str]) -> list[str]:
        """Those of `deliveries` whose staged bytes nobody will publish any more."""
        ...

    def drain(self, on: bool) -> None:
        """Ask holders to close their deliveries as soon as nothing waits (or stop asking)."""
        ...

    def tap(self, rows_max: int) -> list[pa.Buffer]:
        """Up to the newest `rows_max` rows as Put records, without leasing them."""
        ...

    def state(self) -> ChannelState: ...
    def close(self) -> None: ...
