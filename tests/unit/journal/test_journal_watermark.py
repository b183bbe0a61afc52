"""The watermark of a journal and its partitions, as a pure state: no file, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from rayflume.batch import Extent
from rayflume.completeness import Counted, Watermark, WatermarkQuery
from rayflume.interfaces import Manifest, StagedFile, StreamPosition
from rayflume.journal.watermark import GAP_MS, SILENT_MS, Completeness

WEB, APP, J = "h/web", "h/app", "ffeeddccbbaa0099"
A, B, C = "h/web/1-1/0", "h/web/1-2/0", "h/app/1-3/0"
IDLE_MS = 10_000
MINUTE = 60_000


class Lab:
    """A journal of rows: `put` gives out positions, `commit` finishes some, `now` is walked."""

    def __init__(self, **expected: int) -> None:
        self.state = Completeness()
        self.state.begin({}, 0)
        self.expected = expected or {"web": 1}
        self.position = self.now = self.deliveries = 0
        self.unfinished: set[int] = set()

    def put(self, stream: str, rows: int = 1, source: str = "", keyed: bool = False) -> range:
        first, self.position = self.position, self.position + rows
        extent = Extent(stream, 0, rows, rows, keyed=keyed)
        source = source or "/".join(stream.split("/")[:2])
        self.state.heard(source, self.now)
        self.state.put([extent], source, self.position)
        self.unfinished.update(range(first, self.position))
        return range(first, self.position)

    def commit(
        self, rows: range, times: Mapping[str, int], partitions: Mapping[str, int] | None = None
    ) -> str:
        """`times`: highest by stream. Each partition gets one file with one row."""
        self.deliveries += 1
        delivery = f"{J}-1-{self.deliveries}"
        files = tuple(StagedFile(f"{d}/part.parquet", {}, 1, 1) for d in partitions or {})
        spans = {name: (0, high) for name, high in times.items()}
        manifest = Manifest(
            delivery, "lake", files, event_times=spans, partitions=dict(partitions or {})
        )
        self.state.committed(manifest, rows.stop)
        self.unfinished.difference_update(rows)
        self.state.advance(min(self.unfinished, default=self.position))
        return delivery

    def pass_(self, ms: int, *sources: str) -> None:
        """Time passes in which these have nothing to read, and others say nothing."""
        for _ in range(0, ms, 1_000):
            self.now += 1_000
            for source in sources:
                self.state.idle(source, self.now)

    def look(self) -> Watermark:
        query = WatermarkQuery("lake", self.expected, IDLE_MS)
        return self.state.watermark(query, J, self.now)

    @property
    def at(self) -> int | None:
        return self.look().at_ms

    def seal(self, until: int) -> None:
        self.look()
        meta = self.state.seal_record("lake", until)
        if meta is not None:
            self.state.apply(json.loads(json.dumps(meta)), J)

    def restart(self) -> None:
        """From a Snapshot; the monotonic clock begins anew."""
        state = json.loads(json.dumps(self.state.to_json()))
        self.state, self.now = Completeness.from_json(state), 0


def test_nothing_is_known_before_every_expected_source_came() -> None:
    lab = Lab(web=1, app=1)
    assert lab.look() == Watermark(J, None, ("app", "web"))
    lab.commit(lab.put(A), {A: 500})
    assert lab.look() == Watermark(J, None, ("app",))
    lab.commit(lab.put(C), {C: 300})
    assert lab.look() == Watermark(J, 300, (APP,))


def test_rows_count_once_all_before_them_are_finished() -> None:
    lab = Lab()
    first, second, third = lab.put(A), lab.put(A), lab.put(A)
    lab.commit(first, {A: 100})
    lab.commit(third, {A: 300})
    assert lab.at == 100
    lab.commit(second, {A: 200})
    assert lab.at == 300


def test_the_lowest_stream_of_a_source_counts() -> None:
    lab = Lab()
    lab.commit(lab.put(A), {A: 900})
    lab.commit(lab.put(B), {B: 200})
    lab.commit(lab.put(A), {A: 1_000})
    # It was 900 when only one of them was known, and does not go back.
    assert lab.at == 200


def test_it_never_goes_back() -> None:
    lab = Lab()
    lab.commit(lab.put(A), {A: 900})
    assert lab.at == 900
    lab.commit(lab.put(A), {A: 100})
    lab.commit(lab.put(B), {B: 50})
    assert lab.at == 900
    lab.commit(lab.put(B), {B: 950})
    assert lab.at == 900
    lab.commit(lab.put(A), {A: 930})
    assert lab.at == 930


def test_a_retired_stream_counts_until_its_rows_are_finished() -> None:
    lab = Lab()
    lab.commit(lab.put(A), {A: 100})
    last, more = lab.put(A), lab.put(B)
    lab.commit(more, {B: 900})
    lab.state.retired([A], lab.position)
    assert lab.at == 100
    lab.commit(last, {A: 150})
    assert lab.at == 900
    lab.state.retired([B], lab.position)
    lab.commit(lab.put(B), {B: 950})
    lab.state.retired([B], lab.position)
    lab.state.advance(lab.position)
    assert lab.at == 950, "a source without streams stands where it came to"


def test_a_stream_that_comes_again_is_not_retired() -> None:
    lab = Lab()
    lab.commit(lab.put(A), {A: 100})
    waits = lab.put(B)
    lab.state.retired([A], lab.position)
    again = lab.put(A)
    lab.commit(waits, {B: 900})
    assert lab.at == 100
    lab.commit(again, {A: 800})
    assert lab.at == 800


def test_an_idle_source_stops_counting_and_counts_again_when_rows_come() -> None:
    lab = Lab(web=1, app=1)
    lab.commit(lab.put(A), {A: 100})
    lab.commit(lab.put(C), {C: 500})
    lab.pass_(IDLE_MS - 1_000, WEB)
    lab.commit(lab.put(C), {C: 600})
    assert lab.look() == Watermark(J, 100, (WEB,))
    lab.pass_(1_000, WEB)
    assert lab.look() == Watermark(J, 600, (APP,))
    lab.commit(lab.put(A), {A: 610})
    lab.commit(lab.put(C), {C: 900})
    assert lab.look() == Watermark(J, 610, (WEB,))


def test_an_idle_stream_stops_counting_while_its_source_goes_on() -> None:
    lab = Lab()
    lab.commit(lab.put(A), {A: 100})
    for second in range(IDLE_MS // 1_000 + 1):
        lab.now += 1_000
        lab.commit(lab.put(B), {B: 500 + second})
    lab.state.idle(WEB, lab.now)
    assert lab.at == 500 + IDLE_MS // 1_000


def test_a_stream_behind_others_of_a_busy_source_is_not_idle() -> None:
    """Its rows wait in the source, which has not said that it has nothing to read."""
    lab = Lab()
    lab.commit(lab.put(A), {A: 100})
    lab.pass_(IDLE_MS // 2, WEB)
    for second in range(10 * IDLE_MS // 1_000):
        lab.now += 1_000
        lab.commit(lab.put(B), {B: 500 + second})
    assert lab.look() == Watermark(J, 100, (WEB,))
    lab.commit(lab.put(A), {A: 120})
    lab.state.idle(WEB, lab.now)
    assert lab.at == 120, "that is so long ago as its last rows are"


def test_a_stream_whose_rows_wait_is_not_idle() -> None:
    lab = Lab(web=1, app=1)
    lab.commit(lab.put(A), {A: 100})
    lab.commit(lab.put(C), {C: 500})
    waits = lab.put(A)
    lab.pass_(10 * IDLE_MS, WEB, APP)
    assert lab.look() == Watermark(J, 100, (WEB,))
    lab.commit(waits, {A: 120})
    assert lab.look() == Watermark(J, 100), "now all are idle"
    lab.commit(lab.put(C), {C: 900})
    assert lab.look() == Watermark(J, 900, (APP,))


def test_when_all_are_idle_it_stays() -> None:
    lab = Lab(web=1, app=1)
    lab.commit(lab.put(A), {A: 100})
    lab.commit(lab.put(C), {C: 900})
    assert lab.at == 100
    lab.pass_(10 * IDLE_MS, WEB, APP)
    assert lab.look() == Watermark(J, 100)


def test_a_source_that_is_gone_does_not_become_idle() -> None:
    lab = Lab(web=1, app=1)
    lab.commit(lab.put(A), {A: 100})
    lab.commit(lab.put(C), {C: 500})
    lab.pass_(100 * IDLE_MS, APP)
    lab.commit(lab.put(C), {C: 900})
    assert lab.look() == Watermark(J, 100, (WEB,))
    lab.pass_(1_000, WEB, APP)
    assert lab.at == 100, "one sign after long counts for little"


def test_one_that_was_idle_and_is_gone_counts_again() -> None:
    lab = Lab(web=1, app=1)
    lab.commit(lab.put(A), {A: 100})
    lab.commit(lab.put(C), {C: 500})
    lab.pass_(IDLE_MS, WEB)
    assert lab.at == 500
    lab.pass_(SILENT_MS + 1_000, APP)
    lab.commit(lab.put(C), {C: 900})
    assert lab.look() == Watermark(J, 500, (WEB,))


def test_a_gap_between_two_signs_counts_for_little() -> None:
    lab = Lab(web=1, app=1)
    lab.commit(lab.put(A), {A: 100})
    lab.commit(lab.put(C), {C: 500})
    for _ in range(IDLE_MS // GAP_MS - 1):
        lab.now += SILENT_MS
        lab.state.idle(WEB, lab.now)
        assert lab.at == 100
    lab.now += SILENT_MS
    lab.state.idle(WEB, lab.now)
    lab.commit(lab.put(C), {C: 510})
    assert lab.at == 510


def test_a_source_without_rows_stops_counting_once_it_is_heard_to_be_idle() -> None:
    lab = Lab(web=1, app=1)
    lab.commit(lab.put(A), {A: 100})
    lab.state.idle(APP, lab.now)
    lab.pass_(IDLE_MS - 1_000, APP)
    lab.commit(lab.put(A), {A: 200})
    assert lab.at is None
    lab.pass_(1_000, APP)
    assert lab.at == 200


def test_sources_on_several_places_all_count_and_an_unknown_one_holds() -> None:
    other = "i/web/1-1/0"
    lab = Lab(web=2)
    lab.commit(lab.put(A), {A: 100})
    assert lab.look() == Watermark(J, None, ("web",))
    lab.commit(lab.put(other), {other: 70})
    assert lab.look() == Watermark(J, 70, ("i/web",))


def test_a_source_that_moved_does_not_count_twice() -> None:
    """Another host has taken its place, and all places are taken: the first one was removed."""
    moved = "i/web/1-1/0"
    lab = Lab(web=1)
    lab.commit(lab.put(A), {A: 100})
    lab.commit(lab.put(moved), {moved: 700})
    assert lab.at == 100
    lab.pass_(SILENT_MS + 1_000, "i/web")
    lab.commit(lab.put(moved), {moved: 800})
    assert lab.at == 800


def test_a_source_that_the_plan_has_no_more_does_not_count() -> None:
    lab = Lab(web=1)
    lab.commit(lab.put(C), {C: 1})
    lab.commit(lab.put(A), {A: 100})
    assert lab.at == 100


def test_requests_with_keys_count_as_rows_of_their_source() -> None:
    lab = Lab()
    for n, high in enumerate((100, 300, 200)):
        lab.commit(lab.put(f"{n:032x}", source=WEB, keyed=True), {WEB: high})
    assert lab.at == 300
    lab.pass_(IDLE_MS, WEB)
    assert lab.look() == Watermark(J, 300)


def test_streams_that_were_there_before_hold_it_until_something_is_known_of_them() -> None:
    lab = Lab()
    lab.state = Completeness()
    known = {A: StreamPosition(5), B: StreamPosition(9, retired=True)}
    lab.state.begin(known, 0)
    lab.commit(lab.put(C), {C: 1})
    new = "h/web/1-9/0"
    lab.commit(lab.put(new), {new: 500})
    assert lab.at is None
    lab.commit(lab.put(A), {A: 400})
    assert lab.at == 400


def test_nothing_is_kept_before_it_begins() -> None:
    state = Completeness()
    state.put([Extent(A, 0, 1, 1)], WEB, 1)
    state.committed(Manifest("d", "lake", event_times={A: (1, 1)}), 1)
    state.advance(1)
    assert state.to_json() is None
    assert not Completeness.from_json(None).on


# -- partitions ------------------------------------------------------------------------------------


def test_partitions_are_open_then_complete_then_marked() -> None:
    lab = Lab()
    lab.commit(lab.put(A), {A: 65_000}, {"m=0": MINUTE, "m=1": 2 * MINUTE})
    lab.commit(lab.put(A), {A: 66_000}, {"m=0": MINUTE})
    assert lab.look().oldest == ("m=0", MINUTE)
    lab.seal(59_999)
    assert lab.state.sealed("lake", J).complete == ()
    lab.seal(MINUTE)
    sealed = lab.state.sealed("lake", J)
    assert sealed.until_ms == MINUTE
    assert sealed.complete == (Counted("m=0", MINUTE, 2, 2, f"{J}-{MINUTE}"),)
    assert lab.look().oldest == ("m=0", MINUTE), "it is not marked yet"
    meta = lab.state.marked_record("lake", sealed.complete)
    assert meta is not None
    lab.state.apply(meta, J)
    assert lab.state.marked_record("lake", sealed.complete) is None
    assert lab.state.sealed("lake", J).complete == ()
    assert lab.look().oldest == ("m=1", 2 * MINUTE)


def test_what_comes_into_a_sealed_partition_is_late_by_delivery() -> None:
    lab = Lab()
    lab.commit(lab.put(A), {A: 200_000}, {"m=0": MINUTE})
    lab.seal(MINUTE)
    first = lab.commit(lab.put(A), {A: 1}, {"m=0": MINUTE, "m=9": 10 * MINUTE})
    second = lab.commit(lab.put(A), {A: 1}, {"m=0": MINUTE})
    sealed = lab.state.sealed("lake", J)
    assert [c.rows for c in sealed.complete] == [1], "what was counted stays so"
    assert [(c.note, c.rows) for c in sealed.late] == [(first, 1), (second, 1)]
    meta = lab.state.marked_record("lake", sealed.late[:1])
    assert meta is not None
    lab.state.apply(meta, J)
    assert [c.note for c in lab.state.sealed("lake", J).late] == [second]


def test_a_seal_never_goes_further_than_the_watermark() -> None:
    lab = Lab()
    lab.seal(MINUTE)
    assert lab.state.sealed("lake", J).until_ms is None
    lab.commit(lab.put(A), {A: 50_000}, {"m=0": MINUTE})
    lab.seal(MINUTE)
    assert lab.state.sealed("lake", J).until_ms == 50_000
    assert lab.state.sealed("lake", J).complete == ()


def test_a_seal_never_goes_back() -> None:
    lab = Lab()
    lab.commit(lab.put(A), {A: 2 * MINUTE})
    lab.seal(MINUTE)
    assert lab.state.seal_record("lake", MINUTE - 1) is None
    assert lab.state.seal_record("lake", MINUTE) is None
    assert lab.state.seal_record("lake", None) is None


def test_dead_letters_and_other_sinks_are_not_counted() -> None:
    lab = Lab()
    dead = StagedFile("m=0/x.dead", {}, 1, 5, dead=True)
    rows = StagedFile("m=0/x.parquet", {}, 1, 3)
    lab.state.committed(Manifest("d-1", "lake", (dead, rows), partitions={"m=0": MINUTE}), 0)
    lab.state.committed(Manifest("d-2", "copy", (rows,), partitions={"m=0": MINUTE}), 0)
    lab.commit(lab.put(A), {A: 2 * MINUTE})
    lab.seal(MINUTE)
    assert [(c.rows, c.files) for c in lab.state.sealed("lake", J).complete] == [(3, 1)]
    assert lab.state.sealed("copy", J).until_ms is None


@pytest.mark.parametrize("sealed", [False, True])
def test_a_restart_changes_nothing_but_who_was_heard_of(sealed: bool) -> None:
    lab = Lab(web=1, app=1)
    lab.commit(lab.put(A), {A: 100}, {"m=0": MINUTE})
    waits = lab.put(C)
    lab.commit(lab.put(C), {C: 500}, {"m=0": MINUTE})
    lab.state.retired([C], lab.position)
    if sealed:
        lab.seal(100)
        lab.commit(lab.put(A), {A: 110}, {"early": 90})
    before = lab.state.to_json(), lab.state.sealed("lake", J)
    lab.restart()
    assert (lab.state.to_json(), lab.state.sealed("lake", J)) == before
    lab.commit(waits, {C: 300})
    assert lab.at == (110 if sealed else 100)
    lab.pass_(IDLE_MS, WEB, APP)
    lab.commit(lab.put(C), {C: 900})
    assert lab.at == (110 if sealed else 100), "its time begins anew with the first sign"
    lab.pass_(1_000, WEB, APP)
    assert lab.at == 900
