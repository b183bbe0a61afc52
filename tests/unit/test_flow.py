"""The path of data in one thread: real channels, the real Parquet sink, storage in memory."""

from __future__ import annotations

import collections
import contextlib
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fakes import context
from lakes import to_prepare, to_stage

from rayflume import flow
from rayflume.agent.runner import ask_positions, lowest
from rayflume.batch import EventBatch, Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.clock import ManualClock
from rayflume.component import Context, lookup
from rayflume.delivery import Delivery, State
from rayflume.errors import ChannelClosed, ChannelFull, LeaseRevoked, PutRefused, Retry
from rayflume.flow import Lane, Parcel, Route, Status
from rayflume.interfaces import RowRef, Sink, Taken
from rayflume.journal.reader import decode_rows
from rayflume.metrics import Metrics
from rayflume.storage import memory

ROWS = 40
_names = itertools.count()


class World:
    """A channel that can be re-opened and a lake that outlives everything."""

    def __init__(self, directory: Path, **sink: object) -> None:
        self.clock = ManualClock()
        self.directory = directory
        self.lake = f"flow-{next(_names)}"
        self.options = {
            "path": f"memory://{self.lake}",
            "format": {"type": "json", "schema": {"n": "int64"}},
            **sink,
        }
        self.lives = itertools.count()
        self.channel = self.open_channel()

    def part(self, name: str) -> Context:
        return context(self.directory, name, self.clock)

    def open_channel(self, name: str = "wal", **options: object) -> JournaledChannel:
        options = {"directory": name, "minimum_required_space": 0, **options}
        channel: JournaledChannel = lookup("channel", "file")(**options).build(self.part(name))
        channel.open()
        return channel

    def reopen_channel(self) -> None:
        """As after a crash: nothing in memory is left."""
        self.channel.close()
        self.channel = self.open_channel()

    def lane(self, sink: Sink | None = None) -> Lane:
        """A new life of the sink."""
        if sink is None:
            sink = lookup("sink", "parquet").model_validate(self.options).build(self.part("lake"))
            sink.open()
        holder = f"lake/0/life{next(self.lives)}"
        lane = Lane(
            "lake", holder, self.channel, sink, lambda ref: self.read(ref), self.clock, Metrics()
        )
        lane.take_bytes = 2_000
        return lane

    def read(self, ref: RowRef) -> EventBatch:
        [record] = self.channel.fetch([ref])
        return decode_rows(record, ref)

    def put(self, start: int = 0, stop: int = ROWS) -> None:
        route = self.route({"wal": self.channel})
        for first in range(start, stop, 4):
            flow.ingest(numbers(first, min(first + 4, stop)), route)

    def route(self, channels: dict[str, JournaledChannel], **selector: object) -> Route:
        chosen = lookup("selector", "replicating")(**selector).build(self.part("route"))
        return Route("web", [], chosen, dict(channels), Metrics())

    def drain_all(self, lane: Lane) -> None:
        """Recover, then deliver all that waits."""
        for delivery in flow.recover(lane):
            flow.finish(lane, delivery)
        self.channel.drain(True)
        while flow.drain(lane, 0) is not Status.DRAINED:
            for delivery in list(lane.closing):
                flow.finish(lane, delivery)
                lane.closing.remove(delivery)
        self.channel.drain(False)

    def rows(self) -> collections.Counter[int]:
        """All rows that are visible in the lake, dead letters included."""
        seen: collections.Counter[int] = collections.Counter()
        for path, data in memory.store(self.lake).files.items():
            if path.endswith(".parquet"):
                seen.update(pq.read_table(io.BytesIO(data))["n"].to_pylist())
            elif path.endswith(".dead"):
                bodies = pq.read_table(io.BytesIO(data))["body"].to_pylist()
                seen.update(int(body.partition(b":")[2].rstrip(b"}")) for body in bodies)
        return seen


def numbers(start: int, stop: int, stream: str = "s") -> EventBatch:
    bodies = [b'{"n":%d}' % n for n in range(start, stop)]
    return EventBatch.from_events(bodies, (), (Extent(stream, start, stop, stop - start),))


