from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import manifest_of

from rayflume.batch import Extent
from rayflume.errors import LeaseRevoked
from rayflume.interfaces import RowRange, StreamPosition
from rayflume.journal.judging import Judgement
from rayflume.journal.ledger import DEATHS_MAX, Ledger, LedgerLimits
from rayflume.journal.rows import RowIndex
from rayflume.journal.segment import Kind, extents_to_json

ROW_BYTES = 10
KEY, DIGEST, OTHER = "0f" * 16, bytes(16), b"o" * 16
A, B = "lake/0/a", "lake/1/b"


def ledger(**limits: int) -> Ledger:
    return Ledger("j", 1, LedgerLimits(**limits), RowIndex())


def put(state: Ledger, rows: int, *extents: Extent) -> None:
    """Apply a Put record of so many rows of 10 bytes, durable at once."""
    start = state.next_position
    span = (start, start + rows)
    state.index.add("seg", start * ROW_BYTES, rows * ROW_BYTES, span)
    meta = {"rows": list(span), "extents": extents_to_json(extents), "source": "s", "now": 0}
    state.apply(Kind.PUT, meta)
    state.visible = state.next_position


def take(state: Ledger, holder: str = A, delivery: str = "") -> tuple[str, list[RowRange]]:
    taken = state.take(holder, delivery, 10**6, 0)
    return taken.delivery, [(ref.position, ref.position + ref.rows) for ref in taken.refs]


def prepare(state: Ledger, delivery: str, rows: int, holder: str = A) -> None:
    meta = state.check_prepare(manifest_of(delivery, rows), holder)
    assert meta is not None
    state.apply(Kind.PREPARED, meta)
    state.note_prepared(delivery, holder)


def commit(state: Ledger, delivery: str) -> None:
    meta = state.committed_meta(delivery)
    assert meta is not None
    state.apply(Kind.COMMITTED, meta)


def counts(state: Ledger) -> tuple[int, int, int, int]:
    return state.waiting_rows, state.leased_rows, state.prepared_rows, len(state.unfinished)


# -- put ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extent", "skip", "keep", "refused", "skipped"),
    [
        (Extent("s", 5, 8, 3), "", True, None, 0),
        (Extent("s", 2, 5, 3), "", False, None, 0),
        (Extent("s", 0, 2, 2), "why", False, None, 0),
        (Extent("s", 5, 5, 0), "", False, None, 0),
        (Extent("s", 6, 8, 2), "", None, ("s", 5), 0),
        (Extent("s", 4, 8, 4), "", None, ("s", 5), 0),
        (Extent("s", 9, 12, 3), "why", True, None, 4),
        (Extent("s", 4, 8, 4), "why", None, ("s", 5), 0),
        (Extent("new", 0, 1, 1), "", True, None, 0),
        (Extent("new", 3, 4, 1), "", None, ("new", 0), 0),
        (Extent("begun", 3, 4, 1), "", True, None, 0),
    ],
)
def test_c1_each_extent_is_judged_against_its_stream(
    extent: Extent, skip: str, keep: bool | None, refused: tuple[str, int] | None, skipped: int
) -> None:
    state = ledger()
    put(state, 5, Extent("s", 0, 5, 5))
    judged = state.judge([extent], ["begun"], skip)
    if keep is None:
        assert judged == Judgement(refused=refused)
    else:
        assert judged == Judgement((keep,), (), None, extent.rows if keep else 0, skipped)


def test_c1_later_extents_of_a_put_count_on_earlier_ones() -> None:
    state = ledger()
    put(state, 2, Extent("s", 0, 2, 2))
    extents = [Extent("s", 0, 2, 2), Extent("s", 2, 4, 2), Extent("s", 4, 6, 0)]
    extents += [Extent("b", 7, 8, 1), Extent("b", 8, 9, 1), Extent("s", 2, 4, 2)]
    judged = state.judge(extents, ["b"], "")
    assert judged == Judgement((False, True, True, True, True, False), (), None, 4)
    assert state.judge([*extents, Extent("b", 10, 11, 1)], ["b"], "").refused == ("b", 9)


