"""Clauses of Channel and of EventTimes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rayflume.batch import Extent
from rayflume.completeness import WatermarkQuery
from rayflume.errors import LeaseRevoked
from rayflume.interfaces import PutOutcome, StreamPosition
from rayflume.testing._expect import raises, same, true
from rayflume.testing._rows import (
    manifest_of,
    numbers,
    put_numbers,
    request,
    take_all,
    take_rows,
)
from rayflume.testing._trial import Trial

STORED, REFUSED = PutOutcome.STORED, PutOutcome.REFUSED
KEY, BODY, OTHER_BODY = "ab" * 16, bytes(16), b"x" * 16
A, B = "lake/0/a", "lake/1/b"


class Lab:
    """One open channel; `again` opens it anew where the trial wants that."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.clock, self.reopens = trial, trial.clock, trial.reopens
        self.channel = trial.opened()

    def again(self) -> Any:  # noqa: ANN401 - a Channel that can be opened
        if self.reopens:
            self.channel.close()
            self.channel = self.trial.opened()
        return self.channel


def c1_a_gap_or_an_overlap_is_refused_with_next(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 5)
    for start, stop in [(6, 8), (4, 8), (100, 101)]:
        reply = put_numbers(lab.again(), start, stop)
        same((reply.outcome, reply.stream, reply.next), (REFUSED, "s", 5))
    same(take_all(lab.again()), numbers(0, 5))


def c1_what_is_there_already_is_acknowledged_and_not_stored(trial: Trial) -> None:
    lab = Lab(trial)
    same(put_numbers(lab.channel, 0, 5).outcome, STORED)
    same(put_numbers(lab.again(), 0, 5).outcome, STORED)
    same(put_numbers(lab.again(), 2, 4).outcome, STORED)
    same(take_all(lab.again()), numbers(0, 5))


def c1_extents_of_one_put_are_judged_in_order(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 2)
    extents = [Extent("s", 0, 2, 2), Extent("s", 2, 3, 1), Extent("t", 0, 1, 1)]
    extents.append(Extent("s", 3, 9, 0))
    reply = lab.again().put(request([b"0", b"1", b"2", b"t"], extents))
    same(reply.outcome, STORED)
    same(take_all(lab.again()), [b"0", b"1", b"2", b"t"])
    if lab.channel.info().durable:
        same(lab.channel.positions("s"), {"s": StreamPosition(9)})


def c1_one_bad_extent_refuses_the_whole_put(trial: Trial) -> None:
    lab = Lab(trial)
    extents = [Extent("s", 0, 1, 1), Extent("t", 3, 4, 1)]
    same(lab.channel.put(request([b"0", b"t"], extents)).outcome, REFUSED)
    same(lab.again().positions(""), {})
    same(lab.channel.state().waiting, 0)


def c1_an_unknown_stream_may_begin_where_the_put_says(trial: Trial) -> None:
    lab = Lab(trial)
    put = replace(request([b"7"], [Extent("s", 7, 8, 1)]), begins=("s",))
    same(lab.channel.put(put).outcome, STORED)
    same(put_numbers(lab.again(), 8, 9).outcome, STORED)


def c1_only_a_put_with_a_reason_crosses_a_gap_and_it_is_counted(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 1)
    put = request([b"4"], [Extent("s", 4, 5, 1)], skip="the topic kept no more")
    same(lab.again().put(put).outcome, STORED)
    same(trial.metrics.snapshot()["EventSkippedCount"], 3)
    overlap = request([b"4", b"5"], [Extent("s", 4, 6, 2)], skip="again")
    same(lab.again().put(overlap).outcome, REFUSED)


def c1_a_keyed_twin_is_acknowledged_and_another_body_conflicts(trial: Trial) -> None:
    lab = Lab(trial)
    keyed = Extent(KEY, 0, 1, 1, BODY, keyed=True)
    same(lab.channel.put(request([b"r"], [keyed])).conflicts, ())
    same(lab.again().put(request([b"r"], [keyed])).conflicts, ())
    reply = lab.again().put(request([b"q"], [replace(keyed, token=OTHER_BODY)]))
    same((reply.outcome, reply.conflicts), (STORED, (KEY,)))
    same(take_all(lab.again()), [b"r"])


def c1_a_put_that_contradicts_itself_changes_nothing(trial: Trial) -> None:
    lab = Lab(trial)
    with raises(ValueError, match="rows"):
        lab.channel.put(replace(request([b"r"], [Extent("s", 0, 1, 1)]), rows=2))
    with raises(ValueError, match="16 bytes"):
        lab.channel.put(request([b"r"], [Extent("abcd", 0, 1, 1, b"short", keyed=True)]))
    with raises(UnicodeEncodeError):
        lab.channel.put(request([b"r"], [Extent("\udc80", 0, 1, 1)]))
    put_numbers(lab.channel, 0, 3)
    same(take_all(lab.again()), numbers(0, 3))
    same(lab.channel.state().degraded, ())


