"""What a ledger keeps of event time: of whom, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fakes import manifest_of

from rayflume.batch import Extent
from rayflume.completeness import WatermarkQuery
from rayflume.interfaces import StagedFile
from rayflume.journal.ledger import Ledger, LedgerLimits
from rayflume.journal.rows import RowIndex
from rayflume.journal.segment import Kind, extents_to_json

WEB, STREAM, J = "host/web", "host/web/1-1/0", "ffeeddccbbaa0099"
HOUR, KEPT_MS, FAR = 3_600_000, 1_000, 10**14
QUERY = WatermarkQuery("lake", {"web": 1}, 60_000)


class Lab:
    """One row after the other through a ledger."""

    def __init__(self) -> None:
        limits = LedgerLimits(stream_retention_ms=KEPT_MS)
        self.ledger = Ledger(J, 1, limits, RowIndex())

    def put(self, stream: str = STREAM, keyed: bool = False) -> None:
        state, start = self.ledger, self.ledger.next_position
        state.index.add("seg", start * 10, 10, (start, start + 1))
        token = bytes(16) if keyed else b""
        extent = Extent(stream, start, start + 1, 1, token, keyed=keyed)
        meta = {"rows": [start, start + 1], "extents": extents_to_json((extent,))}
        state.apply(Kind.PUT, {**meta, "source": WEB, "now": 0})
        state.visible = state.next_position

    def deliver(
        self, times: Mapping[str, int], ends: Mapping[str, int] | None = None, sink: str = "lake"
    ) -> None:
        """The oldest row that waits, by a sink that marks partitions if `ends` are given."""
        holder = f"{sink}/0/a"
        delivery = self.ledger.take(holder, "", 1, 0).delivery
        files = tuple(StagedFile(f"{d}/{delivery}.parquet", {}, 1, 1) for d in ends or {})
        manifest = replace(
            manifest_of(delivery, 1, sink),
            files=files,
            event_times={name: (0, high) for name, high in times.items()},
            partitions=dict(ends or {}),
        )
        prepared = self.ledger.check_prepare(manifest, holder)
        assert prepared is not None
        self.ledger.apply(Kind.PREPARED, prepared)
        committed = self.ledger.committed_meta(delivery)
        assert committed is not None
        self.ledger.apply(Kind.COMMITTED, committed)

    def seal(self, sink: str, until: int | None) -> None:
        meta = self.ledger.complete.seal_record(sink, until)
        if meta is not None:
            self.ledger.apply(Kind.COMPLETE, meta)

    def at(self) -> int | None:
        self.ledger.complete.advance(self.ledger.finished)
        return self.ledger.complete.watermark(QUERY, J, 0).at_ms


def test_what_nobody_asks_about_does_not_grow() -> None:
    lab = Lab()
    sizes = []
    for n in range(200):
        lab.put(name := f"host/web/1-{n}/0")
        lab.deliver({name: n}, {"h": HOUR})
        lab.ledger.apply(Kind.RETIRED, {"streams": [name], "now": 0})
        sizes.append(len(str(lab.ledger.complete.to_json())))
    assert max(sizes) - sizes[0] < 100


def test_a_sink_that_neither_asks_nor_delivers_is_forgotten_in_the_end() -> None:
    lab = Lab()
    lab.put()
    lab.deliver({STREAM: 5}, {"h": HOUR}, sink="renamed")
    lab.put()
    lab.deliver({STREAM: 5}, {"h": HOUR})
    for now in (0, KEPT_MS - 1, KEPT_MS, 2 * KEPT_MS, 3 * KEPT_MS):
        lab.ledger.forget(now)
        state = lab.ledger.complete.to_json()
        assert state is not None
        assert sorted(state["lakes"]) == (["lake", "renamed"] if now < KEPT_MS else ["lake"])
        assert lab.at() == 5
    for now in (4 * KEPT_MS, 5 * KEPT_MS):
        lab.put()
        lab.deliver({STREAM: 6})
        lab.ledger.forget(now)
    assert lab.ledger.complete.to_json() is None, "nobody marks any more"
    lab.put("host/web/2-2/0")
    lab.deliver({"host/web/2-2/0": 7}, {"h": HOUR})
    assert lab.at() is None, "it begins as at first: the streams that live hold it"


def test_a_sink_that_delivers_is_not_forgotten_while_its_markers_are_away() -> None:
    lab = Lab()
    for now in range(0, 10 * KEPT_MS, KEPT_MS):
        lab.put()
        lab.deliver({STREAM: 5}, {"h": HOUR})
        lab.ledger.forget(now)
    assert lab.ledger.complete.watermark(QUERY, J, 0).oldest == ("h", HOUR)


def test_a_sink_that_does_not_mark_moves_no_watermark() -> None:
    """It does not know of `future_limit`, and the rows of the other one are still to come."""
    lab = Lab()
    lab.put()
    lab.deliver({STREAM: 5}, {"h": HOUR})
    lab.put()
    lab.deliver({STREAM: FAR}, sink="copy")
    assert lab.at() == 5
    lab.seal("lake", FAR)
    assert lab.ledger.complete.sealed("lake", J).complete == ()


def test_what_was_prepared_before_partitions_were_marked_moves_no_watermark() -> None:
    lab = Lab()
    lab.put()
    lab.seal("lake", None)
    lab.deliver({STREAM: FAR})
    assert lab.at() is None
    lab.put()
    lab.deliver({STREAM: 5}, {"h": HOUR})
    assert lab.at() == 5


def test_keys_of_a_sink_that_does_not_mark_are_no_sources() -> None:
    lab = Lab()
    lab.seal("lake", None)
    for n in range(50):
        lab.put(key := f"{n:032x}", keyed=True)
        lab.deliver({key: n}, sink="copy")
        lab.at()
    state = lab.ledger.complete.to_json()
    assert state is not None
    assert list(state["sources"]) == [WEB]
