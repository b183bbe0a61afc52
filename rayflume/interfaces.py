"""The nouns of rayflume as protocols, in the order in which data flows.

    Source -> Interceptor -> Selector -> Channel -> Sink (Format, Storage) -> lake

Clauses are numbered; the contract suites in `tests/contract/` name them (`test_c4_...`) and run
them over every implementation. "Blocks" means: may wait for a disk, a network or another part. All
methods may raise `rayflume.errors`; no other exception may leave a part but for a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa

from rayflume.batch import EventBatch, Extent
from rayflume.completeness import EventTimes

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
RowRange: TypeAlias = tuple[int, int]
"""`[start, stop)` of row positions in one journal. A journal numbers its rows from 0, without
gaps.
"""


# -- source ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Where a channel stands in one stream: the next unit it wants, and the token of its last
    extent.
    """

    next: int
    token: bytes = b""
    retired: bool = False


class PollableSource(Protocol):
    """A source that is asked for its next batch. One thread calls it; none of its methods sleeps.

    S1  `start` gets the positions of all streams of this source, the lowest over its required
        channels.
    S2  `poll` returns the next batch with extents that follow each other without a gap per stream,
        or None when there is nothing to read now. What it returned counts as handed out: the next
        poll goes on behind it.
    S3  A batch has at most about `batch_bytes` of bodies, one row more at most.
    S4  `rewind(stream, next)`: forget what was handed out of this stream from `next` on and read
        it again. If the place cannot be found again the source says so with SourceFailed. With
        `stop`, the end of an extent of an earlier life, no extent that is read anew crosses it.
    S5  `accepted(batch)`: every required channel has it durably. Only now may the input be renamed
        or deleted.
    S6  `note_end` fixes the present end of the input; `at_end` is true once all up to it (or, for
        finite input, all of it) was handed out. A source without an end is at its end only after
        `note_end`.
    S7  `retired` names streams that cannot come back, once each, and only after they were accepted
        to the end.
    """

    @property
    def prefix(self) -> str:
        """What the names of all streams of this source begin with: `<host id>/<source id>/`."""
        ...

    @property
    def idle_ms(self) -> int:
        """How long to wait after a poll that found nothing."""
        ...

    def start(self, positions: Mapping[str, StreamPosition]) -> None: ...
    def poll(self) -> EventBatch | None: ...
    def rewind(self, stream: str, next: int, stop: int = 0) -> None: ...
    def accepted(self, batch: EventBatch) -> None: ...
    def note_end(self, unterminated: bool = False) -> None:
        """With `unterminated`, a last line without its newline is a row."""
        ...

    def at_end(self) -> bool: ...
    def retired(self) -> list[str]: ...
    def describe(self) -> dict[str, Json]:
        """What an operator wants to know: open files, lag in bytes, unread unterminated lines."""
        ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one batch: rows stored or already there, and keyed streams with another body
    (not stored).
    """

    rows: int
    conflicts: tuple[str, ...] = ()


Ingest: TypeAlias = Callable[[EventBatch], Ingested]
"""Intercept, select and put one batch. Blocks until durable in every required channel.