def c3_take_leases_the_oldest_rows_once(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 2)
    put_numbers(lab.channel, 2, 4)
    channel = lab.again()
    taken = channel.take(A, "", 1, 0)
    same(taken.rows, 2)
    more = channel.take(A, taken.delivery, 10**6, 0)
    same((more.delivery, more.rows), (taken.delivery, 2))
    same(channel.take(B, "", 10**6, 0), replace(taken, delivery="", refs=()))


def c3_a_delivery_of_another_or_of_nobody_is_refused(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 2)
    taken = lab.channel.take(A, "", 1, 0)
    with raises(LeaseRevoked):
        lab.channel.take(B, taken.delivery, 1, 0)
    with raises(LeaseRevoked):
        lab.channel.take(A, "nothing-1-1", 1, 0)


def c3_rows_of_a_dead_holder_come_back_alone_and_first(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 2)
    lab.channel.take(A, "", 1, 0)
    put_numbers(lab.channel, 2, 4)
    lab.channel.holder_gone(A)
    leased = take_rows(lab.channel, B)
    same((leased.rows, leased.taken.close), (numbers(0, 2), True))
    alone = lab.channel.take(B, leased.taken.delivery, 10**6, 0)
    same((alone.refs, alone.close), ((), True))
    same(take_rows(lab.channel, B).rows, numbers(2, 4))


def c3_a_take_whose_answer_was_lost_gives_the_same_rows_again(trial: Trial) -> None:
    """Found by the simulation: else the rows stay leased to a delivery that nobody fills."""
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 3)
    lost = lab.channel.take(A, "", 2**30, 0, 1)
    put_numbers(lab.channel, 3, 5)
    again = lab.channel.take(A, "", 2**30, 0, 1)
    same((again.delivery, again.refs), (lost.delivery, lost.refs))
    more = lab.channel.take(A, lost.delivery, 2**30, 0, 2)
    same(more.rows, 2)
    same(lab.channel.take(A, lost.delivery, 2**30, 0, 2).refs, more.refs)
    with raises(LeaseRevoked, match="comes after"):
        lab.channel.take(A, "", 2**30, 0, 1)
    lab.channel.prepare(manifest_of(lost.delivery, 5), A)


def c3_a_lost_answer_is_void_once_its_rows_were_taken_back(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 3)
    lost = lab.channel.take(A, "", 2**30, 0, 1)
    lab.channel.holder_gone(A)
    again = lab.channel.take(A, "", 2**30, 0, 1)
    same(again.rows, 3)
    true(again.delivery != lost.delivery, "the rows come in another delivery")


def c3_a_take_that_comes_late_gets_the_empty_answer_its_repetition_got(trial: Trial) -> None:
    lab = Lab(trial)
    same(lab.channel.take(A, "", 2**30, 0, 5).refs, ())
    put_numbers(lab.channel, 0, 3)
    same(lab.channel.take(A, "", 2**30, 0, 5).refs, ())
    same(lab.channel.state().leased, 0)
    same(lab.channel.take(A, "", 2**30, 0, 6).rows, 3)


def c3_rows_that_came_back_do_not_go_behind_later_ones_of_an_open_delivery(trial: Trial) -> None:
    """Found by the simulation: a file had rows of a stream out of order."""
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 2)
    first = take_rows(lab.channel, B)
    put_numbers(lab.channel, 2, 4)
    opened = take_rows(lab.channel, A)
    same(opened.rows, numbers(2, 4))
    lab.channel.release(first.taken.delivery)
    taken = take_rows(lab.channel, A, opened.taken.delivery).taken
    same((taken.refs, taken.close), ((), True))
    same(take_all(lab.channel, A), numbers(0, 2))


def c3_take_tells_of_prepared_deliveries_that_lost_their_holder(trial: Trial) -> None:
    """Found by the simulation: nobody published them before a sink was started anew."""
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 2)
    delivery = take_rows(lab.channel, A).taken.delivery
    lab.channel.prepare(manifest_of(delivery, 2), A)
    same(lab.channel.take(B, "", 2**30, 0).orphans, False)
    lab.channel.holder_gone(A)
    same(lab.channel.take(B, "", 2**30, 0).orphans, True)
    same(lab.channel.take("other/0/x", "", 2**30, 0).orphans, False)
    same([m.delivery for m in lab.channel.adopt("lake", B)], [delivery])
    same(lab.channel.take(B, "", 2**30, 0).orphans, False)