def test_c1_keyed_extents_are_stored_once_and_conflict_by_body() -> None:
    state = ledger()
    keyed = Extent(KEY, 0, 2, 2, DIGEST, keyed=True)
    twins = [keyed, keyed, replace(keyed, token=OTHER)]
    assert state.judge(twins, [], "") == Judgement((True, False, False), (KEY,), None, 2)
    put(state, 2, keyed)
    assert state.judge(twins, [], "") == Judgement((False, False, False), (KEY,), None, 0)
    assert state.streams == {}


def test_credit_is_nothing_at_either_limit() -> None:
    state = ledger(events=10, bytes=1000)
    put(state, 4, Extent("s", 0, 4, 4))
    assert state.credit() == 1000 - 40
    put(state, 6, Extent("s", 4, 10, 6))
    assert state.credit() == 0
    assert ledger(bytes=0).credit() == 0


# -- take -----------------------------------------------------------------------------------------


def test_take_gives_the_oldest_durable_rows_once() -> None:
    state = ledger()
    put(state, 3, Extent("s", 0, 3, 3))
    put(state, 2, Extent("s", 3, 5, 2))
    state.visible = 3
    delivery, rows = take(state)
    assert (delivery, rows) == ("j-1-1", [(0, 3)])
    assert take(state, A, delivery) == (delivery, [])
    assert take(state, B) == ("", [])
    state.visible = 5
    assert take(state, A, delivery) == (delivery, [(3, 5)])
    assert counts(state) == (0, 5, 0, 5)


def test_release_returns_rows_in_order_and_twice_is_nothing() -> None:
    state = ledger()
    for i in range(3):
        put(state, 1, Extent("s", i, i + 1, 1))
    first = state.take(A, "", 1, 0).delivery
    second = state.take(A, "", 1, 0).delivery
    assert state.release(first) and state.release(second)
    assert not state.release(first)
    assert take(state)[1] == [(0, 1), (1, 2), (2, 3)]


def test_suspects_come_alone_and_first_and_are_halved_at_each_further_death() -> None:
    state = ledger()
    put(state, 4, Extent("s", 0, 4, 4))
    take(state)
    put(state, 4, Extent("s", 4, 8, 4))
    assert state.holder_gone(A) == ["j-1-1"]
    delivery, rows = take(state)
    assert rows == [(0, 4)]
    assert take(state, A, delivery) == (delivery, []), "nothing joins them"
    state.holder_gone(A)
    assert take(state)[1] == [(0, 2)]
    assert take(state)[1] == [(2, 4)]
    assert take(state)[1] == [(4, 8)]
    assert state.take(A, "", 1, 0).delivery == ""
    assert counts(state) == (0, 8, 0, 8)


def test_a_released_suspect_stays_one_and_goes_first_in_order() -> None:
    state = ledger()
    put(state, 4, Extent("s", 0, 4, 4))
    take(state)
    state.holder_gone(A)
    take(state)
    state.holder_gone(A)
    first, second = take(state)[0], take(state)[0]
    state.release(first)
    state.release(second)
    assert take(state)[1] == [(0, 2)]
    assert take(state)[1] == [(2, 4)]


def test_one_poisonous_row_ends_in_the_dead_letters_and_stops_nobody() -> None:
    state = ledger()
    put(state, 8, Extent("s", 0, 8, 8))
    done: list[int] = []
    poison: list[int] = []
    for _ in range(40):
        taken = state.take(A, "", 10**6, 0)
        if not taken.delivery:
            break
        rows = [p for ref in taken.refs for p in range(ref.position, ref.position + ref.rows)]
        if 5 in rows and not taken.poison:
            state.holder_gone(A)
            continue
        (poison if taken.poison else done).extend(rows)
        prepare(state, taken.delivery, len(rows))
        commit(state, taken.delivery)
    assert (sorted(done), poison) == ([0, 1, 2, 3, 4, 6, 7], [5])
    assert counts(state) == (0, 0, 0, 0)