ONCE = collections.Counter(range(ROWS))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.channel.close()


def fill(world: World, lane: Lane) -> Delivery:
    """Take until nothing waits, and close the delivery."""
    world.channel.drain(True)
    while not lane.closing:
        flow.drain(lane, 0)
    world.channel.drain(False)
    return lane.closing[0]


def to_publish(lane: Lane, delivery: Delivery) -> None:
    to_prepare(lane, delivery)
    assert delivery.manifest is not None
    assert lane.sink.publish(delivery.manifest) == []


STEPS: Sequence[Callable[[Lane, Delivery], None]] = (
    lambda lane, delivery: None,
    to_stage,
    to_prepare,
    to_publish,
    flow.finish,
)


def test_rows_go_through_once_and_in_order(world: World) -> None:
    world.put()
    world.drain_all(world.lane())
    assert world.rows() == ONCE
    assert world.channel.state().waiting == world.channel.state().prepared == 0


@pytest.mark.parametrize("step", STEPS, ids=("filled", "staged", "prepared", "published", "all"))
@pytest.mark.parametrize("channel_dies", (False, True))
def test_a_death_at_any_step_leaves_every_row_once(
    world: World, step: Callable[[Lane, Delivery], None], channel_dies: bool
) -> None:
    world.put()
    lane = world.lane()
    step(lane, fill(world, lane))
    if channel_dies:
        world.reopen_channel()
    else:
        world.channel.holder_gone(lane.holder)
    world.drain_all(world.lane())
    assert world.rows() == ONCE


@pytest.mark.parametrize("step", STEPS[1:3], ids=("staged", "prepared"))
def test_no_staged_bytes_are_left_after_recovery(
    world: World, step: Callable[[Lane, Delivery], None]
) -> None:
    world.put()
    lane = world.lane()
    step(lane, fill(world, lane))
    world.channel.holder_gone(lane.holder)
    after = world.lane()
    world.drain_all(after)
    journal = world.channel.info().journal
    left = memory.store(world.lake)
    assert world.rows() == ONCE
    after.sink.collect(journal, world.channel.garbage)
    assert not left.uploads


def test_a_sink_that_runs_for_weeks_collects_what_others_left(world: World) -> None:
    world.put()
    zombie = world.lane()
    fill(world, zombie).writer.stage()  # type: ignore[union-attr]
    world.channel.holder_gone(zombie.holder)
    lane = world.lane()
    left = memory.store(world.lake)
    flow.collect(lane)
    assert not left.uploads
    late = fill(world, zombie := world.lane())
    to_stage(zombie, late)
    open_now = set(left.uploads)
    assert open_now
    world.clock.advance(flow.COLLECT_EVERY_MS)
    flow.collect(lane)
    assert set(left.uploads) == open_now, "its delivery is open"
    world.channel.holder_gone(zombie.holder)
    world.clock.advance(flow.COLLECT_EVERY_MS - 1)
    flow.collect(lane)
    assert set(left.uploads) == open_now, "not before the time"
    world.clock.advance(1)
    left.faults.fail("staged")
    with pytest.raises(Retry):
        flow.collect(lane)
    flow.collect(lane)  # a store that fails is not asked again in each turn
    assert set(left.uploads) == open_now
    world.clock.advance(flow.COLLECT_EVERY_MS)
    flow.collect(lane)
    assert not left.uploads
    world.drain_all(lane)
    assert world.rows() == ONCE


def test_a_file_lost_after_prepare_is_built_anew_from_its_rows(world: World) -> None:
    world.put()
    lane = world.lane()
    delivery = fill(world, lane)
    to_prepare(lane, delivery)
    assert delivery.manifest is not None
    for file in delivery.manifest.files:
        memory.store(world.lake).lose(file.handle)
    flow.finish(lane, delivery)
    assert delivery.state is State.COMMITTED
    assert world.rows() == ONCE