def c4_released_rows_return_first_and_in_order(trial: Trial) -> None:
    lab = Lab(trial)
    for start in (0, 2, 4):
        put_numbers(lab.channel, start, start + 2)
    first, second = (lab.channel.take(A, "", 1, 0), lab.channel.take(B, "", 1, 0))
    lab.channel.release(second.delivery)
    lab.channel.release(first.delivery)
    lab.channel.release(first.delivery)
    same(take_all(lab.again()), numbers(0, 6))


def c5_prepare_may_be_asked_again_and_checks_rows_and_lease(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    manifest = manifest_of(taken.delivery, 3)
    with raises(ValueError, match="3 rows leased, 2 in the manifest"):
        lab.channel.prepare(manifest_of(taken.delivery, 2), A)
    with raises(ValueError, match="4 written, dead or filtered"):
        lab.channel.prepare(replace(manifest, dead=1), A)
    with raises(LeaseRevoked):
        lab.channel.prepare(manifest, B)
    lab.channel.prepare(manifest, A)
    lab.again().prepare(manifest, A)
    same(lab.channel.state().prepared, 3)
    lab.channel.commit(taken.delivery)
    lab.again().commit(taken.delivery)
    state = lab.channel.state()
    same((state.prepared, state.waiting), (0, 0))


def c5_a_revoked_lease_can_not_be_prepared(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    lab.channel.holder_gone(A)
    with raises(LeaseRevoked):
        lab.channel.prepare(manifest_of(taken.delivery, 3), A)
    same(lab.channel.garbage([taken.delivery]), [taken.delivery])


def c6_only_committed_rows_are_done(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    lab.channel.prepare(manifest_of(taken.delivery, 3), A)
    same(lab.again().state().prepared, 3)
    same(lab.channel.garbage([taken.delivery]), [])
    lab.channel.commit(taken.delivery)
    state = lab.again().state()
    same((state.waiting, state.leased, state.prepared, state.bytes), (0, 0, 0, 0))


def c7_adopt_hands_over_what_no_living_holder_has(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 3)
    taken = lab.channel.take(A, "", 1, 0)
    manifest = manifest_of(taken.delivery, 3)
    lab.channel.prepare(manifest, A)
    same(lab.channel.adopt("lake", B), ())
    same(lab.channel.adopt("other", "other/0/a"), ())
    same(lab.channel.adopt("lake", "lake/0/next-life"), (manifest,))
    lab.channel.holder_gone("lake/0/next-life")
    same(lab.again().adopt("lake", B), (manifest,))


def c7_garbage_of_another_journal_or_a_later_owner_is_not_judged(trial: Trial) -> None:
    lab = Lab(trial)
    journal = lab.channel.info().journal
    foreign = ["0000000000000000-1-1", f"{journal}-999999-1", journal, f"{journal}-x-1"]
    same(lab.channel.garbage(foreign), [])
    same(lab.channel.garbage([f"{journal}-0-1"]), [f"{journal}-0-1"])


def c8_a_silent_holder_loses_open_deliveries_but_not_prepared_ones(trial: Trial) -> None:
    lab = Lab(trial)
    put_numbers(lab.channel, 0, 2)
    prepared = lab.channel.take(A, "", 1, 0)
    lab.channel.prepare(manifest_of(prepared.delivery, 2), A)
    put_numbers(lab.channel, 2, 4)
    lab.channel.take(A, "", 1, 0)
    third_ms = -(-lab.channel.info().lease_timeout_ms // 3)
    lab.clock.advance(2 * third_ms)
    lab.channel.heartbeat(A)
    lab.clock.advance(2 * third_ms)
    same(lab.channel.state().leased, 2)
    lab.clock.advance(third_ms)
    state = lab.channel.state()
    same((state.waiting, state.leased, state.prepared), (2, 0, 2))
    same(take_rows(lab.channel, B).rows, numbers(2, 4))


def c9_everything_acknowledged_survives_opening_anew(trial: Trial) -> None:
    lab = Lab(trial)
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
        same(channel.info().journal, journal)
        same(channel.positions(""), {"s": StreamPosition(6)})
        same(channel.adopt("lake", B), (manifest,))
        same(take_all(channel), [*numbers(3, 6), b"r"])
        reply = channel.put(request([b"q"], [replace(keyed, token=OTHER_BODY)]))
        same(reply.conflicts, (KEY,))


def c11_what_is_sealed_stays_so_until_it_is_marked(trial: Trial) -> None:
    lab = Lab(trial)
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
    same(lab.again().seal("lake", 60).complete, ())
    same(lab.channel.watermark(query).at_ms, 90)
    sealed = lab.channel.seal("lake", 60)
    same([(c.directory, c.over_ms, c.rows, c.files) for c in sealed.complete], [("", 60, 2, 1)])
    same(lab.again().seal("lake", 50), sealed)
    same(lab.again().watermark(query).at_ms, 90)
    lab.again().marked("lake", sealed.complete)
    same(lab.again().seal("lake", 60).complete, ())