def test_a_single_row_is_poison_after_three_deaths() -> None:
    state = ledger()
    put(state, 1, Extent("s", 0, 1, 1))
    for _ in range(DEATHS_MAX):
        assert not state.take(A, "", 1, 0).poison
        state.holder_gone(A)
    assert state.take(A, "", 1, 0).poison


def test_close_is_asked_when_open_deliveries_hold_the_room() -> None:
    state = ledger(events=100)
    put(state, 20, Extent("s", 0, 20, 20))
    delivery = take(state)[0]
    put(state, 60, Extent("s", 20, 80, 60))
    taken = state.take(A, delivery, 1, 0)
    assert (taken.rows, taken.close) == (60, True)
    assert state.take(A, delivery, 1, 0).close, "also when nothing waits any more"


def test_close_is_not_asked_when_waiting_rows_fill_the_room() -> None:
    state = ledger(events=100)
    for i in range(9):
        put(state, 10, Extent("s", 10 * i, 10 * i + 10, 10))
    assert state.credit() > 0
    assert [state.take(A, "", 1, 0).close for _ in range(2)] == [False, False]
    assert state.take(B, "", 1, 0).close, "thirty rows of a hundred are leased"


def test_close_counts_bytes_as_it_counts_rows() -> None:
    state = ledger(bytes=1000)
    put(state, 20, Extent("s", 0, 20, 20))
    assert not state.take(A, "", 1, 0).close
    put(state, 60, Extent("s", 20, 80, 60))
    assert state.take(A, "", 1, 0).close


# -- holders --------------------------------------------------------------------------------------


def test_only_silent_holders_of_something_are_lost() -> None:
    state = ledger(lease_timeout_ms=100)
    put(state, 2, Extent("s", 0, 2, 2))
    state.hear(B, 0)
    take(state)
    assert state.lost_holders(99) == []
    assert state.lost_holders(100) == [A]
    state.hear(A, 50)
    assert state.lost_holders(100) == []


def test_earlier_lives_of_a_replica_are_its_predecessors() -> None:
    state = ledger()
    for i, holder in enumerate(("lake/0/a", "lake/1/b", "lake/0/c")):
        put(state, 1, Extent("s", i, i + 1, 1))
        take(state, holder)
    assert state.predecessors("lake/0/d") == ["lake/0/a", "lake/0/c"]
    assert state.predecessors("lake/0/a") == ["lake/0/c"]
    assert state.predecessors("nobody") == []


# -- deliver --------------------------------------------------------------------------------------


def test_prepare_checks_the_lease_and_the_rows() -> None:
    state = ledger()
    put(state, 3, Extent("s", 0, 3, 3))
    delivery = take(state)[0]
    manifest = manifest_of(delivery, 3)
    for wrong in (
        replace(manifest, rows=2),
        replace(manifest, written=2),
        replace(manifest, dead=1),
    ):
        with pytest.raises(ValueError, match="rows leased"):
            state.check_prepare(wrong, A)
    with pytest.raises(LeaseRevoked):
        state.check_prepare(manifest, B)
    prepare(state, delivery, 3)
    assert state.check_prepare(manifest, A) is None
    assert state.check_prepare(replace(manifest, written=2, dead=1), A) is not None
    with pytest.raises(LeaseRevoked, match="another sink"):
        state.check_prepare(replace(manifest, plan_version=9), B)
    assert counts(state) == (0, 0, 3, 3)


def test_commit_ends_a_delivery_once() -> None:
    state = ledger()
    put(state, 3, Extent("s", 0, 3, 3))
    delivery = take(state)[0]
    assert state.committed_meta(delivery) is None
    prepare(state, delivery, 3)
    assert state.garbage([delivery]) == []
    commit(state, delivery)
    assert state.committed_meta(delivery) is None
    assert state.garbage([delivery]) == [delivery]
    assert counts(state) == (0, 0, 0, 0)