def test_a_zombie_whose_rows_were_taken_publishes_nothing(world: World) -> None:
    world.put()
    zombie = world.lane()
    delivery = fill(world, zombie)
    world.channel.holder_gone(zombie.holder)
    world.drain_all(world.lane())
    before = dict(memory.store(world.lake).files)
    with pytest.raises(LeaseRevoked):
        flow.finish(zombie, delivery)
    assert delivery.state is State.RELEASED
    assert dict(memory.store(world.lake).files) == before
    assert world.rows() == ONCE


def test_rows_taken_away_while_a_delivery_is_finished_end_it_once(world: World) -> None:
    """One thread fills, another finishes: when the channel takes both back, each gives up its own.
    Given up twice, the sink crashed.
    """
    world.put()
    lane = world.lane()
    closing = fill(world, lane)
    flow.ingest(numbers(ROWS, ROWS + 4), world.route({"wal": world.channel}))
    flow.drain(lane, 0)
    opened = lane.open
    assert opened is not None
    world.channel.holder_gone(lane.holder)
    with pytest.raises(LeaseRevoked):
        flow.drain(lane, 0)
    assert (opened.state, lane.closing) == (State.RELEASED, [closing])
    with pytest.raises(LeaseRevoked):
        flow.finish(lane, closing)
    assert closing.state is State.RELEASED


class LosesAnswers:
    """A channel whose answer to one method is lost once, after the work was done."""

    def __init__(self, channel: JournaledChannel, method: str) -> None:
        self._channel, self._method = channel, method

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._channel, name)
        if name != self._method:
            return real

        def call(*args: Any) -> Any:
            real(*args)
            if self._method:
                self._method = ""
                raise ChannelClosed("the answer was lost")
            return None

        return call


@pytest.mark.parametrize("method", ("prepare", "commit"))
def test_a_lost_answer_is_asked_for_again_and_nothing_is_discarded(
    world: World, method: str
) -> None:
    world.put()
    lane = world.lane()
    delivery = fill(world, lane)
    lane.channel = LosesAnswers(world.channel, method)
    with pytest.raises(Retry):
        flow.finish(lane, delivery)
    flow.finish(lane, delivery)
    assert delivery.state is State.COMMITTED
    assert world.rows() == ONCE


def test_a_store_that_fails_in_the_middle_gives_the_rows_back(world: World) -> None:
    world.put()
    lane = world.lane()
    memory.store(world.lake).faults.fail("publish", 2)
    delivery = fill(world, lane)
    for _ in range(2):
        with pytest.raises(Retry):
            flow.finish(lane, delivery)
    flow.finish(lane, delivery)
    assert world.rows() == ONCE


def test_rows_that_are_gone_while_read_give_the_delivery_back_at_once(world: World) -> None:
    world.put()
    lane = world.lane()
    read, lane.read = lane.read, _gone
    with pytest.raises(LeaseRevoked):
        flow.drain(lane, 0)
    assert lane.open is None
    assert world.channel.state().leased == 0
    lane.read = read
    world.drain_all(lane)
    assert world.rows() == ONCE


def _gone(ref: RowRef) -> EventBatch:
    raise LeaseRevoked(f"segment {ref.segment} is gone")


# -- the source's half --------------------------------------------------------------------------


def test_a_full_required_channel_takes_nothing_and_the_retry_doubles_nothing(
    world: World,
) -> None:
    small = world.open_channel("small", capacity={"events": 6, "bytes": "1MiB"})
    route = world.route({"wal": world.channel, "small": small})
    assert flow.ingest(numbers(0, 4), route).rows == 4
    assert flow.ingest(numbers(4, 8), route).rows == 4
    parcel = flow.pack(numbers(8, 12), route)
    with pytest.raises(ChannelFull):
        flow.offer(parcel, route)
    taken = small.take("k/0/a", "", 10**6, 0)
    commit(small, taken)
    assert flow.offer(parcel, route).rows == 4
    assert world.channel.state().waiting == 12
    assert small.state().waiting == 12 - taken.rows
    small.close()


