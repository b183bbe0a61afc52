"""The path of data, synchronous: ingest() is the source's half, drain() and finish() the sink's.

    batch -> interceptors -> selector -> put into each channel            ingest
    take -> write into the open delivery -> close it when it is due       drain
    stage -> prepare -> publish -> commit                                 finish

Nothing here sleeps, and nothing here knows threads or Ray: `agent/` calls it at its own pace.
Every function can be called again after a Retry and goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import pyarrow as pa
from isal.isal_zlib import crc32

from rayflume.batch import EventBatch, Extent, join_small
from rayflume.delivery import Delivery, State
from rayflume.errors import (
    ChannelFull,
    LeaseRevoked,
    PublishUnknown,
    PutRefused,
    Refused,
    Retry,
    StagingFailed,
)
from rayflume.interfaces import (
    Channel,
    Ingested,
    Interceptor,
    Manifest,
    PutOutcome,
    PutReply,
    PutRequest,
    RowRange,
    RowRef,
    Selector,
    Share,
    Taken,
)
from rayflume.lane import Lane as Lane  # the sink half's state, `flow.Lane`
from rayflume.metrics import Metrics, Name
from rayflume.releasing import drop, release_open, tell_dropped
from rayflume.releasing import release as release  # the sink half's way out, `flow.release`

# -- source half --------------------------------------------------------------------------------


@dataclass
class Route:
    """Where a source's batches go. `known`: the streams each channel has, as far as we heard."""

    source: str
    interceptors: Sequence[Interceptor]
    selector: Selector
    channels: Mapping[str, Channel]
    metrics: Metrics
    known: dict[str, set[str]] = field(default_factory=dict)
    credit: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass
class Parcel:
    """One batch ready to be put: what each channel gets, and which have taken it already."""

    batch: EventBatch
    rows: int  # what the interceptors left of it
    requests: list[tuple[Share, PutRequest]]
    taken: set[str] = field(default_factory=set)
    conflicts: set[str] = field(default_factory=set)


def ingest(batch: EventBatch, route: Route) -> Ingested:
    """Intercept, select and put one batch; returns when it is durable in every required channel.

    Raises ChannelFull, ChannelClosed (offer it again) or PutRefused (the source must go back).
    """
    return offer(pack(batch, route), route)


def pack(batch: EventBatch, route: Route) -> Parcel:
    """Run the interceptors and the selector, and encode what each channel gets. No I/O."""
    read = batch
    for interceptor in route.interceptors:
        batch = interceptor.intercept(batch)
    route.metrics.add("EventReceivedCount", read.num_rows)
    route.metrics.add("AppendBatchReceivedCount")
    route.metrics.add("EventFilteredCount", read.num_rows - batch.num_rows)
    encoded: dict[int, tuple[pa.Buffer, int]] = {}
    requests = []
    for share in route.selector.select(batch, list(route.channels)):
        if id(share.batch) not in encoded:
            payload = share.batch.encode()
            encoded[id(share.batch)] = payload, crc32(payload)
        payload, crc = encoded[id(share.batch)]
        rows, extents = share.batch.num_rows, share.batch.extents
        requests.append((share, PutRequest(route.source, extents, payload, crc, rows)))
    requests.sort(key=lambda request: not request[0].required)
    return Parcel(read, batch.num_rows, requests)


def offer(parcel: Parcel, route: Route) -> Ingested:
    """Put a parcel into the channels that have not taken it yet, required ones first. Blocks.

    Raises as `ingest` does; the same parcel may be offered again.
    """
    _begin_streams(parcel, route)
    for share, request in parcel.requests:
        if share.channel in parcel.taken:
            continue
        if share.required:
            _put_required(share.channel, request, parcel, route)
        else:
            _put_optional(share.channel, request, route)
        parcel.taken.add(share.channel)
    route.metrics.add("EventAcceptedCount", parcel.rows)
    route.metrics.add("AppendBatchAcceptedCount")
    return Ingested(parcel.rows, tuple(sorted(parcel.conflicts)))


def _begin_streams(parcel: Parcel, route: Route) -> None:
    """Every required channel knows a stream before any of them gets rows of it.

    For a channel that does not know a stream begins where the others stand, as one that was added
    later; were one killed before its first rows came, it would begin behind them.
    """
    required = [share.channel for share, _ in parcel.requests if share.required]
    for name in required if len(required) > 1 else ():
        known = route.known.get(name, set())
        first: dict[str, Extent] = {}
        for extent in parcel.batch.extents:
            if not extent.keyed and extent.stream not in known:
                first.setdefault(
                    extent.stream, Extent(extent.stream, extent.start, extent.start, 0)
                )
        if first:
            payload = EventBatch.from_events([]).encode()
            crc = crc32(payload)
            request = PutRequest(route.source, tuple(first.values()), payload, crc, 0)
            _put_required(name, request, parcel, route)