def test_adopt_gives_a_prepared_delivery_to_one_holder() -> None:
    state = ledger()
    put(state, 1, Extent("s", 0, 1, 1))
    delivery = take(state)[0]
    prepare(state, delivery, 1)
    assert state.adopt("lake", B) == ()
    state.holder_gone(A)
    assert [m.delivery for m in state.adopt("lake", B)] == [delivery]
    assert state.adopt("lake", A) == ()
    assert state.manifest(delivery) == manifest_of(delivery, 1)


def test_a_commit_without_its_prepared_record_ends_its_rows_all_the_same() -> None:
    state = ledger()
    put(state, 3, Extent("s", 0, 3, 3))
    state.apply(Kind.COMMITTED, {"delivery": "j-1-1", "ranges": [[0, 2]]})
    assert counts(state) == (1, 0, 0, 1)


def test_positions_named_by_any_record_are_never_given_out_again() -> None:
    state = ledger()
    state.apply(Kind.MARK, {"next": 4})
    assert state.next_position == 4
    state.apply(Kind.COMMITTED, {"delivery": "j-1-1", "ranges": [[5, 9]]})
    assert state.next_position == 9


def test_lost_rows_leave_everything_but_the_leases_of_others() -> None:
    state = ledger()
    put(state, 8, Extent("s", 0, 8, 8))
    take(state)
    state.holder_gone(A)
    take(state)
    state.holder_gone(A)
    own = take(state, A)[0]
    assert state.lost(0, 8, (0, 2)) == 2 + 4
    assert counts(state) == (0, 2, 0, 2)
    assert state.take(B, "", 1, 0).delivery == "", "no empty suspect is left"
    prepare(state, own, 2)
    assert state.lost(0, 8, (0, 8)) == 0, "what is prepared is as good as delivered"


# -- what is kept ---------------------------------------------------------------------------------


def test_retired_streams_and_keys_are_forgotten_in_time_and_live_ones_never() -> None:
    state = ledger(stream_retention_ms=1000, key_retention_ms=1000)
    put(state, 2, Extent("old", 0, 1, 1), Extent("live", 0, 1, 1))
    put(state, 1, Extent(KEY, 0, 1, 1, DIGEST, keyed=True))
    state.apply(Kind.RETIRED, {"streams": ["old", "unknown"], "now": 500})
    assert state.streams["old"] == StreamPosition(1, retired=True)
    state.forget(1499)
    assert set(state.streams) == {"old", "live"}
    state.forget(1500)
    assert set(state.streams) == {"live"}
    assert len(state.keys) == 0
    state.forget(10**12)
    assert set(state.streams) == {"live"}


def test_a_retired_stream_that_goes_on_is_live_again() -> None:
    state = ledger(stream_retention_ms=1000)
    put(state, 1, Extent("s", 0, 1, 1))
    state.apply(Kind.RETIRED, {"streams": ["s"], "now": 0})
    put(state, 1, Extent("s", 1, 2, 1))
    state.forget(10**9)
    assert state.streams == {"s": StreamPosition(2)}


def test_a_snapshot_holds_all_that_is_durable() -> None:
    state = ledger()
    put(state, 6, Extent("s", 0, 6, 6, b"\x00\xff"), Extent("t", 0, 9, 0))
    put(state, 1, Extent(KEY, 0, 1, 1, DIGEST, keyed=True))
    state.apply(Kind.RETIRED, {"streams": ["t"], "now": 5})
    delivery = take(state)[0]
    prepare(state, delivery, 7)
    put(state, 2, Extent("s", 6, 8, 2))
    again = Ledger("", 2, LedgerLimits(), state.index)
    again.load(state.to_json())
    assert again.to_json() == state.to_json()
    assert counts(again) == (2, 0, 7, 9)
    assert [m.delivery for m in again.adopt("lake", B)] == [delivery]
    assert again.judge([Extent(KEY, 0, 1, 1, OTHER, keyed=True)], [], "").conflicts == (KEY,)