def commit(channel: JournaledChannel, taken: Taken) -> None:
    from rayflume.interfaces import Manifest

    channel.prepare(Manifest(taken.delivery, "k", rows=taken.rows, written=taken.rows), "k/0/a")
    channel.commit(taken.delivery)


def test_a_full_optional_channel_is_skipped_counted_and_goes_on_later(world: World) -> None:
    small = world.open_channel("small", capacity={"events": 4, "bytes": "1MiB"})
    route = world.route({"wal": world.channel, "small": small}, optional=["small"])
    for first in range(0, 12, 4):
        flow.ingest(numbers(first, first + 4), route)
    assert route.metrics.snapshot()["EventSkippedCount"] == 8
    commit(small, small.take("k/0/a", "", 10**6, 0))
    flow.ingest(numbers(12, 16), route)
    assert world.channel.state().waiting == 16
    assert small.state().waiting == 4
    small.close()


def test_a_source_that_is_ahead_is_told_where_to_go_on(world: World) -> None:
    route = world.route({"wal": world.channel})
    flow.ingest(numbers(0, 4), route)
    with pytest.raises(PutRefused) as refused:
        flow.ingest(numbers(8, 12), route)
    assert (refused.value.stream, refused.value.next) == ("s", 4)


def test_the_same_parcel_is_put_once_into_each_channel(world: World) -> None:
    route = world.route({"wal": world.channel})
    parcel: Parcel = flow.pack(numbers(0, 4), route)
    flow.offer(parcel, route)
    flow.offer(parcel, route)
    assert world.channel.state().waiting == 4


# -- when a delivery ends -----------------------------------------------------------------------


class Deaf:
    """A channel whose answers to some calls get lost, the work being done."""

    def __init__(self, channel: JournaledChannel, *methods: str) -> None:
        self._channel = channel
        self._lost = list(methods)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._channel, name)

        def call(*arguments: Any) -> Any:
            result = method(*arguments)
            if name in self._lost:
                self._lost.remove(name)
                raise ChannelClosed(f"the answer to {name} was lost")
            return result

        return call


def test_a_source_that_dies_between_two_channels_leaves_no_gap_in_the_second(world: World) -> None:
    """Found by the simulation: the second began where the first stood, behind the first rows."""
    second = world.open_channel("second")
    dying = world.route({"wal": world.channel, "second": Deaf(second, "put")})  # type: ignore[dict-item]
    with pytest.raises(ChannelClosed):
        flow.ingest(numbers(0, 4), dying)
    route = world.route({"wal": world.channel, "second": second})
    found = ask_positions(route, "")
    assert lowest(list(found.values()))["s"].next == 0
    flow.ingest(numbers(0, 4), route)
    for channel in (world.channel, second):
        assert channel.positions("")["s"].next == 4
        assert channel.state().waiting == 4


def test_a_channel_that_was_added_begins_where_the_others_stand(world: World) -> None:
    world.put(0, 4)
    second = world.open_channel("second")
    route = world.route({"wal": world.channel, "second": second})
    place = lowest(list(ask_positions(route, "").values()))["s"].next
    assert place == 4
    flow.ingest(numbers(4, 8), route)
    assert second.state().waiting == 4


@pytest.mark.parametrize("lost", ["take", "release", "garbage", "prepare", "adopt"])
def test_a_lost_answer_leaves_no_row_leased_for_ever(world: World, lost: str) -> None:
    """Found by the simulation, for each of these calls."""
    world.put()
    lane = world.lane()
    lane.channel = Deaf(world.channel, lost)
    with contextlib.suppress(Retry):
        flow.drain(lane, 0)
    if lane.open is not None:
        lane.closing, lane.open = [lane.open], None
        with contextlib.suppress(Retry):
            flow.finish(lane, lane.closing[0])
        if lane.closing[0].ended:
            lane.closing.clear()
    flow.release(lane)
    for _ in range(3):
        with contextlib.suppress(Retry):
            world.drain_all(lane)
    assert world.rows() == dict.fromkeys(range(ROWS), 1)
    state = world.channel.state()
    assert (state.waiting, state.leased, state.prepared) == (0, 0, 0)


