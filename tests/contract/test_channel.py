"""Clauses C1 to C11 of Channel, over every channel type, and the file channel opened anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from disks import FaultyDisk
from fakes import (
    deliver,
    journaled,
    manifest_of,
    manual,
    numbers,
    put_numbers,
    request,
    take_all,
    take_rows,
)

from rayflume.batch import Extent
from rayflume.channels._journaled import JournaledChannel
from rayflume.clock import ManualClock
from rayflume.completeness import WatermarkQuery
from rayflume.component import Component, Context, lookup, types_of
from rayflume.errors import ChannelClosed, LeaseRevoked
from rayflume.interfaces import PutOutcome, StreamPosition

STORED, FULL, REFUSED = PutOutcome.STORED, PutOutcome.FULL, PutOutcome.REFUSED
KEY, BODY, OTHER_BODY = "ab" * 16, bytes(16), b"x" * 16
REQUIRED = {"file": {"directory": "wal"}}
A, B = "lake/0/a", "lake/1/b"


@dataclass
class Lab:
    """One channel; `again` opens it anew where this variant does so."""

    build: Callable[[], JournaledChannel]
    clock: ManualClock
    context: Context
    reopens: bool
    channel: JournaledChannel

    def again(self) -> JournaledChannel:
        if self.reopens:
            self.channel.close()
            self.channel = self.build()
            self.channel.open()
        return self.channel


@pytest.fixture(params=[*types_of("channel"), "file reopened", "file reopened and encrypted"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    kind, _, again = str(request.param).partition(" ")
    context, clock = manual(tmp_path)
    given: dict[str, object] = dict(REQUIRED.get(kind, {}))
    if "encrypted" in again:
        (tmp_path / "key").write_bytes(bytes(range(32)))
        given["encryption"] = {"active_key": "k", "key_files": {"k": "key"}}
    options: Component = lookup("channel", kind).model_validate(given)

    def build() -> JournaledChannel:
        channel = options.build(context)
        assert isinstance(channel, JournaledChannel)
        return channel

    channel = build()
    channel.open()
    made = Lab(build, clock, context, bool(again), channel)
    yield made
    made.channel.close()


def test_c1_what_is_there_already_is_acknowledged_and_not_stored(lab: Lab) -> None:
    assert put_numbers(lab.channel, 0, 5).outcome is STORED
    assert put_numbers(lab.again(), 0, 5).outcome is STORED
    assert put_numbers(lab.again(), 2, 4).outcome is STORED
    assert take_all(lab.again()) == numbers(0, 5)


@pytest.mark.parametrize(("start", "stop"), [(6, 8), (4, 8), (100, 101)])
def test_c1_a_gap_or_an_overlap_is_refused_with_next(lab: Lab, start: int, stop: int) -> None:
    put_numbers(lab.channel, 0, 5)
    reply = put_numbers(lab.again(), start, stop)
    assert (reply.outcome, reply.stream, reply.next) == (REFUSED, "s", 5)
    assert take_all(lab.again()) == numbers(0, 5)


def test_c1_extents_of_one_put_are_judged_in_order(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    extents = [Extent("s", 0, 2, 2), Extent("s", 2, 3, 1), Extent("t", 0, 1, 1)]
    extents.append(Extent("s", 3, 9, 0))
    reply = lab.again().put(request([b"0", b"1", b"2", b"t"], extents))
    assert reply.outcome is STORED
    assert take_all(lab.again()) == [b"0", b"1", b"2", b"t"]
    if lab.channel.info().durable:
        assert lab.channel.positions("s") == {"s": StreamPosition(9)}


def test_c1_one_bad_extent_refuses_the_whole_put(lab: Lab) -> None:
    extents = [Extent("s", 0, 1, 1), Extent("t", 3, 4, 1)]
    assert lab.channel.put(request([b"0", b"t"], extents)).outcome is REFUSED
    assert lab.again().positions("") == {}
    assert lab.channel.state().waiting == 0


def test_c1_an_unknown_stream_may_begin_where_the_put_says(lab: Lab) -> None:
    put = replace(request([b"7"], [Extent("s", 7, 8, 1)]), begins=("s",))
    assert lab.channel.put(put).outcome is STORED
    assert put_numbers(lab.again(), 8, 9).outcome is STORED


def test_c1_only_a_put_with_a_reason_crosses_a_gap_and_it_is_counted(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 1)
    put = request([b"4"], [Extent("s", 4, 5, 1)], skip="the topic kept no more")
    assert lab.again().put(put).outcome is STORED
    assert lab.context.metrics.snapshot()["EventSkippedCount"] == 3
    overlap = request([b"4", b"5"], [Extent("s", 4, 6, 2)], skip="again")
    assert lab.again().put(overlap).outcome is REFUSED


def test_c1_a_keyed_twin_is_acknowledged_and_another_body_conflicts(lab: Lab) -> None:
    keyed = Extent(KEY, 0, 1, 1, BODY, keyed=True)
    assert lab.channel.put(request([b"r"], [keyed])).conflicts == ()
    assert lab.again().put(request([b"r"], [keyed])).conflicts == ()
    reply = lab.again().put(request([b"q"], [replace(keyed, token=OTHER_BODY)]))
    assert (reply.outcome, reply.conflicts) == (STORED, (KEY,))
    assert take_all(lab.again()) == [b"r"]


def test_c1_a_put_that_contradicts_itself_changes_nothing(lab: Lab) -> None:
    with pytest.raises(ValueError, match="rows"):
        lab.channel.put(replace(request([b"r"], [Extent("s", 0, 1, 1)]), rows=2))
    with pytest.raises(ValueError, match="16 bytes"):
        lab.channel.put(request([b"r"], [Extent("abcd", 0, 1, 1, b"short", keyed=True)]))
    with pytest.raises(UnicodeEncodeError):
        lab.channel.put(request([b"r"], [Extent("\udc80", 0, 1, 1)]))
    put_numbers(lab.channel, 0, 3)
    assert take_all(lab.again()) == numbers(0, 3)
    assert lab.channel.state().degraded == ()


def test_c2_a_full_channel_takes_nothing_and_says_so(tmp_path: Path) -> None:
    for kind in types_of("channel"):
        context, _ = manual(tmp_path, f"{kind}-small")
        options = REQUIRED.get(kind, {}) | {"capacity": 3}
        channel = lookup("channel", kind).model_validate(options).build(context)
        channel.open()
        assert put_numbers(channel, 0, 3).outcome is STORED
        reply = put_numbers(channel, 3, 4)
        assert (reply.outcome, reply.credit) == (FULL, 0)
        assert channel.positions("")["s"].next == 3
        assert put_numbers(channel, 0, 3).outcome is STORED, "what is there needs no room"
        assert deliver(channel) == numbers(0, 3)
        assert put_numbers(channel, 3, 4).outcome is STORED
        channel.close()


def test_c3_take_leases_the_oldest_rows_once(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    put_numbers(lab.channel, 2, 4)
    channel = lab.again()
    taken = channel.take(A, "", 1, 0)
    assert taken.rows == 2
    more = channel.take(A, taken.delivery, 10**6, 0)
    assert (more.delivery, more.rows) == (taken.delivery, 2)
    assert channel.take(B, "", 10**6, 0) == replace(taken, delivery="", refs=())


def test_c3_a_delivery_of_another_or_of_nobody_is_refused(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    taken = lab.channel.take(A, "", 1, 0)
    with pytest.raises(LeaseRevoked):
        lab.channel.take(B, taken.delivery, 1, 0)
    with pytest.raises(LeaseRevoked):
        lab.channel.take(A, "nothing-1-1", 1, 0)


def test_c3_rows_of_a_dead_holder_come_back_alone_and_first(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    lab.channel.take(A, "", 1, 0)
    put_numbers(lab.channel, 2, 4)
    lab.channel.holder_gone(A)
    leased = take_rows(lab.channel, B)
    assert (leased.rows, leased.taken.close) == (numbers(0, 2), True)
    alone = lab.channel.take(B, leased.taken.delivery, 10**6, 0)
    assert (alone.refs, alone.close) == ((), True)
    assert take_rows(lab.channel, B).rows == numbers(2, 4)


def test_c3_a_take_whose_answer_was_lost_gives_the_same_rows_again(lab: Lab) -> None:
    """Found by the simulation: else the rows stay leased to a delivery that nobody fills."""
    put_numbers(lab.channel, 0, 3)
    lost = lab.channel.take(A, "", 2**30, 0, 1)
    put_numbers(lab.channel, 3, 5)
    again = lab.channel.take(A, "", 2**30, 0, 1)
    assert (again.delivery, again.refs) == (lost.delivery, lost.refs)
    more = lab.channel.take(A, lost.delivery, 2**30, 0, 2)
    assert more.rows == 2
    assert lab.channel.take(A, lost.delivery, 2**30, 0, 2).refs == more.refs
    with pytest.raises(LeaseRevoked, match="comes after"):
        lab.channel.take(A, "", 2**30, 0, 1)
    lab.channel.prepare(manifest_of(lost.delivery, 5), A)


def test_c3_a_lost_answer_is_void_once_its_rows_were_taken_back(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 3)
    lost = lab.channel.take(A, "", 2**30, 0, 1)
    lab.channel.holder_gone(A)
    again = lab.channel.take(A, "", 2**30, 0, 1)
    assert again.rows == 3
    assert again.delivery != lost.delivery


def test_c3_a_take_that_comes_late_gets_the_empty_answer_its_repetition_got(lab: Lab) -> None:
    assert not lab.channel.take(A, "", 2**30, 0, 5).refs
    put_numbers(lab.channel, 0, 3)
    assert not lab.channel.take(A, "", 2**30, 0, 5).refs
    assert lab.channel.state().leased == 0
    assert lab.channel.take(A, "", 2**30, 0, 6).rows == 3


def test_c3_rows_that_came_back_do_not_go_behind_later_ones_of_an_open_delivery(lab: Lab) -> None:
    """Found by the simulation: a file had rows of a stream out of order."""
    put_numbers(lab.channel, 0, 2)
    first = take_rows(lab.channel, B)
    put_numbers(lab.channel, 2, 4)
    opened = take_rows(lab.channel, A)
    assert opened.rows == numbers(2, 4)
    lab.channel.release(first.taken.delivery)
    taken = take_rows(lab.channel, A, opened.taken.delivery).taken
    assert (taken.refs, taken.close) == ((), True)
    assert take_all(lab.channel, A) == numbers(0, 2)


def test_c3_take_tells_of_prepared_deliveries_that_lost_their_holder(lab: Lab) -> None:
    """Found by the simulation: nobody published them before a sink was started anew."""
    put_numbers(lab.channel, 0, 2)
    delivery = take_rows(lab.channel, A).taken.delivery
    lab.channel.prepare(manifest_of(delivery, 2), A)
    assert not lab.channel.take(B, "", 2**30, 0).orphans
    lab.channel.holder_gone(A)
    assert lab.channel.take(B, "", 2**30, 0).orphans
    assert not lab.channel.take("other/0/x", "", 2**30, 0).orphans
    assert [m.delivery for m in lab.channel.adopt("lake", B)] == [delivery]
    assert not lab.channel.take(B, "", 2**30, 0).orphans


def test_c4_released_rows_return_first_and_in_order(lab: Lab) -> None:
    for start in (0, 2, 4):
        put_numbers(lab.channel, start, start + 2)
    first, second = lab.channel.take(A, "", 1, 0), lab.channel.take(B, "", 1, 0)
    lab.channel.release(second.delivery)
    lab.channel.release(first.delivery)
    lab.channel.release(first.delivery)
    assert take_all(lab.again()) == numbers(0, 6)


def test_c5_prepare_may_be_asked_again_and_checks_rows_and_lease(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    manifest = manifest_of(taken.delivery, 3)
    with pytest.raises(ValueError, match="3 rows leased, 2 in the manifest"):
        lab.channel.prepare(manifest_of(taken.delivery, 2), A)
    with pytest.raises(ValueError, match="4 written, dead or filtered"):
        lab.channel.prepare(replace(manifest, dead=1), A)
    with pytest.raises(LeaseRevoked):
        lab.channel.prepare(manifest, B)
    lab.channel.prepare(manifest, A)
    lab.again().prepare(manifest, A)
    assert lab.channel.state().prepared == 3
    lab.channel.commit(taken.delivery)
    lab.again().commit(taken.delivery)
    assert lab.channel.state().prepared == lab.channel.state().waiting == 0


def test_c5_a_revoked_lease_can_not_be_prepared(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    lab.channel.holder_gone(A)
    with pytest.raises(LeaseRevoked):
        lab.channel.prepare(manifest_of(taken.delivery, 3), A)
    assert lab.channel.garbage([taken.delivery]) == [taken.delivery]


def test_c6_only_committed_rows_are_done(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    lab.channel.prepare(manifest_of(taken.delivery, 3), A)
    assert lab.again().state().prepared == 3
    assert lab.channel.garbage([taken.delivery]) == []
    lab.channel.commit(taken.delivery)
    state = lab.again().state()
    assert (state.waiting, state.leased, state.prepared, state.bytes) == (0, 0, 0, 0)


def test_c7_adopt_hands_over_what_no_living_holder_has(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    manifest = manifest_of(taken.delivery, 3)
    lab.channel.prepare(manifest, A)
    assert lab.channel.adopt("lake", B) == ()
    assert lab.channel.adopt("other", "other/0/a") == ()
    assert lab.channel.adopt("lake", "lake/0/next-life") == (manifest,)
    lab.channel.holder_gone("lake/0/next-life")
    assert lab.again().adopt("lake", B) == (manifest,)


def test_c7_garbage_of_another_journal_or_a_later_owner_is_not_judged(lab: Lab) -> None:
    journal = lab.channel.info().journal
    foreign = ["0000000000000000-1-1", f"{journal}-999999-1", journal, f"{journal}-x-1"]
    assert lab.channel.garbage(foreign) == []
    assert lab.channel.garbage([f"{journal}-0-1"]) == [f"{journal}-0-1"]


def test_c8_a_silent_holder_loses_open_deliveries_but_not_prepared_ones(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    prepared = lab.channel.take(A, "", 1, 0)
    lab.channel.prepare(manifest_of(prepared.delivery, 2), A)
    put_numbers(lab.channel, 2, 4)
    lab.channel.take(A, "", 1, 0)
    lab.clock.advance(20_000)
    lab.channel.heartbeat(A)
    lab.clock.advance(20_000)
    assert lab.channel.state().leased == 2
    lab.clock.advance(10_000)
    state = lab.channel.state()
    assert (state.waiting, state.leased, state.prepared) == (2, 0, 2)
    assert take_rows(lab.channel, B).rows == numbers(2, 4)


def test_c9_everything_acknowledged_survives_opening_anew(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    manifest = manifest_of(taken.delivery, 3)
    lab.channel.prepare(manifest, A)
    put_numbers(lab.channel, 3, 6)
    lab.channel.take(B, "", 1, 0)
    keyed = Extent(KEY, 0, 1, 1, BODY, keyed=True)
    lab.channel.put(request([b"r"], [keyed]))
    if not lab.channel.info().durable:
        return
    journal = lab.channel.info().journal
    for _ in range(3):
        lab.reopens = True
        channel = lab.again()
        assert channel.info().journal == journal
        assert channel.positions("") == {"s": StreamPosition(6)}
        assert channel.adopt("lake", B) == (manifest,)
        assert take_all(channel) == [*numbers(3, 6), b"r"]
        reply = channel.put(request([b"q"], [replace(keyed, token=OTHER_BODY)]))
        assert reply.conflicts == (KEY,)


def test_c9_memory_moves_positions_on_only_when_rows_are_committed(tmp_path: Path) -> None:
    def opened() -> JournaledChannel:
        channel = lookup("channel", "memory").model_validate({}).build(manual(tmp_path)[0])
        assert isinstance(channel, JournaledChannel)
        channel.open()
        return channel

    channel = opened()
    put_numbers(channel, 0, 3)
    assert deliver(channel) == numbers(0, 3)
    put_numbers(channel, 3, 6)
    channel.retire(["s"])
    channel.close()
    channel = opened()
    assert channel.positions("") == {"s": StreamPosition(3)}
    put_numbers(channel, 3, 6)
    channel.retire(["s"])
    deliver(channel)
    channel.close()
    channel = opened()
    assert channel.positions("") == {"s": StreamPosition(6, retired=True)}
    channel.close()


def test_c10_nothing_is_acknowledged_once_another_process_has_the_journal(tmp_path: Path) -> None:
    disk = FaultyDisk()
    zombie = journaled(disk, manual(tmp_path)[0])
    put_numbers(zombie, 0, 2)
    leased = take_rows(zombie)
    heir = journaled(disk, manual(tmp_path)[0])
    with pytest.raises(ChannelClosed, match="another process"):
        zombie.prepare(manifest_of(leased.taken.delivery, 2), A)
    assert take_all(heir) == numbers(0, 2)


def test_memory_delivers_on_when_the_disk_of_its_positions_is_full(tmp_path: Path) -> None:
    context, _ = manual(tmp_path)
    channel = lookup("channel", "memory")().build(context)
    channel.open()
    put_numbers(channel, 0, 3)
    table = channel._table
    table._free = 2**62, 0
    table._setup = replace(table._setup, minimum_required_space=1)
    assert deliver(channel) == numbers(0, 3)
    table._free = 0, 0
    put_numbers(channel, 3, 5)
    assert deliver(channel) == numbers(3, 5)
    assert table.positions("")["s"].next == 5
    channel.close()


def test_c11_what_is_sealed_stays_so_until_it_is_marked(lab: Lab) -> None:
    query = WatermarkQuery("lake", {"web": 1}, 60_000)
    put = request([b"a", b"b"], [Extent("host/web/s", 0, 2, 2)])
    lab.channel.put(replace(put, source="host/web"))
    leased = take_rows(lab.channel)
    manifest = replace(
        manifest_of(leased.taken.delivery, 2),
        event_times={"host/web/s": (5, 90)},
        partitions={"": 60},
    )
    lab.channel.prepare(manifest, A)
    lab.channel.commit(manifest.delivery)
    assert lab.again().seal("lake", 60).complete == (), "nobody has heard how far it is"
    assert lab.channel.watermark(query).at_ms == 90
    sealed = lab.channel.seal("lake", 60)
    assert [(c.directory, c.over_ms, c.rows, c.files) for c in sealed.complete] == [("", 60, 2, 1)]
    assert lab.again().seal("lake", 50) == sealed
    assert lab.again().watermark(query).at_ms == 90
    lab.again().marked("lake", sealed.complete)
    assert lab.again().seal("lake", 60).complete == ()


def test_a_source_that_tells_is_known(lab: Lab) -> None:
    query = WatermarkQuery("lake", {"web": 1}, 60_000)
    lab.channel.seal("lake", None)
    assert lab.channel.watermark(query).held_by == ("web",)
    lab.channel.idle("host/web")
    assert lab.channel.watermark(query).held_by == ("host/web",)


def test_drain_asks_holders_to_close_once_nothing_waits(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    taken = lab.channel.take(A, "", 1, 0)
    lab.channel.drain(True)
    last = lab.channel.take(A, taken.delivery, 1, 1000)
    assert (last.close, last.draining, last.refs) == (True, True, ())
    assert lab.channel.take(B, "", 1, 0).draining
    lab.channel.drain(False)
    assert not lab.channel.take(A, taken.delivery, 1, 0).close


def test_tap_shows_the_newest_rows_without_taking_them(lab: Lab) -> None:
    put_numbers(lab.channel, 0, 2)
    put_numbers(lab.channel, 2, 4)
    assert len(lab.again().tap(2)) == 1
    assert lab.channel.state().waiting == 4


def test_a_closed_channel_says_come_back_and_may_be_closed_again(lab: Lab) -> None:
    lab.channel.close()
    lab.channel.close()
    with pytest.raises(ChannelClosed):
        put_numbers(lab.channel, 0, 1)