def _put_required(name: str, request: PutRequest, parcel: Parcel, route: Route) -> None:
    try:
        reply = _put(name, request, route)
    except Retry:
        route.metrics.add("ChannelWriteFail")
        raise
    if reply.outcome is PutOutcome.FULL:
        route.metrics.add("ChannelWriteFail")
        raise ChannelFull(f"channel {name} is full", credit=reply.credit)
    if reply.outcome is PutOutcome.REFUSED:
        raise PutRefused(
            f"channel {name} wants stream {reply.stream} from {reply.next}",
            stream=reply.stream,
            next=reply.next,
        )
    parcel.conflicts.update(reply.conflicts)


def _put_optional(name: str, request: PutRequest, route: Route) -> None:
    """Try once; what an optional channel does not take is counted and skipped for good."""
    reason = ""
    try:
        reply = _put(name, request, route, skip=route.skipped.get(name, ""))
        if reply.outcome is PutOutcome.REFUSED:
            skip = route.skipped.get(name) or "the source was ahead of this optional channel"
            reply = _put(name, request, route, skip=skip)
        if reply.outcome is not PutOutcome.STORED:
            reason = f"optional channel was {reply.outcome.value}"
    except Retry as error:
        reason = error.message
    if reason:
        route.skipped[name] = reason
        route.metrics.add("EventSkippedCount", request.rows)
    else:
        route.skipped.pop(name, None)


def _put(name: str, request: PutRequest, route: Route, skip: str = "") -> PutReply:
    channel, size = route.channels[name], len(request.payload)
    if size > route.credit.get(name, size):
        route.credit[name] = channel.credit()
        if size > route.credit[name]:
            return PutReply(PutOutcome.FULL, route.credit[name])
    known = route.known.setdefault(name, set())
    streams = [extent.stream for extent in request.extents if not extent.keyed]
    begins = tuple(dict.fromkeys(stream for stream in streams if stream not in known))
    reply = channel.put(
        PutRequest(
            request.source,
            request.extents,
            request.payload,
            request.crc,
            request.rows,
            begins,
            skip,
        )
    )
    route.credit[name] = reply.credit
    if reply.outcome is PutOutcome.STORED:
        known.update(begins)
    return reply


# -- sink half ----------------------------------------------------------------------------------


class Status(StrEnum):
    """What one turn of a sink found. DRAINED: nothing waits, nothing is open, none will follow."""

    READY = "ready"
    BACKOFF = "backoff"
    DRAINED = "drained"


def drain(lane: Lane, wait_ms: int) -> Status:
    """Take rows, write them into the open delivery, and close it when it is due. Blocks.

    Raises Retry when the store failed: the delivery was given up, its rows will come again.
    """
    tell_dropped(lane)
    taken = _take(lane, wait_ms)
    try:
        if taken.refs:
            _write(lane, taken)
        if lane.open is not None and due(lane, taken):
            lane.closing.append(lane.open)
            lane.open = None
    except (Retry, Refused):
        # Of what was taken a part is not written: the delivery could never be prepared.
        release_open(lane)
        raise
    lane.orphans |= taken.orphans
    if lane.orphans:
        # Until it is answered: the channel takes them for ours as soon as it was asked.
        lane.closing += adopted(lane)
        lane.orphans = False
    if taken.refs:
        return Status.READY
    idle = lane.open is None and not lane.closing
    return Status.DRAINED if taken.draining and idle else Status.BACKOFF


def _take(lane: Lane, wait_ms: int) -> Taken:
    delivery = lane.open.id if lane.open else ""
    if lane.open is not None:
        wait_ms = min(wait_ms, time_left(lane))
    try:
        # After a Retry with the same number, and so with the same answer.
        taken = lane.channel.take(lane.holder, delivery, lane.take_bytes, wait_ms, lane.turn)
    except LeaseRevoked:
        release_open(lane)
        raise
    except Retry:
        lane.metrics.add("ChannelReadFail")
        raise
    lane.turn += 1
    lane.taken_bytes = sum(ref.length for ref in taken.refs)
    whole = lane.taken_bytes >= lane.take_bytes
    found: Name = "BatchCompleteCount" if whole else "BatchUnderflowCount"
    lane.metrics.add(found if taken.refs else "BatchEmptyCount")
    return taken


def _write(lane: Lane, taken: Taken) -> None:
    now_ms = lane.clock.monotonic_ms()
    if lane.open is None:
        lane.open = Delivery(taken.delivery, began_ms=now_ms)
        lane.open.writer = lane.sink.begin(taken.delivery)
    delivery = lane.open
    assert delivery.writer is not None
    poison = "its holder died too often: not decoded" if taken.poison else ""
    for position, batch in join_small(_batches(lane, taken.refs)):
        delivery.writer.write(batch, position, poison)
        delivery.rows += batch.num_rows
        delivery.bytes += batch.nbytes
        lane.metrics.add("EventDrainAttemptCount", batch.num_rows)
        lane.metrics.add("BytesDrainedCount", batch.nbytes)
    delivery.wrote_ms = lane.clock.monotonic_ms()