def test_a_delivery_of_a_journal_that_was_given_up_is_not_published(world: World) -> None:
    world.put()
    lane = world.lane()
    flow.drain(lane, 0)
    assert lane.open is not None
    delivery, lane.open = lane.open, None
    lane.channel = world.open_channel("another")
    with pytest.raises(LeaseRevoked):
        flow.finish(lane, delivery)
    flow.drain(lane, 0)
    assert (lane.closing, lane.dropped) == ([], [])
    assert world.rows() == {}


def test_an_adoption_whose_answer_was_lost_is_asked_for_again(world: World) -> None:
    world.put()
    dying, lane = world.lane(), world.lane()
    flow.drain(dying, 0)
    assert dying.open is not None
    delivery, dying.open = dying.open, None
    dying.channel = Deaf(world.channel, "prepare")
    with pytest.raises(ChannelClosed):
        flow.finish(dying, delivery)
    world.channel.holder_gone(dying.holder)
    lane.channel = Deaf(world.channel, "adopt")
    with pytest.raises(ChannelClosed):
        flow.drain(lane, 0)
    flow.drain(lane, 0)
    assert [d.id for d in lane.closing if d.state is State.PREPARED] == [delivery.id]


def test_a_prepared_delivery_whose_sink_died_is_adopted_by_one_that_runs(world: World) -> None:
    world.put()
    dying, lane = world.lane(), world.lane()
    flow.drain(dying, 0)
    assert dying.open is not None
    delivery, dying.open = dying.open, None
    with pytest.raises(ChannelClosed):
        dying.channel = Deaf(world.channel, "prepare")
        flow.finish(dying, delivery)
    world.channel.holder_gone(dying.holder)
    world.drain_all(lane)
    assert world.rows() == dict.fromkeys(range(ROWS), 1)


@pytest.mark.parametrize("roll", ({"age": "5s", "idle": 0}, {"age": 0, "idle": "5s"}))
def test_age_and_idle_time_end_a_delivery_without_any_new_row(
    tmp_path: Path, roll: dict[str, object]
) -> None:
    world = World(tmp_path, roll=roll)
    world.put(0, 4)
    lane = world.lane()
    assert flow.drain(lane, 0) is Status.READY
    world.clock.advance(4_999)
    flow.drain(lane, 0)
    assert not lane.closing
    world.clock.advance(1)
    flow.drain(lane, 0)
    assert [delivery.rows for delivery in lane.closing] == [4]
    world.channel.close()


def test_delivery_bytes_end_a_delivery(tmp_path: Path) -> None:
    world = World(tmp_path, delivery_bytes=60)
    world.put()
    lane = world.lane()
    flow.drain(lane, 0)
    assert len(lane.closing) == 1
    assert lane.open is None
    world.channel.close()


# -- rows that kill -----------------------------------------------------------------------------


class Killer:
    """A real sink, but whoever decodes row 13 dies."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def begin(self, delivery: str) -> Any:
        writer = self._sink.begin(delivery)
        write = writer.write

        def fatal(batch: EventBatch, position: int, poison: str = "") -> None:
            if b'{"n":13}' in batch.body.to_pylist() and not poison:
                raise RuntimeError("killed")
            write(batch, position, poison)

        writer.write = fatal  # type: ignore[method-assign]
        return writer


def test_a_row_that_kills_its_holder_ends_alone_in_the_dead_letters(world: World) -> None:
    world.put()
    deaths = 0
    while world.channel.state().waiting:
        sink = lookup("sink", "parquet").model_validate(world.options).build(world.part("lake"))
        sink.open()
        lane = world.lane(Killer(sink))
        try:
            world.drain_all(lane)
        except RuntimeError:
            deaths += 1
            world.channel.holder_gone(lane.holder)
        assert deaths < 30
    assert deaths >= 3
    assert world.rows() == ONCE
    dead = [p for p in memory.store(world.lake).files if p.endswith(".dead")]
    assert len(dead) == 1