Raises ChannelFull or ChannelClosed: nothing of it may be acknowledged; the same batch may be
offered again.
"""


class ServerSource(Protocol):
    """A source that others call (HTTP). It owns a thread with an event loop and puts by calling
    `ingest`.

    V1  `start` returns once it listens; OptionError when the port is taken. `ingest` is called
        from its threads.
    V2  A client gets its success only after `ingest` returned for its rows.
    V3  `drain` refuses new requests (503) and returns once those in hand are answered. Blocks.
    V4  `stop` closes the socket; requests that have no answer get none.
    """

    @property
    def prefix(self) -> str:
        """What the names of all streams of this source begin with, keyed ones excepted."""
        ...

    def start(self, positions: Mapping[str, StreamPosition], ingest: Ingest) -> None: ...
    def drain(self) -> None: ...
    def retired(self) -> list[str]: ...
    def describe(self) -> dict[str, Json]: ...
    def stop(self) -> None: ...


# -- interceptor, selector -------------------------------------------------------------------------


class Interceptor(Protocol):
    """Changes or drops rows of a batch, vectorised.

    I1  Rows keep their order; the extents still cover all that was read (use the methods of
        EventBatch).
    I2  Never raises for what a body holds.
    """

    def intercept(self, batch: EventBatch) -> EventBatch: ...


@dataclass(frozen=True, slots=True)
class Share:
    """What one channel gets of a batch. A required channel gets every extent, with no rows if need
    be.
    """

    channel: str
    batch: EventBatch
    required: bool = True


class Selector(Protocol):
    """Decides which channels get which rows of a batch.

    L1  Each required channel appears once, with all extents of the batch.
    """

    def select(self, batch: EventBatch, channels: Sequence[str]) -> list[Share]: ...
    def required(self, channels: Sequence[str]) -> list[str]:
        """Names of the channels without which a batch is not accepted."""
        ...


# -- channel ---------------------------------------------------------------------------------------


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


# -- sink ------------------------------------------------------------------------------------------


class DeliveryWriter(Protocol):
    """One delivery being filled. One thread calls it.

    W1  `write` takes the rows (journal positions `[position, position + num_rows)`, extents
        clipped to them) into the delivery. With `poison` they go to the dead letters undecoded,
        with that text as reason. Blocks.
    W2  `stage`: every byte is at the store and durable, nothing is visible; the manifest tells
        all. May be called from another thread than `write`, after the last `write`. May be asked
        again after Retry, but after StagingFailed only abandoned. Blocks.
    W3  `abandon`: give up; staged bytes may be deleted at once, for nothing was prepared. Never
        raises Retry.
    """

    def write(self, batch: EventBatch, position: int, poison: str = "") -> None: ...
    def stage(self) -> Manifest: ...
    def abandon(self) -> None: ...


class Sink(Protocol):
    """Delivers rows. Several deliveries may be open at once (one publishing, one filling).

    K1  `publish` makes all files of a Prepared manifest visible, whoever staged them; twice is the
        same as once. Returns the files proven lost. Raises Retry when the outcome is unknown: ask
        again. Blocks.
    K2  `rebuild` stages lost files anew from their rows: `read(ranges)` gives (position, batch)
        pairs. The new manifest has the same delivery, rows and targets.
    K3  `collect` deletes staged bytes of `journal` whose deliveries `garbage` names.
    K4  `limits` says when a delivery of this sink ends; the lane does the deciding.

    One that has more to tell than its metrics has `describe()`, as sources have.
    """

    def open(self) -> None: ...
    def begin(self, delivery: str) -> DeliveryWriter: ...
    def publish(self, manifest: Manifest) -> list[StagedFile]: ...
    def rebuild(
        self,
        manifest: Manifest,
        lost: Sequence[StagedFile],
        read: Callable[[Sequence[RowRange]], Iterable[tuple[int, EventBatch]]],
    ) -> Manifest: ...
    def collect(self, journal: str, garbage: Callable[[Sequence[str]], list[str]]) -> None: ...
    def limits(self) -> DeliveryLimits: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """When a delivery ends, 0 = never for this reason: body bytes taken, rows, age and idle time
    in ms.
    """

    bytes: int = 0
    rows: int = 0
    age_ms: int = 0
    idle_ms: int = 0


# -- format ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decoded:
    """Columns of the rows that could be decoded, in order.

    `rows`: index in the input of each row of `table` (None: all of them, in order).
    `bad`: (index in the input, reason) of every other row, in order. len(table) + len(bad) ==
    len(input).
    """

    table: pa.RecordBatch
    rows: pa.Int64Array | None = None
    bad: tuple[tuple[int, str], ...] = ()


class Contract(StrEnum):
    """What becomes of a field that the schema does not name: it makes a column, or its row is bad,
    or it is left out.
    """

    EVOLVE = "evolve"
    FREEZE = "freeze"
    IGNORE = "ignore"


class Format(Protocol):
    """Bytes to columns, in the sink, vectorised.

    F1  Every input row is either in `table` or in `bad`, never both, never neither; order is kept.
    F2  `table.schema` starts with the fields of `schema` (names, types, order); fields behind them
        are new. `schema` None: the format's own declared fields, or inferred from these rows.
    F3  Never raises and never crashes for what a body holds (wrong type, bad UTF-8, empty, null,
        deep nesting).
    F4  Types are those Spark reads: no unsigned, no nanoseconds, timestamps are timestamp[us, UTC],
        decimals have at most 38 digits.
    F5  Fields that `schema` (and what is declared) does not name follow the contract. With no
        schema at all the first rows make the columns, whatever the contract.
    """

    def prepare(self) -> None:
        """Load what decoding needs, so that the first rows don't wait for it. Blocks, for seconds
        when machine code must be made.
        """
        ...

    def decode(
        self,
        body: pa.BinaryArray,
        schema: pa.Schema | None,
        contract: Contract = Contract.EVOLVE,
    ) -> Decoded: ...

    @property
    def declared(self) -> pa.Schema | None:
        """The columns known before any row was seen; None when they are inferred."""
        ...


# -- storage ---------------------------------------------------------------------------------------


class StagedWriter(Protocol):
    """One file on its way to the store: written front to back, invisible.

    A writer that keeps bytes in memory until the store has them tells how many in an attribute
    `held_bytes`; sinks count them against their budget.
    """

    def write(self, data: pa.Buffer | bytes | memoryview) -> int: ...
    def finish(self) -> dict[str, Json]:
        """All bytes are at the store and durable. The handle publishes the file from any process.
        Blocks.
        """
        ...

    def abort(self) -> None: ...


class LakeReader(Protocol):
    """A visible file, read at any place; `pyarrow.parquet` takes it. One thread at a time. Blocks.

    It never holds a whole file in memory. A file that was removed since may still be read to its
    end, or a read raises KeyError.
    """

    def read(self, size: int = -1, /) -> bytes | None: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...
    def close(self) -> None: ...


class Published(StrEnum):
    """What became of one staged file: visible (now or before), or proven gone."""

    LANDED = "landed"
    LOST = "lost"


class Storage(Protocol):
    """A lake on one store, below one base path. Paths are relative to it, with `/`. Thread-safe.

    T1  `check` raises StorageDenied with one clear sentence if the base cannot be written to.
    T2  Nothing written through `stage` is visible under its target before `publish`; nothing under
        `_rayflume/staging/` or in unfinished uploads is ever seen by a reader of the lake.
    T3  `publish` never overwrites. A target that already carries this delivery's file counts as
        LANDED; another's raises TargetTaken. All targets are durable when it returns.
        StorageUnavailable: unknown, ask again.
    T4  `discard` deletes staged bytes; unknown or already gone is success.
    T5  `create` is put-if-absent: True if this call made it. `read` raises KeyError when there is
        no such file.
    T6  A path that leaves the base (`..`, absolute, symbolic link) is refused with ValueError.
    T7  `sizes` and `open` show visible files only, as they are when asked. `open` raises KeyError
        when there is no such file.
    T8  `remove` deletes visible files and never anything below `_rayflume/staging/` (ValueError,
        and then nothing is removed). Gone already is success. Durable when it returns.

    One that can tell how large staged bytes are has `staged_size(handle)`: `rayflume gc` shows it.
    One that knows when a file became visible has `modified(prefix)`: path -> epoch milliseconds by
    the store's clock; `rayflume compact` tells closed partitions by it.
    """

    def check(self) -> None: ...
    def stage(self, target: str, delivery: str) -> StagedWriter: ...
    def publish(self, handles: Sequence[Mapping[str, Json]]) -> list[Published]: ...
    def discard(self, handle: Mapping[str, Json]) -> None: ...
    def staged(self, journal: str) -> list[tuple[str, dict[str, Json]]]:
        """(delivery id, handle) of all staged bytes whose delivery id starts with `journal`."""
        ...

    def create(self, path: str, data: bytes) -> bool: ...
    def read(self, path: str) -> bytes: ...
    def list(self, prefix: str) -> list[str]:
        """Paths of the visible files below `prefix`, sorted."""
        ...

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each visible file below `prefix`, sorted by path. Blocks."""
        ...

    def open(self, path: str) -> LakeReader: ...
    def remove(self, paths: Sequence[str]) -> None: ...
    def close(self) -> None: ...