def _batches(lane: Lane, refs: Sequence[RowRef]) -> Iterator[tuple[int, EventBatch]]:
    """Position and rows of each; while one is written the next is read: disks take their time."""
    if lane.reader is None:
        yield from ((ref.position, lane.read(ref)) for ref in refs)
        return
    coming = lane.reader.submit(partial(lane.read, refs[0]))
    for ref, following in zip(refs, (*refs[1:], None), strict=True):
        batch = coming.result()
        if following is not None:
            coming = lane.reader.submit(partial(lane.read, following))
        yield ref.position, batch


def due(lane: Lane, taken: Taken) -> bool:
    """Whether the open delivery ends now: the channel asks, or a limit of the sink is reached."""
    delivery, limits = lane.open, lane.sink.limits()
    assert delivery is not None
    full = 0 < limits.bytes <= delivery.bytes or 0 < limits.rows <= delivery.rows
    return taken.close or full or time_left(lane) == 0


def time_left(lane: Lane) -> int:
    """Milliseconds until the open delivery is due; large when nothing is open or ends it."""
    if lane.open is None:
        return 2**31
    return lane.open.time_left(lane.sink.limits(), lane.clock.monotonic_ms())


def finish(lane: Lane, delivery: Delivery) -> None:
    """Stage, prepare, publish, commit. Blocks; after a Retry call it again, it goes on.

    Raises LeaseRevoked when the rows were taken away before the point of no return. When it could
    never be staged it was given up before StagingFailed is raised: its rows will come again.
    """
    if delivery.ended:
        return
    if delivery.state is State.FILLING:
        _stage(lane, delivery)
    assert delivery.manifest is not None
    if delivery.state is State.STAGED:
        _prepare(lane, delivery)
    if delivery.state is State.PREPARED:
        _publish(lane, delivery)
        delivery.to(State.PUBLISHED)
    if delivery.state is State.PUBLISHED:
        lane.channel.commit(delivery.id)
        delivery.to(State.COMMITTED)
        _count(lane, delivery.manifest)


def _stage(lane: Lane, delivery: Delivery) -> None:
    assert delivery.writer is not None
    try:
        delivery.manifest = delivery.writer.stage()
    except StagingFailed:
        drop(lane, delivery)
        raise
    delivery.to(State.STAGED)


def _prepare(lane: Lane, delivery: Delivery) -> None:
    assert delivery.manifest is not None
    try:
        lane.channel.prepare(delivery.manifest, lane.holder)
    except LeaseRevoked:
        drop(lane, delivery)
        raise
    delivery.to(State.PREPARED)


def _publish(lane: Lane, delivery: Delivery) -> None:
    """Make all files visible; those proven lost at the store are built anew from their rows."""
    assert delivery.manifest is not None
    lost = lane.sink.publish(delivery.manifest)
    if not lost:
        return
    manifest = lane.sink.rebuild(delivery.manifest, lost, lambda r: _rows(lane, r))
    lane.channel.prepare(manifest, lane.holder)
    delivery.manifest = manifest
    if again := lane.sink.publish(manifest):
        # Whoever calls waits before the next try: a store that loses all must not be filled.
        raise PublishUnknown(f"{again[0].target} was built anew and is lost again at once")


def _rows(lane: Lane, ranges: Sequence[RowRange]) -> Iterator[tuple[int, EventBatch]]:
    for ref in lane.channel.refs(ranges):
        yield ref.position, lane.read(ref)


def _count(lane: Lane, manifest: Manifest) -> None:
    lane.metrics.add("DeliveryCommittedCount")
    lane.metrics.add("EventDrainSuccessCount", manifest.rows - manifest.filtered)
    lane.metrics.add("EventDeadLetterCount", manifest.dead)
    lane.metrics.add("FileCommittedCount", len(manifest.files))
    lane.metrics.add("BytesCommittedCount", sum(file.size for file in manifest.files))


def recover(lane: Lane) -> Iterable[Delivery]:
    """Deliveries that were prepared earlier and never committed, and the staged bytes of others.

    To be called before the first `drain`; each delivery is to be finished. Raises Retry: ask again.
    """
    found = adopted(lane)
    _collect(lane)
    return found


def adopted(lane: Lane) -> list[Delivery]:
    """Prepared deliveries of this sink that nobody who lives is publishing, now this lane's."""
    known = {delivery.id for delivery in (*lane.closing, *lane.dropped)}
    manifests = lane.channel.adopt(lane.name, lane.holder)
    return [
        Delivery(m.delivery, None, m, State.PREPARED) for m in manifests if m.delivery not in known
    ]


COLLECT_EVERY_MS = 900_000


def collect(lane: Lane) -> None:
    """Now and then delete the staged bytes of this lane's journal that nobody will publish.

    To be called in each turn: a sink may run for weeks, and what a dead replica or a store that did
    not answer left behind must not wait for its next start. Blocks; raises as the store does, and
    then not before the next time.
    """
    if lane.clock.monotonic_ms() >= lane.collect_at_ms:
        _collect(lane)


def _collect(lane: Lane) -> None:
    lane.collect_at_ms = lane.clock.monotonic_ms() + COLLECT_EVERY_MS
    lane.sink.collect(lane.channel.info().journal, lane.channel.garbage)
